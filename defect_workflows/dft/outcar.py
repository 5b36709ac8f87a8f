"""OUTCAR, read in one pass: it alone says everything a label or a level needs.

pymatgen's `Outcar` has neither structures nor eigenvalues and runs dozens of expressions over the
whole file; here the few blocks that count are found by their headings.
"""

from __future__ import annotations

import re

import numpy as np

from defect_workflows.dft.raw import (
    KILOBAR,
    REHEARSAL_MARK,
    Bands,
    Run,
    Species,
    Step,
    element,
    is_relaxation,
    numbers,
)

_ITERATION = re.compile(r"^[- ]*-+ Iteration +\d", re.MULTILINE)
_STEP_END = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
_PARAMETERS = "Startparameter for this run"
_LATTICE = "direct lattice vectors"
_FORCES = "TOTAL-FORCE (eV/Angst)"
_POTENTIALS = "average (electrostatic) potential at core"
_FERMI = "E-fermi :"
_CONVERGED = "aborting loop because EDIFF is reached"
_RELAXED = "reached required accuracy - stopping structural energy minimisation"
_TIMING = "General timing and accounting"
_STRESS = "\n  in kB"
_DISPERSION = "Edisp (eV)"

# The line break at the end makes sure that no digit is cut off.
_ENERGY = re.compile(
    r"free +energy +TOTEN +=\s*(\S+) +eV\s+energy +without entropy *=\s*(\S+)"
    r" +energy\(sigma->0\) *=\s*(\S+)[ ]*\n"
)
_TITEL = re.compile(r"^ +TITEL +=\s*(\S.*?)\s*$", re.MULTILINE)
_ZVAL = re.compile(r"ZVAL +=\s*(\S+) +mass and valenz")
_COUNTS = re.compile(r"ions per type =\s*([\d\s]+)\n")
_ATOMS = re.compile(r"NIONS =\s*(\d+)")
_KPOINTS = re.compile(r"NKPTS =\s*(\d+)")
_DIVISIONS = re.compile(r"generate k-points for:\s*(\d+)\s+(\d+)\s+(\d+)")
_MOMENT = re.compile(r"number of electron\s+(\S+)\s+magnetization([^\n]*)\n")
_BAND_BLOCK = re.compile(
    r"k-point +(?:\d+|\*+) *:([^\n]*)\n[^\n]*band energies[^\n]*\n((?: +\d+ [^\n]+\n)+)"
)
_SITE = re.compile(r"(\d+)\s*(-?\d+\.\d{4}|\*+|-?nan)", re.IGNORECASE)
_SETTINGS = (
    "PREC", "ISPIN", "LNONCOLLINEAR", "LSORBIT", "ENCUT", "NELM", "EDIFF", "LREAL", "EDIFFG", "NSW",
    "IBRION", "ISIF", "NELECT", "NUPDOWN", "ISMEAR", "SIGMA", "LVTOT", "LVHAR", "GGA", "LHFCALC",
    "AEXX", "HFSCREEN", "NKREDX", "NKREDY", "NKREDZ", "LUSE_VDW", "LEPSILON", "LASPH", "PRECFOCK",
    "LMODELHF", "ENAUG", "LMONO", "LDIPOL", "IDIPOL", "EPSILON", "EFIELD",
)  # fmt: skip
# VASP does not echo these, or not in every version: what the INCAR said, repeated at the top.
_FROM_INCAR = ("METAGGA", "IVDW", "LVDW", "LDAU", "LDAUL", "LDAUU", "LDAUJ", "ADDGRID")
UNTOLD = set(_FROM_INCAR)
"""Settings that an OUTCAR may not tell."""

ELECTRONS_TOLERANCE = 0.05


def parse_outcar(text: str) -> Run:
    """Return what an OUTCAR says.

    Raises
    ------
    ValueError
        One line: what is missing or no number.
    """
    first = _ITERATION.search(text)
    header = text[: first.start()] if first else text
    species = _species(header)
    settings = _settings(header)
    if "IVDW" not in settings and _DISPERSION in text:
        settings["IVDW"] = "-1"
    kpoints, weights = _kpoints(header)
    atoms = sum(kind.count for kind in species)
    steps, left_out, last, rest = _steps(text, len(header), atoms)
    _check_electrons(last, settings, steps)
    bands = _bands(last, settings, kpoints, weights)
    if not len(kpoints) and bands is not None:
        kpoints, weights = bands.kpoints, bands.weights
    divisions = _DIVISIONS.search(header)
    ended = _TIMING in rest
    return Run(
        species=species,
        settings=settings,
        kpoints=kpoints,
        weights=weights,
        divisions=(int(divisions[1]), int(divisions[2]), int(divisions[3])) if divisions else None,
        steps=steps,
        left_out=[] if ended else left_out,  # a linear response iterates on after the last step
        bands=bands,
        ended=ended,
        ionic_converged=_RELAXED in rest if is_relaxation(settings) else None,
        rehearsal=REHEARSAL_MARK in text[:4000],
        magnetization=_magnetization(last, settings),
        site_potentials=_site_potentials(last, atoms),
    )


