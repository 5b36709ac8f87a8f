"""What the files of one run say together; where one of them cannot be used, the other is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from defect_workflows.dft import files
from defect_workflows.dft.files import RunFiles
from defect_workflows.dft.outcar import parse_outcar, runs_in
from defect_workflows.dft.raw import Run
from defect_workflows.dft.vasprun import parse_vasprun
from defect_workflows.errors import CalculationError

BROKEN = (ValueError, LookupError, OverflowError, ArithmeticError, np.linalg.LinAlgError)
"""What numbers that are none raise, wherever they turn up."""

SAME_ENERGY = 1e-4
"""Energies of one step in two files of one run differ by less, in eV."""

ELECTRONS_TOLERANCE = 0.01


@dataclass
class Parsed:
    """What the files of a run say together.

    Parameters
    ----------
    run
        What they say.
    files
        Which of them said it.
    notes
        What was noticed, one line each.
    unusable
        Files that could not be used, one line each with the reason.
    """

    run: Run
    files: RunFiles
    notes: list[str]
    unusable: list[str]


def parse(found: RunFiles, partial: bool, projections: bool) -> Parsed:
    """Return what the files of a run say together, or the one that can be used.

    Raises
    ------
    CalculationError
        If no file can be read, or they are not of one run.
    """
    notes: list[str] = []
    unusable = list(found.unreadable)
    xml = _try(found.vasprun, lambda data: parse_vasprun(data, partial, projections), unusable)
    outcar = _try(found.outcar, lambda data: _part(found, data, notes), unusable)
    if xml is None or outcar is None:
        run = xml or outcar
        if run is None:
            raise CalculationError("; ".join(unusable[len(found.unreadable) :]))
        read = replace(found, outcar=None) if outcar is None else replace(found, vasprun=None)
        return Parsed(run, read, notes, unusable)
    _check_same(found, xml, outcar)
    if xml.ended != outcar.ended and len(xml.steps) != len(outcar.steps):
        unusable.append(
            f"{found.outcar if xml.ended else found.vasprun}: is cut off: the run did not end"
        )
        if xml.ended:
            return Parsed(xml, replace(found, outcar=None), notes, unusable)
        return Parsed(outcar, replace(found, vasprun=None), notes, unusable)
    notes += [note for note in outcar.left_out if note not in xml.left_out]
    return Parsed(_merged(xml, outcar), found, notes, unusable)


def split(found: RunFiles) -> list[RunFiles]:
    """Return the files of each run that an OUTCAR holds; a vasprun.xml is of the last.

    Raises
    ------
    CalculationError
        If the OUTCAR cannot be opened and is alone.
    """
    if found.outcar is None:
        return [found]
    try:
        parts = len(runs_in(files.text(found.outcar)))
    except CalculationError:
        if found.vasprun is None:
            raise
        return [found]
    return [
        RunFiles(
            found.suffix,
            found.vasprun if part == parts else None,
            found.outcar,
            part,
            parts,
            found.unreadable if part == parts else [],
        )
        for part in range(1, parts + 1)
    ]


def _try(path: Path | None, reader: Callable[[bytes], Run], unusable: list[str]) -> Run | None:
    if path is None:
        return None
    try:
        return reader(files.content(path))
    except CalculationError as error:
        unusable.append(str(error))
    except BROKEN as error:
        unusable.append(f"{path}: {one_line(error)}")
    return None


def _part(found: RunFiles, data: bytes, notes: list[str]) -> Run:
    texts = runs_in(files.as_text(data))
    part = found.part or len(texts)
    try:
        run = parse_outcar(texts[part - 1])
    except BROKEN as error:
        if len(texts) == 1:
            raise
        raise ValueError(f"run {part} of {len(texts)} in it: {one_line(error)}") from None
    if len(texts) > 1 and found.part is None:
        if not run.steps:
            raise ValueError(
                f"holds {len(texts)} runs, the last without a complete ionic step, expected one: "
                "split it"
            )
        notes.append(f"{found.outcar and found.outcar.name}: holds {len(texts)} runs, the last "
                     "one is used")  # fmt: skip
    return run


def _merged(xml: Run, outcar: Run) -> Run:
    """Return the file with more decimals, completed by the one that says how the run went."""
    for step, other in zip(xml.steps, outcar.steps, strict=False):
        step.scf_converged = other.scf_converged
    xml.ended = xml.ended and outcar.ended
    xml.ionic_converged = outcar.ionic_converged
    xml.magnetization = outcar.magnetization
    xml.site_potentials = outcar.site_potentials
    xml.rehearsal = xml.rehearsal or outcar.rehearsal
    xml.bands = xml.bands or outcar.bands
    xml.settings = outcar.settings | xml.settings
    del xml.steps[len(outcar.steps) :]
    return xml


def _check_same(found: RunFiles, xml: Run, outcar: Run) -> None:
    """Refuse two files that are not of the same run."""
    pair = f"{found.vasprun}: is of another run than {found.outcar and found.outcar.name}"
    if xml.symbols != outcar.symbols:
        raise CalculationError(f"{pair}: found other atoms")
    if abs(xml.nelect - outcar.nelect) > ELECTRONS_TOLERANCE:
        raise CalculationError(f"{pair}: found {xml.nelect:g} and {outcar.nelect:g} electrons")
    if xml.ended and outcar.ended and len(xml.steps) != len(outcar.steps):
        raise CalculationError(
            f"{pair}: found {len(xml.steps)} and {len(outcar.steps)} ionic steps"
        )
    for step, other in zip(xml.steps, outcar.steps, strict=False):
        if not (step.problem or other.problem or abs(step.energy - other.energy) < SAME_ENERGY):
            raise CalculationError(
                f"{pair}: step {step.number}: found {step.energy:.6f} and {other.energy:.6f} eV"
            )


def one_line(error: Any) -> str:
    """Return a message as one line that is not too long."""
    return " ".join(str(error).split())[:200]
