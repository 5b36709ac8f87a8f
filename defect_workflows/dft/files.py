"""Files of a VASP run in a folder: which belong together, and their content."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from defect_workflows.errors import CalculationError

OUTPUTS = ("vasprun.xml", "OUTCAR")
_COMPRESSED = re.compile(r"\.(gz|bz2|xz)$", re.IGNORECASE)
# A file is opened by what it holds: names lie after downloads and copies.
_OPENERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}


@dataclass(frozen=True)
class RunFiles:
    """Output files of one run.

    Parameters
    ----------
    suffix
        What stands behind the usual names, e.g. ``_relax``; empty for the usual names.
    vasprun, outcar
        The files; at least one of them is there.
    part, parts
        Number, from 1, of the run in an OUTCAR that holds several (a restart was appended to it),
        and how many it holds. None for the last one.
    unreadable
        One line for each file that holds the same under another name and cannot be read.
    """

    suffix: str
    vasprun: Path | None
    outcar: Path | None
    part: int | None = None
    parts: int = 1
    unreadable: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """The files that are there."""
        return [path for path in (self.vasprun, self.outcar) if path is not None]

    @property
    def names(self) -> list[str]:
        """Names of the files, with the run where one holds several."""
        run = f" (run {self.part} of {self.parts})" if self.parts > 1 else ""
        return [path.name + (run if path == self.outcar else "") for path in self.paths]

    def only(self, names: Sequence[str]) -> RunFiles:
        """Return the files whose names are among these."""
        kept = [path for path, name in zip(self.paths, self.names, strict=True) if name in names]
        return replace(
            self,
            vasprun=self.vasprun if self.vasprun in kept else None,
            outcar=self.outcar if self.outcar in kept else None,
        )


@dataclass(frozen=True)
class Folder:
    """A folder, and whether it holds VASP output."""

    path: Path
    has_output: bool


@dataclass(frozen=True)
class Skipped:
    """What could not be looked into, and why."""

    path: Path
    reason: str


def folders(root: Path) -> Iterator[Folder | Skipped]:
    """Yield a folder and all below, links to folders followed, each folder once.

    What is there under its own name comes first, so a link to it is no second one and a link to a
    folder above ends. A link to nothing is told of where a run may be missing: among folders, or
    in the place of an output.
    """
    seen: set[tuple[int, int]] = set()
    starts = [root]
    while starts:
        unreadable: list[OSError] = []
        for name, below, files in os.walk(starts.pop(0), onerror=unreadable.append):
            path = Path(name)
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                below.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            below.sort()
            starts += [path / one for one in below if (path / one).is_symlink()]
            output = any(one.startswith(OUTPUTS) and (path / one).is_file() for one in files)
            yield Folder(path, output)
            for one in sorted(files):
                wanted = one.startswith(OUTPUTS) or not output
                if wanted and (path / one).is_symlink() and not (path / one).exists():
                    yield Skipped(path / one, f"is a link to {(path / one).readlink()}, not there")
        for error in unreadable:
            yield Skipped(Path(error.filename), f"cannot be read ({error.strerror})")


def run_files(directory: Path) -> RunFiles:
    """Return the output files of the run that a folder stands for.

    The usual names count; where none is, the only run with a suffix does.

    Raises
    ------
    CalculationError
        If the folder is missing, holds no VASP output, or it is not clear which one counts.
    """
    runs = all_runs(directory)
    usual = [run for run in runs if not run.suffix]
    if usual:
        return usual[0]
    if len(runs) == 1:
        return runs[0]
    if runs:
        names = ", ".join(path.name for run in runs for path in run.paths)
        raise CalculationError(f"{directory}: found {names}, expected one vasprun.xml or OUTCAR")
    raise CalculationError(f"{directory}: found neither vasprun.xml nor OUTCAR, expected one")


def all_runs(directory: Path) -> list[RunFiles]:
    """Return every run of a folder, that with the usual names first.

    Raises
    ------
    CalculationError
        If the folder is missing, or holds a file twice with different content.
    """
    if not directory.is_dir():
        found = "a file" if directory.exists() else "nothing"
        raise CalculationError(f"{directory}: found {found}, expected a folder")
    candidates: dict[str, dict[str, Path]] = {}
    unreadable: dict[str, list[str]] = {}
    for path in sorted(directory.iterdir(), key=lambda path: (len(path.name), path.name)):
        bare = _COMPRESSED.sub("", path.name)
        for name in OUTPUTS:
            suffix = bare.removeprefix(name)
            # OUTCARS or vasprun.xml2 are other things; a suffix starts with a separator
            if bare.startswith(name) and not suffix[:1].isalnum() and path.is_file():
                known = candidates.setdefault(suffix, {}).setdefault(name, path)
                if known != path:
                    kept, reasons = _one_of(directory, known, path)
                    candidates[suffix][name] = kept
                    unreadable.setdefault(suffix, []).extend(reasons)
    return [
        RunFiles(
            suffix,
            found.get("vasprun.xml"),
            found.get("OUTCAR"),
            unreadable=unreadable.get(suffix, []),
        )
        for suffix, found in sorted(candidates.items())
    ]


def _one_of(directory: Path, one: Path, other: Path) -> tuple[Path, list[str]]:
    """Return which of two files with the same name counts, and why the other cannot be read."""
    reasons: dict[Path, str] = {}
    found: dict[Path, bytes] = {}
    for path in (one, other):
        try:
            found[path] = content(path)
        except CalculationError as error:
            reasons[path] = str(error)
    if len(found) == 2 and found[one] != found[other]:
        raise CalculationError(
            f"{directory}: found {one.name} and {other.name} with different content, expected one "
            "of them"
        )
    return (next(iter(found)), [*reasons.values()]) if len(found) == 1 else (one, [])


def beside(directory: Path, name: str) -> Path | None:
    """Return a file of a folder by its usual name, compressed or not, or None."""
    for ending in ("", ".gz", ".bz2", ".xz", ".GZ"):
        path = directory / f"{name}{ending}"
        if path.is_file():
            return path
    return None


def content(path: Path) -> bytes:
    """Return the content of a file, decompressed where it is compressed.

    Raises
    ------
    CalculationError
        If the file cannot be read, is empty or its compression is broken.
    """
    try:
        data = path.read_bytes()
        for magic, opener in _OPENERS.items():
            if data.startswith(magic):
                data = opener(data)
                break
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CalculationError(f"{path}: cannot be read ({reason})") from None
    if not data.strip():
        raise CalculationError(f"{path}: is empty")
    return data


def text(path: Path) -> str:
    """Return the content of a text file."""
    return as_text(content(path))


def as_text(data: bytes) -> str:
    """Return bytes as text with VASP's line ends; what is no text becomes placeholders."""
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")
