"""A defect supercell moved into the frame of the bulk, where it was rigidly shifted against it.

Which atoms are missing or moved, and which site potentials belong together, can only be seen in one
frame. Codes shift whole cells (a centred slab, another origin), and so do relaxations: no force on
the whole is left, so that where half of the atoms slide one way, those far from the defect slide
the other way. A rigid shift changes no energy, so it is undone. The small drift that every
relaxation has stays: doped leaves it too, and undoing it would move sites into and out of the
sampling region of eFNV (8 meV for 0.05 Å in ZnS); the error of the correction covers that.
"""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure
from pymatgen.util.coord import pbc_shortest_vectors

from defect_workflows.documents.labels import PlanarPotential
from defect_workflows.documents.levels import LevelCalculation
from defect_workflows.documents.warnings import LevelWarning

DRIFT = 0.1
"""A median displacement of the atoms up to this is drift and stays, Å; above it is a shift."""

PUT_BACK = 1e-4
"""Where a shifted cell belongs is found to this where most atoms stay in place, Å."""

MATCHED = 0.5
"""An atom this close to an atom of the bulk of the same element stays where it belongs, Å."""

TRIED = 8
"""Atoms of the rarest element that are brought onto the bulk's: some have moved themselves."""


def in_frame(
    name: str, calculation: LevelCalculation, bulk: LevelCalculation
) -> tuple[LevelCalculation, list[LevelWarning]]:
    """Return a calculation in the frame of the bulk, with a note where it was in another one.

    Parameters
    ----------
    name
        Name of the state, for the note.
    calculation, bulk
        A defect supercell and the pristine one, with the same lattice.
    """
    shift = rigid_shift(calculation.structure, bulk.structure)
    if not shift.any():
        return calculation, []
    moved = bulk.structure.lattice.get_cartesian_coords((shift + 0.5) % 1 - 0.5)
    way = ", ".join(f"{value:.2f}" for value in moved)
    message = f"{name}: the cell was shifted by ({way}) Å onto the bulk"
    return shifted(calculation, shift), [LevelWarning(code="cell_shifted", message=message)]


def rigid_shift(structure: Structure, bulk: Structure) -> np.ndarray:
    """Return the fractional translation that brings a defect supercell into the bulk's frame.

    The zero vector where the atoms already lie on those of the bulk, up to `DRIFT`. Otherwise
    vectors from atoms of the rarest element to the bulk's atoms of its kind are tried; of those
    that bring most atoms onto atoms of their kind the shortest wins (the others differ by
    translations of the host), and the median of what is left of these atoms is added.

    Parameters
    ----------
    structure, bulk
        Supercells with the same lattice.

    Returns
    -------
    np.ndarray
        Fractional translation, shape (3,).
    """
    host = {str(site.specie.symbol) for site in bulk}
    symbols = [site.specie.symbol for site in structure if site.specie.symbol in host]
    if not symbols:
        return np.zeros(3)
    start = np.zeros(3)
    if _matches(structure, bulk, start) < 0.5:
        element = min(set(symbols), key=lambda symbol: (symbols.count(symbol), symbol))
        origins, targets = _coordinates(structure, element), _coordinates(bulk, element)
        vectors = (targets[None] - origins[:: -(-len(origins) // TRIED), None]).reshape(-1, 3)
        vectors -= np.round(vectors)
        lengths = np.linalg.norm(bulk.lattice.get_cartesian_coords(vectors), axis=1)
        trials = vectors[np.argsort(lengths, kind="stable")]
        start = max(trials, key=lambda trial: _matches(structure, bulk, trial))
        if _matches(structure, bulk, start) <= _matches(structure, bulk, np.zeros(3)):
            return np.zeros(3)
    left = _median_displacement(structure, bulk, start)
    if not start.any() and np.linalg.norm(left) <= DRIFT:
        return np.zeros(3)
    return start - bulk.lattice.get_fractional_coords(left)


def shifted(calculation: LevelCalculation, shift: np.ndarray) -> LevelCalculation:
    """Return a calculation translated as a whole by a fractional vector."""
    if not np.any(shift):
        return calculation
    structure = calculation.structure.copy()
    structure.translate_sites(range(len(structure)), shift, to_unit_cell=True)
    planes = calculation.planar_potential
    if planes is not None:
        planes = PlanarPotential(
            averages=[
                _shifted_line(np.array(line), part)
                for line, part in zip(planes.averages, shift, strict=True)
            ],
            content=planes.content,
        )
    rounding = max(calculation.position_rounding, PUT_BACK)
    return calculation.model_copy(
        update={
            "structure": structure,
            "planar_potential": planes,
            "position_rounding": rounding,
        }
    )


def _shifted_line(line: np.ndarray, part: float) -> list[float]:
    """Translate a periodic function on a grid by a share of its period, by its Fourier series."""
    waves = np.fft.rfft(line)
    phases = np.exp(-2j * np.pi * np.arange(len(waves)) * part)
    return [float(value) for value in np.fft.irfft(waves * phases, n=len(line))]


def _coordinates(structure: Structure, element: str) -> np.ndarray:
    return np.array([site.frac_coords for site in structure if site.specie.symbol == element])


def _displacements(structure: Structure, bulk: Structure, trial: np.ndarray) -> np.ndarray:
    """Return the vector of every host atom to its nearest atom of its kind in the bulk, in Å."""
    vectors = []
    for element in sorted({site.specie.symbol for site in structure}):
        targets = _coordinates(bulk, element)
        if not len(targets):
            continue
        found, squares = pbc_shortest_vectors(
            bulk.lattice, targets, _coordinates(structure, element) + trial, return_d2=True
        )
        nearest = squares.argmin(axis=0)
        vectors.append(found[nearest, np.arange(found.shape[1])])
    return np.concatenate(vectors)


def _matches(structure: Structure, bulk: Structure, trial: np.ndarray) -> float:
    """Return the share of host atoms that lie on atoms of their kind in the bulk."""
    lengths = np.linalg.norm(_displacements(structure, bulk, trial), axis=1)
    return float(np.mean(lengths < MATCHED))


def _median_displacement(structure: Structure, bulk: Structure, trial: np.ndarray) -> np.ndarray:
    """Return the median displacement of the matched atoms from the bulk's, in Å, shape (3,)."""
    vectors = _displacements(structure, bulk, trial)
    matched = vectors[np.linalg.norm(vectors, axis=1) < MATCHED]
    return np.median(matched, axis=0) if len(matched) else np.zeros(3)
