"""What calculations of the host say besides energies: dielectric tensor, density of states.

Both may be of another cell than the supercell: the tensor is turned into the supercell's axes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monty.os.path import zpath
from pymatgen.core import Structure
from pymatgen.io.vasp import Outcar, Vasprun
from scipy.optimize import linear_sum_assignment

from defect_workflows.dft.differences import Difference, phase_differences
from defect_workflows.dft.finished import matrix, read_calculation
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.errors import CalculationError
from defect_workflows.userfile import check_dielectric

if TYPE_CHECKING:
    from pymatgen.electronic_structure.dos import FermiDos

LENGTHS, ANGLES = 0.05, 3.0
"""Cells of the same host may differ by this in their lengths (share) and angles (degrees)."""

SAME_SITE = 0.5
"""Atoms of the same host may be apart by this in two calculations of it, Å."""

SAME_SCORE = 1e-3
"""Rotations that fit as well as this are equivalent."""

NO_SCREENING = 1e-4
"""A smaller ionic part of the dielectric tensor is none."""


@dataclass(frozen=True)
class Dielectric:
    """A dielectric tensor that was calculated.

    Parameters
    ----------
    tensor
        High-frequency + ionic part, relative to the vacuum, in the axes of the supercell.
    ionic
        Whether it has an ionic part that is not zero.
    differences
        Settings in which its calculation differs from the supercell's.
    """

    tensor: Matrix3D
    ionic: bool
    differences: list[Difference]


def read_dielectric(directory: Path, bulk: FinishedCalculation) -> Dielectric:
    """Read the dielectric tensor of a DFPT or finite-field calculation of the host.

    Parameters
    ----------
    directory
        The folder.
    bulk
        The pristine supercell, in whose axes the tensor is returned.

    Raises
    ------
    CalculationError
        If there is no tensor, or the calculation is of another host.
    """
    tensor, ionic = _read_tensor(directory)
    # a finite-difference run ends with atoms displaced, and dies late without harm to the tensor
    run = read_calculation(directory, planes=False, projections=False, partial=True)
    try:
        turn = rotation(run.frames[0].structure, bulk.structure)
    except ValueError as error:
        raise CalculationError(f"{directory}: {error}") from None
    found = turn.T @ np.array(tensor) @ turn
    return Dielectric(matrix(found), ionic, phase_differences(run, bulk))


def rotation(one: Structure, other: Structure) -> np.ndarray:
    """Return the rotation that turns a crystal in one cell into the same crystal in another.

    Of rotations that do, all of which turn a tensor of the crystal alike, the smallest; improper
    ones included. Cells may be of different size and settings, and strained by a few percent.

    Returns
    -------
    numpy.ndarray
        U of shape (3, 3): vectors of the first frame are v U in the other.

    Raises
    ------
    ValueError
        If the crystals are not the same.
    """
    formulas = [cell.composition.reduced_formula for cell in (one, other)]
    if formulas[0] != formulas[1]:
        raise ValueError(f"found a calculation of {formulas[0]}, expected one of {formulas[1]}")
    small, target = (cell.get_primitive_structure() for cell in (one, other))
    found: list[tuple[float, np.ndarray]] = []
    if len(small) == len(target):
        mappings = target.lattice.find_all_mappings(small.lattice, LENGTHS, ANGLES, True)
        for aligned, _, scale in mappings:
            deformation = np.linalg.solve(small.lattice.matrix, aligned.matrix)
            left, stretch, right = np.linalg.svd(deformation)
            positions = target.frac_coords @ np.linalg.inv(scale)
            distance = _distance(small, Structure(aligned, target.species, positions))
            strain = np.abs(stretch / stretch.mean() - 1).max()
            if distance < SAME_SITE:
                found.append((distance + strain, left @ right))
    if not found:
        raise ValueError(
            f"found another structure of {formulas[0]} than the supercell's, expected the same "
            "(or the tensor as numbers, in the axes of the supercell)"
        )
    best = min(score for score, _ in found)
    equal = [turn for score, turn in found if score < best + SAME_SCORE]
    return max(equal, key=lambda turn: float(np.trace(turn)))


def _distance(one: Structure, other: Structure) -> float:
    """Return how far atoms are from those of another cell of the same shape at most, in Å.

    The cells are shifted against each other so that it is least.
    """
    symbols = [np.array([site.specie.symbol for site in cell]) for cell in (one, other)]
    rarest = min(set(symbols[0]), key=list(symbols[0]).count)
    first = np.flatnonzero(symbols[0] == rarest)[0]
    foreign = 1e3 * (symbols[0][:, None] != symbols[1][None, :])
    least = np.inf
    for index in np.flatnonzero(symbols[1] == rarest):
        shifted = one.frac_coords + other.frac_coords[index] - one.frac_coords[first]
        apart = other.lattice.get_all_distances(shifted, other.frac_coords) + foreign
        least = min(least, float(apart[linear_sum_assignment(apart)].max()))
    return least


def _read_tensor(directory: Path) -> tuple[Matrix3D, bool]:
    """Read the dielectric tensor in the axes of its own calculation.

    Returns
    -------
    Matrix3D
        High-frequency + ionic part, relative to the vacuum.
    bool
        Whether it has an ionic part that is not zero.

    Raises
    ------
    CalculationError
        If there is no tensor.
    """
    outcar = Path(zpath(str(directory / "OUTCAR")))
    vasprun = Path(zpath(str(directory / "vasprun.xml")))
    electronic = ionic = None
    try:
        if outcar.is_file():
            found = Outcar(outcar)
            found.read_lepsilon()
            electronic = found.data.get(
                "dielectric_tensor", getattr(found, "dielectric_tensor", None)
            )
            found.read_lepsilon_ionic()
            ionic = getattr(found, "dielectric_ionic_tensor", None)
        elif vasprun.is_file():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run = Vasprun(vasprun, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
            electronic, ionic = run.epsilon_static, run.epsilon_ionic
    # what pymatgen's parsers raise on a broken file varies
    except (SyntaxError, ValueError, LookupError, AttributeError, TypeError, OSError) as problem:
        raise CalculationError(
            f"{directory}: broken or cut off ({type(problem).__name__}), expected DFPT output"
        ) from None
    # pymatgen reads zeros where there is none
    found_parts = [np.array(part or [], dtype=float) for part in (electronic, ionic)]
    parts = [part for part in found_parts if part.shape == (3, 3)]
    total = sum(parts, np.zeros((3, 3)))
    try:
        check_dielectric(matrix(total))
    except ValueError:
        raise CalculationError(
            f"{directory}: found no dielectric tensor, expected one (LEPSILON)"
        ) from None
    return matrix(total), len(parts) == 2 and bool(np.abs(parts[1]).max() > NO_SCREENING)


def read_dos(
    directory: Path, bulk: FinishedCalculation
) -> tuple[FermiDos, float, float, list[Difference]]:
    """Read the density of states of the host.

    Returns
    -------
    FermiDos
        The density of states.
    float, float
        VBM and band gap of the same calculation in eV.
    list[Difference]
        Settings in which it differs from the supercell.

    Raises
    ------
    CalculationError
        If there is no vasprun.xml with one, or it is of another host.
    """
    from doped.thermodynamics import get_fermi_dos

    path = Path(zpath(str(directory / "vasprun.xml")))
    if not path.is_file():
        raise CalculationError(f"{directory}: found no vasprun.xml, expected a density of states")
    found = read_calculation(directory, planes=False, projections=False, partial=True)
    formulas = [item.structure.composition.reduced_formula for item in (found, bulk)]
    if formulas[0] != formulas[1]:
        raise CalculationError(
            f"{path}: found the density of states of {formulas[0]}, expected that of {formulas[1]}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(path, parse_dos=True, parse_potcar_file=False)
            properties: Any = run.eigenvalue_band_properties
            gap, _, vbm, _ = properties
            dos = get_fermi_dos(run)
    except Exception as problem:  # doped and pymatgen raise whatever comes up
        raise CalculationError(
            f"{path}: found no density of states ({type(problem).__name__}), expected one"
        ) from None
    return dos, float(vbm), float(gap), phase_differences(found, bulk)
