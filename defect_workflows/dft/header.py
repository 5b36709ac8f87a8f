"""What stands in an OUTCAR before the first electronic step: POTCARs, settings, k-points, cell."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from defect_workflows.dft.raw import NOT_ECHOED, Species, element, numbers

PARAMETERS = "Startparameter for this run"
_EXCHANGE_CORRELATION = "Exchange correlation treatment"
_LATTICE = "direct lattice vectors"
_LATTICE_WIDTH = 13
_COUNT_WIDTH = 4

_TITEL = re.compile(r"^ +TITEL +=\s*(\S.*?)\s*$", re.MULTILINE)
_POTCAR = re.compile(r"^ *POTCAR: +(\S.*?) *$", re.MULTILINE)
_ZVAL = re.compile(r"ZVAL +=\s*(\S+) +mass and valenz")
_ALL_ZVAL = re.compile(r"Ionic Valenz\s+ZVAL +=([^\n]*)\n")
_COUNTS = re.compile(r"ions per type =([\d\s*]+)\n")
_ATOMS = re.compile(r"NIONS =\s*(\d+)")
_KPOINTS = re.compile(r"NKPTS =\s*(\d+)")
_DIVISIONS = re.compile(r"generate k-points for:\s*(\d+)\s+(\d+)\s+(\d+)")
_HUBBARD = "LDA+U is selected"
_HUBBARD_ROW = r"for each species {name} =([^\n]*)"
_SETTINGS = (
    "PREC", "ISPIN", "LNONCOLLINEAR", "LSORBIT", "ENCUT", "NELM", "EDIFF", "LREAL", "EDIFFG", "NSW",
    "IBRION", "ISIF", "NELECT", "NUPDOWN", "ISMEAR", "SIGMA", "LVTOT", "LVHAR", "GGA", "LHFCALC",
    "AEXX", "HFSCREEN", "NKREDX", "NKREDY", "NKREDZ", "LUSE_VDW", "LEPSILON", "LASPH", "PRECFOCK",
    "LMODELHF", "ENAUG", "LMONO", "LDIPOL", "IDIPOL", "EPSILON", "EFIELD",
)  # fmt: skip
"""Settings that VASP echoes, one value each."""

HUBBARD_COLUMNS = ("LDAUL", "LDAUU", "LDAUJ")
_HUBBARD_ROUNDING = 0.051


@dataclass(frozen=True)
class Header:
    """What stands before the first electronic step; see `raw.Run`."""

    species: list[Species]
    settings: dict[str, str]
    kpoints: np.ndarray
    weights: np.ndarray
    divisions: tuple[int, int, int] | None
    lattice: np.ndarray


def read_header(text: str) -> Header:
    """Read the header of one run.

    Raises
    ------
    ValueError
        One line: what is missing or no number.
    """
    species = _species(text)
    kpoints, weights = _kpoints(text)
    divisions = _DIVISIONS.search(text)
    lattice = read_lattice(text)
    if lattice is None:
        raise ValueError("found no lattice vectors, expected VASP's header")
    if not abs(np.linalg.det(lattice)) > 0:
        raise ValueError("lattice vectors: found no three rows of numbers")
    return Header(
        species=species,
        settings=_settings(text),
        kpoints=kpoints,
        weights=weights,
        divisions=(int(divisions[1]), int(divisions[2]), int(divisions[3])) if divisions else None,
        lattice=lattice,
    )


def read_lattice(text: str) -> np.ndarray | None:
    """Return the last lattice vectors of a text, NaN where they are no numbers."""
    heading = text.rfind(_LATTICE)
    if heading < 0:
        return None
    rows = [numbers(row, _LATTICE_WIDTH) for row in text[heading:].splitlines()[1:4]]
    if [row.size for row in rows] != [6, 6, 6]:
        return np.full((3, 3), np.nan)
    return np.array(rows)[:, :3]


def _species(text: str) -> list[Species]:
    atoms, found = _ATOMS.search(text), _COUNTS.search(text)
    if atoms is None or found is None:
        raise ValueError("found no POTCARs or ions, expected VASP's header")
    counts = _counts(found[1], int(atoms[1]))
    titles = _titles(text, len(counts))
    valences = [float(word) for word in _ZVAL.findall(text)]
    if not valences:
        # with NWRITE < 2 they are in the echo of the settings alone
        echoed = _ALL_ZVAL.search(text)
        valences = numbers(echoed[1]).tolist() if echoed else []
    if not len(titles) == len(valences) == len(counts):
        raise ValueError(
            f"found {len(titles)} POTCARs, {len(valences)} ZVAL and {len(counts)} ions per type, "
            "expected the same number"
        )
    return [
        Species(title, valence, count, element(title))
        for title, valence, count in zip(titles, valences, counts, strict=True)
    ]


def _titles(text: str, kinds: int) -> list[str]:
    """Return the TITEL of every POTCAR."""
    titles = _TITEL.findall(text)
    if titles:
        return titles
    # with NWRITE < 2 there are only the names: once in a list, and again as they are read
    names = _POTCAR.findall(text)
    if not names:
        raise ValueError("found no POTCARs or ions, expected VASP's header")
    return names[:kinds] if names == 2 * names[:kinds] else names


def _counts(text: str, atoms: int) -> list[int]:
    """Return the ions per type: from 1000 on they touch."""
    counts = [int(word) for word in text.split() if word.isdigit()]
    if sum(counts) != atoms:
        rows = [row.strip() for row in text.splitlines() if row.strip()]
        columns = [
            row[max(0, end - _COUNT_WIDTH) : end]
            for row in rows
            for end in range(len(row), 0, -_COUNT_WIDTH)[::-1]
        ]
        counts = [int(column) for column in columns if column.strip().isdigit()]
    if sum(counts) != atoms:
        raise ValueError(f"ions per type: found {' '.join(text.split())}, expected NIONS {atoms}")
    return counts


def _settings(text: str) -> dict[str, str]:
    _, found, echo = text.partition(PARAMETERS)
    if not found:
        raise ValueError(f"found no {PARAMETERS!r}, expected VASP's echo of the settings")
    settings = {}
    for name in _SETTINGS:
        words = (_value(echo, name) or "").split()
        if words:
            settings[name] = words[0]
    if not re.fullmatch(r"\d+\.\d*", settings.get("NELECT", "")):
        raise ValueError(f"NELECT: found {settings.get('NELECT')}, expected a number")
    _, _, incar = text.partition("POTCAR:")[0].partition("INCAR:")
    for name, default in NOT_ECHOED.items():
        value = _value(incar, name) or _value(text, name)
        # METAGGA=F is the echo of an older switch
        if value and not (name == "METAGGA" and value[0] in "FT."):
            settings[name] = value
        elif "=" in incar:
            settings.setdefault(name, default)
    return settings | _hubbard(echo, incar)


def _value(text: str, name: str) -> str | None:
    match = re.search(rf"(?:^|;|\s){name} *= *([^\n;#!]*?) *(?:$|[;#!])", text, re.MULTILINE)
    return match[1] if match else None


def _hubbard(echo: str, incar: str) -> dict[str, str]:
    """Return the settings of a Hubbard correction: VASP echoes it as prose."""
    told = {name: _value(incar, name) or "" for name in ("LDAU", *HUBBARD_COLUMNS)}
    if _HUBBARD not in echo:
        settings = {name: value for name, value in told.items() if value}
        return {"LDAU": "F"} | settings if _EXCHANGE_CORRELATION in echo or "=" in incar else {}
    settings = {"LDAU": "T"}
    for name in HUBBARD_COLUMNS:
        row = re.search(_HUBBARD_ROW.format(name=name), echo)
        values = " ".join(f"{value:g}" for value in numbers(row[1])) if row else ""
        settings[name] = with_decimals(values, told[name])
    return settings


def with_decimals(echoed: str, told: str) -> str:
    """Return U or J as they were asked for, where VASP's echo is the same up to its rounding."""
    mine, theirs = repeated(echoed), repeated(told)
    if not mine:
        return told
    same = len(mine) == len(theirs) and np.allclose(mine, theirs, rtol=0, atol=_HUBBARD_ROUNDING)
    return told if same else echoed


def repeated(text: str) -> list[float]:
    """Return the numbers of a setting, ``2*4.0 0`` written out."""
    found = re.findall(r"(?:(\d+)\*)?(-?\d+\.?\d*|-?\.\d+)", text)
    return [float(value) for times, value in found for _ in range(int(times or 1))]


def _kpoints(text: str) -> tuple[np.ndarray, np.ndarray]:
    count = _KPOINTS.search(text)
    for heading, lines in (
        ("k-points in reciprocal lattice and weights", 1),
        # IBZKPT's list, where the usual one was not written
        ("Following reciprocal coordinates:", 2),
    ):
        _, found, block = text.partition(heading)
        table = _rows_of_four(block.splitlines()[lines:])
        if found and count and (len(table) != int(count[1]) or not np.isfinite(table).all()):
            raise ValueError(f"k-points: found a list of {len(table)}, expected NKPTS {count[1]}")
        if len(table):
            break
    return table[:, :3], table[:, 3]


def _rows_of_four(lines: list[str]) -> np.ndarray:
    rows = []
    for line in lines:
        row = numbers(line)
        if row.size != 4:
            break
        rows.append(row)
    return np.array(rows).reshape(-1, 4)
