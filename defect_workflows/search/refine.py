"""The last steps to the minimum of the hybrid functional, guided by the potential.

A single point gives forces. The potential plus the difference of forces there is exact at that
point, and nearly so around it, because the potential's error changes slowly; its minimum is the
next structure to calculate. From two single points on, the change of the difference between them
corrects the potential's second derivatives as well: the smallest symmetric change (Powell,
Nonlinear Programming, Academic Press 1970, p. 31) that explains all differences at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch_sim as ts
from pymatgen.core import Structure
from torch_sim.models.interface import ModelInterface

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.predict import Potential
from defect_workflows.search.relax import FIDELITY, relax, with_positions

TRUST = 0.3
"""A step moves no atom further than this along an axis, in Å."""

NEAR = 0.3
"""Single points at which an atom is further than this, in Å, from the best one say nothing of
the second derivatives there."""

INDEPENDENT = 0.05
"""Differences of positions below this share of the largest one are not told apart."""

MAX_FORCE = 0.002
"""Force tolerance of the relaxation between two single points in eV/Å: far below that of the
result, and cheap."""

MAX_STEPS = 300


@dataclass(frozen=True)
class Proposal:
    """What to calculate next.

    Attributes
    ----------
    structure
        The structure, which carries the charge.
    gain
        Energy in eV by which it should lie below the lowest single point so far.
    displacement
        Largest displacement of an atom from there in Å.
    """

    structure: Structure
    gain: float
    displacement: float


@dataclass(frozen=True)
class Correction:
    """Difference between hybrid functional and potential around a structure, to second order.

    Attributes
    ----------
    positions
        Cartesian positions it is expanded around in Å, shape (n, 3).
    forces
        Difference of the forces there in eV/Å, shape (n, 3).
    jacobian
        Its change with the positions in eV/Å^2, shape (3n, 3n), symmetric.
    """

    positions: np.ndarray
    forces: np.ndarray
    jacobian: np.ndarray

    def energy(self, positions: np.ndarray) -> float:
        """Return the energy in eV that the correction adds, zero at its origin."""
        way = (positions - self.positions).ravel()
        return float(-self.forces.ravel() @ way - way @ self.jacobian @ way / 2)


class CorrectedModel(ModelInterface):
    """A torch-sim model of a single system plus a correction."""

    def __init__(self, model: ModelInterface, correction: Correction) -> None:
        super().__init__()
        self.model = model
        self._device = model.device
        self._dtype = model.dtype
        self._compute_forces = True
        self._compute_stress = False
        self.positions = self._tensor(correction.positions)
        self.forces = self._tensor(correction.forces)
        self.jacobian = self._tensor(correction.jacobian)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device, dtype=self.dtype)

    def forward(self, state: ts.SimState, **kwargs: object) -> dict[str, torch.Tensor]:
        """Return energy in eV, shape (1,), and forces in eV/Å, shape (n, 3)."""
        output = self.model(state)
        way = state.positions - self.positions
        change = (self.jacobian @ way.reshape(-1)).reshape(-1, 3)
        return {
            "energy": output["energy"] - ((self.forces + change / 2) * way).sum(),
            "forces": output["forces"] + self.forces + change,
        }


def next_structure(potential: Potential, labels: Sequence[Label]) -> Proposal:
    """Return where the minimum of the hybrid functional should be.

    Starts from the lowest single point, and goes no further than `trusted_length`.

    Parameters
    ----------
    potential
        The committee.
    labels
        Single points of one state at the hybrid functional, in the order they were made.

    Raises
    ------
    ValueError
        If there are none.
    """
    best = int(np.argmin([label.energy for label in labels]))
    origin = labels[best].configuration.structure
    correction = correction_at(potential, labels, best)
    trust = trusted_length(labels)

    (before,) = potential.predict([origin], FIDELITY)
    (relaxed,) = relax(
        potential,
        [origin],
        max_force=MAX_FORCE,
        max_steps=MAX_STEPS,
        references=[before.energy],
        largest_displacement=trust,
        correct=lambda model: CorrectedModel(model, correction),
    )
    way = _way(origin, relaxed.structure)
    way *= trust / max(trust, np.abs(way).max())
    structure = with_positions(origin, origin.cart_coords + way)
    (after,) = potential.predict([structure], FIDELITY)
    return Proposal(
        structure=structure,
        gain=before.energy - after.energy - correction.energy(structure.cart_coords),
        displacement=float(np.abs(way).max()),
    )


def trusted_length(labels: Sequence[Label]) -> float:
    """Return how far the next step may move an atom along an axis, in Å.

    Twice the last step where that lowered the energy, half of it where it did not.

    Parameters
    ----------
    labels
        Single points in the order they were made, each a step from the lowest before it.
    """
    trust = TRUST
    lowest = labels[0]
    for label in labels[1:]:
        way = _way(lowest.configuration.structure, label.configuration.structure)
        step = float(np.abs(way).max())
        lower = label.energy < lowest.energy
        trust = min(TRUST, 2 * step if lower else step / 2)
        lowest = label if lower else lowest
    return trust


def correction_at(potential: Potential, labels: Sequence[Label], best: int) -> Correction:
    """Return the difference between single points and potential around one of the points."""
    structures = [label.configuration.structure for label in labels]
    predictions = potential.predict(structures, FIDELITY)
    differences = [
        np.array(label.forces) - prediction.forces
        for label, prediction in zip(labels, predictions, strict=True)
    ]
    ways = [_way(structures[best], structure) for structure in structures]
    near = [
        index for index, way in enumerate(ways) if index != best and 0 < np.abs(way).max() <= NEAR
    ]
    return Correction(
        positions=structures[best].cart_coords,
        forces=differences[best],
        jacobian=smallest_jacobian(
            np.array([ways[index].ravel() for index in near]),
            np.array([(differences[index] - differences[best]).ravel() for index in near]),
            3 * len(structures[best]),
        ),
    )


def smallest_jacobian(ways: np.ndarray, changes: np.ndarray, size: int) -> np.ndarray:
    """Return the smallest symmetric matrix that turns displacements into changes of forces.

    Parameters
    ----------
    ways, changes
        Displacements in Å and changes of the forces in eV/Å, shape (m, 3n) each.
    size
        3n, also when there are no displacements.

    Returns
    -------
    array, shape (3n, 3n)
        Second-order part in eV/Å^2; the smallest in the Frobenius norm.
    """
    if not len(ways):
        return np.zeros((size, size))
    s, y = ways.T, changes.T
    inverse = np.linalg.pinv(s, rcond=INDEPENDENT)
    half = y @ inverse
    mixed = s.T @ y
    return half + half.T - inverse.T @ (mixed + mixed.T) @ inverse / 2


def _way(start: Structure, end: Structure) -> np.ndarray:
    """Return the shortest displacements from one structure to another in Å, shape (n, 3)."""
    way = end.frac_coords - start.frac_coords
    return start.lattice.get_cartesian_coords(way - np.round(way))