def _species(header: str) -> list[Species]:
    titles = _TITEL.findall(header)
    valences = _ZVAL.findall(header)
    atoms, counts = _ATOMS.search(header), _COUNTS.search(header)
    if not titles or atoms is None or counts is None:
        raise ValueError("found no POTCARs or ions, expected VASP's header")
    amounts = [int(count) for count in counts[1].split()]
    if not len(titles) == len(valences) == len(amounts):
        raise ValueError(
            f"found {len(titles)} TITEL, {len(valences)} ZVAL and {len(amounts)} ions per type, "
            "expected the same number"
        )
    if sum(amounts) != int(atoms[1]):
        raise ValueError(f"ions per type: found {sum(amounts)} in all, expected NIONS {atoms[1]}")
    return [
        Species(title, float(valence), amount, element(title))
        for title, valence, amount in zip(titles, valences, amounts, strict=True)
    ]


def _settings(header: str) -> dict[str, str]:
    incar, _, _ = header.partition("POTCAR:")
    _, found, echo = header.partition(_PARAMETERS)
    if not found:
        raise ValueError(f"found no {_PARAMETERS!r}, expected VASP's echo of the settings")
    settings = {}
    for part, names in ((incar, _FROM_INCAR), (header, _FROM_INCAR), (echo, _SETTINGS)):
        for name in names:
            pattern = rf"(?:^|;|\s){name} *= *([^\n;]*?) *(?:$|;)"
            match = re.search(pattern, part, re.MULTILINE)
            # METAGGA=F is the echo of an older switch
            if match and name not in settings and not (name == "METAGGA" and match[1][:1] in "FT"):
                words = match[1].split()
                settings[name] = match[1] if name in _FROM_INCAR else words[0] if words else ""
    if re.search(r"INCAR:\s*\w+ *=", incar):  # VASP 6 repeats all of it, VASP 5 has the heading
        settings.setdefault("ADDGRID", "F")
    if not re.fullmatch(r"\d+\.\d*", settings.get("NELECT", "")):
        raise ValueError(f"NELECT: found {settings.get('NELECT')}, expected a number")
    return settings


def _kpoints(header: str) -> tuple[np.ndarray, np.ndarray]:
    _, found, block = header.partition("k-points in reciprocal lattice and weights")
    lines = block.splitlines()[1:] if found else []
    rows = []
    for line in lines:
        words = line.split()
        if len(words) != 4:
            break
        rows.append(numbers(line))
    table = np.array(rows).reshape(-1, 4)
    count = _KPOINTS.search(header)
    if found and count and (len(table) != int(count[1]) or not np.isfinite(table).all()):
        raise ValueError(f"k-points: found a list of {len(table)}, expected NKPTS {count[1]}")
    return table[:, :3], table[:, 3]


def _steps(text: str, start: int, atoms: int) -> tuple[list[Step], list[str], str, str]:
    """Return the complete ionic steps, those left out, the last one's text and what follows it."""
    lattice = _lattice(text[:start])
    steps: list[Step] = []
    left_out: list[str] = []
    first, begin, number = start, start, 0
    while (end := text.find(_STEP_END, start)) >= 0:
        energies = _ENERGY.search(text, end, end + 1000)
        if energies is None:
            break
        number += 1
        block = text[start:end]
        lattice = _lattice(block, lattice)
        step = _step(block, energies, lattice, number, atoms)
        if number == 1 and step.problem == "":
            step.positions = _refined(text[:first], step, atoms)
        steps.append(step)
        begin, start = start, energies.end()
    if _ITERATION.search(text, start):
        left_out.append(f"step {number + 1}: the run ended in it")
    return steps, left_out, text[begin:start], text[start:]


def _step(block: str, energies: re.Match, lattice: np.ndarray, number: int, atoms: int) -> Step:
    free, without, at_zero = numbers(" ".join(energies.groups()))
    problem = ""
    low, high = min(free, without), max(free, without)
    if not low - 1e-6 <= at_zero <= high + 1e-6:
        problem = f"energy: found {at_zero} (sigma -> 0), expected between {low} and {high}"
    table = _force_table(block, atoms)
    if table is None:
        problem = problem or f"forces: found no table of {atoms} rows"
        table = np.full((atoms, 6), np.nan)
    return Step(
        number=number,
        lattice=lattice,
        positions=table[:, :3] @ np.linalg.inv(lattice),
        energy=float(at_zero),
        free_energy=float(free),
        forces=table[:, 3:],
        stress=_stress(block),
        scf_converged=_CONVERGED in block,
        problem=problem,
    )


def _force_table(block: str, atoms: int) -> np.ndarray | None:
    heading = block.rfind(_FORCES)
    begin = block.find("\n", block.find("---", heading))
    end = block.find("---", begin)
    if heading < 0 or begin < 0 or end < 0:
        return None
    table = numbers(block[begin:end])
    return table.reshape(atoms, 6) if table.size == 6 * atoms else None


