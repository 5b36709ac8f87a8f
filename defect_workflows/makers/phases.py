"""Competing phases: which calculations count, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from defect_workflows.dft.consistency import dopant_warnings
from defect_workflows.dft.differences import phase_differences
from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.theory import own_correction
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import CalculationError, InputError
from defect_workflows.vacuum import vacuum_geometry

COARSER = 0.5
"""Of the calculations of one phase those with less than this share of the densest mesh of k-points
are tests of convergence."""

MOMENTS = {"O2": 2, "S2": 2, "Se2": 2, "Te2": 2, "NO": 1} | dict.fromkeys(
    ("H2", "N2", "F2", "Cl2", "Br2", "I2", "CO"), 0
)
"""Moments of diatomic molecules in their ground states, in Bohr magnetons."""

SAME_MOMENT = 0.1
"""Moments that differ by less are the same, in Bohr magnetons."""


def read_phase(folder: Path) -> FinishedCalculation:
    """Read a competing phase.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        found = read_calculation(folder, planes=False, projections=False)
    except CalculationError as error:
        raise InputError(f"chemical_potentials.dirs: {error}") from None
    return found.model_copy(update={"frames": []})


def choose_phases(
    read: Sequence[FinishedCalculation],
    bulk: FinishedCalculation,
    defects: Sequence[FinishedCalculation],
    max_force: float,
) -> tuple[list[FinishedCalculation], list[LevelWarning]]:
    """Return the calculations that count, and what is to be said of them and of the others.

    Of several calculations of one phase only those at the bulk's level of theory with a converged
    SCF and a dense mesh of k-points count; where there is none, the lowest of those that differ
    least.

    Parameters
    ----------
    read
        All calculations of competing phases.
    bulk
        The pristine supercell.
    defects
        The calculations of defects: they tell POTCARs of elements that the bulk lacks.
    max_force
        A larger force left in a calculation without relaxation gets a warning, eV/Å.
    """
    used: list[FinishedCalculation] = []
    warnings: list[LevelWarning] = []
    neutral = []
    for item in read:
        if problem := _unusable(item):
            warnings.append(_left_out(item, problem))
        else:
            neutral.append(item)
    for group in _same_phases(neutral):
        chosen, left_out = _of_one_phase(group, bulk)
        used += chosen
        warnings += left_out
    for item in used:
        warnings += _warnings(item, bulk, max_force)
    named = [(item.directory, item) for item in defects]
    named += [(_name(item), item) for item in used]
    names = {_name(item) for item in used}
    warnings += [item for name, item in dopant_warnings(named, bulk) if name in names]
    return used, warnings


def _unusable(phase: FinishedCalculation) -> str | None:
    if phase.charge:
        return f"it has charge {phase.charge:+d}"
    correction = own_correction(phase.settings, phase.charge)
    # a dipole correction is right for a molecule, slab or wire only
    if correction and vacuum_geometry(phase.structure) is None:
        return f"its energy is corrected by VASP ({correction})"
    return None


def _same_phases(phases: Sequence[FinishedCalculation]) -> list[list[FinishedCalculation]]:
    """Return groups of calculations of the same compound in the same structure."""
    groups: list[list[FinishedCalculation]] = []
    matcher = StructureMatcher()
    for phase in phases:
        for group in groups:
            if _same(matcher, phase.structure, group[0].structure):
                group.append(phase)
                break
        else:
            groups.append([phase])
    return groups


def _same(matcher: StructureMatcher, one: Structure, other: Structure) -> bool:
    if one.composition.reduced_formula != other.composition.reduced_formula:
        return False
    kinds = vacuum_geometry(one), vacuum_geometry(other)
    if "molecule" in kinds:  # in whichever box
        return kinds[0] == kinds[1] and one.composition == other.composition
    return bool(matcher.fit(one, other))


def _of_one_phase(
    group: Sequence[FinishedCalculation], bulk: FinishedCalculation
) -> tuple[list[FinishedCalculation], list[LevelWarning]]:
    densest = max(_mesh_density(item) or 0.0 for item in group)
    reasons = []
    for item in group:
        found = [difference.text for difference in phase_differences(item, bulk)]
        if not item.scf_converged:
            found.append("its SCF did not reach EDIFF")
        density = _mesh_density(item)
        if density is not None and density < COARSER * densest:
            found.append("a coarser mesh of k-points")
        reasons.append(found)
    fewest = min(len(found) for found in reasons)
    best = [item for item, found in zip(group, reasons, strict=True) if len(found) == fewest]
    used = best if fewest == 0 else [min(best, key=_energy_per_atom)]
    return used, [
        _left_out(item, "; ".join(found) or "another of its calculations lies lower")
        for item, found in zip(group, reasons, strict=True)
        if not any(item is one for one in used)
    ]


def _mesh_density(phase: FinishedCalculation) -> float | None:
    """Return k-points per volume of the reciprocal cell in Å^3, None where they do not matter."""
    mesh = phase.level_of_theory.kpoint_mesh
    if mesh is None or vacuum_geometry(phase.structure) == "molecule":
        return None
    return float(np.prod(mesh.divisions) * phase.structure.volume)


def _energy_per_atom(phase: FinishedCalculation) -> float:
    return phase.energy / len(phase.structure)


def _warnings(
    phase: FinishedCalculation, bulk: FinishedCalculation, max_force: float
) -> list[LevelWarning]:
    """Return what is wrong with a calculation that is used."""
    where = _name(phase)
    found = [
        LevelWarning(code=difference.code, message=f"{where}: {difference.text}")
        for difference in phase_differences(phase, bulk)
    ]
    if not phase.scf_converged:
        found.append(
            LevelWarning(code="scf_not_converged", message=f"{where}: SCF did not reach EDIFF")
        )
    force = 0.0
    if phase.forces is not None:
        force = float(np.linalg.norm(phase.forces, axis=1).max())
    if phase.ionic_converged is False:
        message = f"{where}: the relaxation did not reach its criterion"
        found.append(LevelWarning(code="ionic_not_converged", message=message))
    elif force > max_force and phase.ionic_converged is None:
        message = f"{where}: a force of {force:.3f} eV/Å is left (> {max_force}): relax it"
        found.append(LevelWarning(code="residual_force", message=message))
    if problem := _wrong_moment(phase):
        found.append(LevelWarning(code="molecule_excited", message=f"{where}: {problem}"))
    return found


def _wrong_moment(phase: FinishedCalculation) -> str | None:
    """Return the moment of a molecule that is not that of its ground state."""
    expected = MOMENTS.get(phase.structure.composition.formula.replace(" ", ""))
    if expected is None or vacuum_geometry(phase.structure) != "molecule":
        return None
    moment = phase.nupdown if phase.magnetization is None else abs(phase.magnetization)
    if not phase.level_of_theory.spin_polarized:
        moment = 0.0
    if moment is None or abs(moment - expected) < SAME_MOMENT:
        return None
    return f"found a moment of {moment:g}, its ground state has {expected} (NUPDOWN, ISPIN)"


def _left_out(phase: FinishedCalculation, reason: str) -> LevelWarning:
    message = f"{_name(phase)} is left out: {reason}"
    return LevelWarning(code="calculation_left_out", message=message)


def _name(phase: FinishedCalculation) -> str:
    return f"competing phase {phase.structure.composition.reduced_formula} in {phase.directory}"
