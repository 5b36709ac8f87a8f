"""OUTCAR, read in one pass: it alone says everything a label or a level needs.

pymatgen's `Outcar` has neither structures nor eigenvalues and runs dozens of expressions over the
whole file; here the few blocks that count are found by their headings.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from defect_workflows.dft.header import PARAMETERS, read_header, read_lattice
from defect_workflows.dft.raw import (
    ELECTRONS_TOLERANCE,
    KILOBAR,
    REHEARSAL_MARK,
    Bands,
    Run,
    Step,
    is_relaxation,
    numbers,
    spin_channels,
)

# The first line of a run; behind one that died it need not begin a line.
_VERSION = re.compile(r"^ *vasp\.\d| vasp\.\d[^\n]*\n(?:[ \t]*\n)? *executed on", re.MULTILINE)
_ITERATION = re.compile(r"^[- ]*-+ Iteration +\d", re.MULTILINE)
_STEP_END = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
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
_MOMENT = re.compile(r"number of electron\s+(\S+)\s+magnetization([^\n]*)\n")
_BAND_BLOCK = re.compile(
    r"k-point +(?:\d+|\*+) *:([^\n]*)\n[^\n]*band energies[^\n]*\n((?: +\d+ [^\n]+\n)+)"
)
_SITE = re.compile(r"(\d+)\s*(-?\d+\.\d{4}|\*+|-?nan)", re.IGNORECASE)

LARGEST_CHARGE = 10
"""No defect is charged beyond this, e."""


def runs_in(text: str) -> list[str]:
    """Return the text of each run that an OUTCAR holds: restarts are appended by some."""
    begins = [match.start() for match in _VERSION.finditer(text)][1:]
    return [text[begin:end] for begin, end in pairwise([0, *begins, len(text)])]


def parse_outcar(text: str) -> Run:
    """Return what an OUTCAR of one run says.

    Raises
    ------
    ValueError
        One line: what is missing or no number.
    """
    if (runs := text.count(PARAMETERS)) > 1:
        raise ValueError(
            f"holds {runs} runs that are not told apart by VASP's first line, expected one: "
            "split it"
        )
    first = _ITERATION.search(text)
    begin = first.start() if first else len(text)
    header = read_header(text[:begin])
    settings, kpoints, weights = header.settings, header.kpoints, header.weights
    atoms = sum(kind.count for kind in header.species)
    steps, left_out, last, rest = _steps(text, begin, header.lattice, atoms)
    if steps and settings.get("IVDW", "0") == "0" and settings.get("LVDW", "F")[:1] == "F":
        # a pairwise correction is printed with every energy
        settings["IVDW"] = "-1" if _DISPERSION in text else "0"
    bands = _bands(last, settings, kpoints, weights)
    if not len(kpoints) and bands is not None:
        kpoints, weights = bands.kpoints, bands.weights
    ended = _TIMING in rest
    run = Run(
        species=header.species,
        settings=settings,
        kpoints=kpoints,
        weights=weights,
        divisions=header.divisions,
        steps=steps,
        left_out=[] if ended else left_out,  # a linear response iterates on after the last step
        bands=bands,
        ended=ended,
        ionic_converged=_RELAXED in rest if is_relaxation(settings) else None,
        rehearsal=REHEARSAL_MARK in text[:4000],
        magnetization=_magnetization(last, settings),
        site_potentials=_site_potentials(last, atoms),
    )
    _check_electrons(last, run)
    return run


def _steps(
    text: str, start: int, lattice: np.ndarray, atoms: int
) -> tuple[list[Step], list[str], str, str]:
    """Return the complete ionic steps, those left out, the last one's text and what follows it."""
    steps: list[Step] = []
    left_out: list[str] = []
    first, begin, number = start, start, 0
    while (end := text.find(_STEP_END, start)) >= 0:
        energies = _ENERGY.search(text, end, end + 1000)
        if energies is None:
            break
        number += 1
        block = text[start:end]
        found = read_lattice(block)
        lattice = lattice if found is None else found
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
    values = numbers(line)
    if values.size != 6:
        return np.full((3, 3), np.nan)
    xx, yy, zz, xy, yz, zx = values
    return -KILOBAR * np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])


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
    bands.check(settings)
    return bands


def _check_electrons(block: str, run: Run) -> None:
    """Compare the electrons that were there in the end with those that were asked for.

    A count that would mean a charge that no defect has is damaged itself, and is not compared.
    """
    found = _MOMENT.findall(block)
    if not found or not run.steps or not run.steps[-1].scf_converged:
        return
    electrons = float(numbers(found[-1][0])[0])
    difference = abs(electrons - run.nelect)
    neutral = sum(kind.count * kind.valence for kind in run.species)
    damaged = abs(neutral - electrons) > LARGEST_CHARGE >= abs(neutral - run.nelect)
    if not difference < ELECTRONS_TOLERANCE and not damaged:
        raise ValueError(f"number of electrons: found {electrons}, expected NELECT {run.nelect:g}")


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