def _stress(block: str) -> np.ndarray | None:
    heading = block.rfind(_STRESS)
    if heading < 0:
        return None
    line = block[heading + len(_STRESS) : block.find("\n", heading + 1)]
    # five decimals each, sometimes without a space between
    values = re.findall(r"-?\d+\.\d{5}", line)
    if len(values) != 6:
        return np.full((3, 3), np.nan)
    xx, yy, zz, xy, yz, zx = (float(value) for value in values)
    return -KILOBAR * np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])


def _lattice(block: str, default: np.ndarray | None = None) -> np.ndarray:
    heading = block.rfind(_LATTICE)
    if heading < 0:
        if default is None:
            raise ValueError("found no lattice vectors, expected VASP's header")
        return default
    rows = block[heading:].splitlines()[1:4]
    vectors = np.array([numbers(row)[:3] for row in rows if len(row.split()) == 6])
    if vectors.shape != (3, 3) or not abs(np.linalg.det(vectors)) > 0:
        raise ValueError("lattice vectors: found no three rows of numbers")
    return vectors


def _refined(header: str, step: Step, atoms: int) -> np.ndarray:
    """Return the positions of the first step with the header's decimals, where they are there."""
    heading = header.rfind("position of ions in fractional coordinates")
    if heading < 0:
        return step.positions
    rows = header[heading:].splitlines()[1 : atoms + 1]
    return refine(step.positions, step.lattice, numbers(" ".join(rows)))


def refine(positions: np.ndarray, lattice: np.ndarray, better: np.ndarray) -> np.ndarray:
    """Return better fractional coordinates where they are the same up to rounding."""
    if better.size != positions.size:
        return positions
    better = better.reshape(positions.shape)
    difference = better - positions
    difference -= np.round(difference)
    same = np.abs(difference @ lattice).max() < ROUNDING
    return positions + difference if same else positions


ROUNDING = 2e-5
"""Positions in an OUTCAR have five decimals, in Å."""


def _bands(
    block: str, settings: dict[str, str], kpoints: np.ndarray, weights: np.ndarray
) -> Bands | None:
    heading = block.rfind(_FERMI)
    if heading < 0:
        return None
    end = block.find("\n-----", heading)
    blocks = _BAND_BLOCK.findall(block, heading, end if end >= 0 else len(block))
    spins = 2 if spin_channels(settings) == 2 else 1
    per_spin, rest = divmod(len(blocks), spins)
    if not blocks or rest or (len(kpoints) and per_spin != len(kpoints)):
        return None
    tables = [numbers(table) for _, table in blocks]
    if len({len(table) for table in tables}) != 1 or len(tables[0]) % 3:
        raise ValueError("band energies: found tables of different length")
    values = np.array(tables).reshape(spins, per_spin, -1, 3)
    full = 2.0 if spin_channels(settings) == 1 else 1.0
    if not len(kpoints):
        kpoints = np.array([numbers(where) for where, _ in blocks[:per_spin]])
        weights = np.full(per_spin, 1.0 / per_spin)
    bands = Bands(values[..., 1], values[..., 2] / full, kpoints, weights)
    bands.check()
    return bands


def spin_channels(settings: dict[str, str]) -> int:
    """Return 2 with spin up and down, 1 without spin, 0 where spin has no axis."""
    if settings.get("LNONCOLLINEAR", "F")[:1] == "T":
        return 0
    return int(float(settings.get("ISPIN", 1)))


def _check_electrons(block: str, settings: dict[str, str], steps: list[Step]) -> None:
    """Compare the electrons that were there in the end with those that were asked for."""
    found = _MOMENT.findall(block)
    asked = float(settings["NELECT"])
    if found and steps and steps[-1].scf_converged:
        electrons = float(numbers(found[-1][0])[0])
        if not abs(electrons - asked) < ELECTRONS_TOLERANCE:
            raise ValueError(f"number of electrons: found {electrons}, expected NELECT {asked:g}")


def _magnetization(block: str, settings: dict[str, str]) -> float | None:
    found = _MOMENT.findall(block)
    if not found or spin_channels(settings) == 1:
        return None
    moment = numbers(found[-1][1])
    return float(np.linalg.norm(moment) if moment.size == 3 else moment[0]) if moment.size else None


def _site_potentials(block: str, atoms: int) -> list[float] | None:
    heading = block.rfind(_POTENTIALS)
    if heading < 0:
        return None
    begin = block.find("\n", block.find("norm of the test charge", heading))
    end = block.find("\n \n", begin)
    end = block.find("\n\n", begin) if end < 0 else end
    found = _SITE.findall(block[begin : end if end >= 0 else len(block)])
    values = numbers(" ".join(value for _, value in found))
    if [int(index) for index, _ in found] != list(range(1, atoms + 1)) or np.isnan(values).any():
        raise ValueError(f"potentials at core: found {len(found)} numbers, expected {atoms}")
    return values.tolist()
