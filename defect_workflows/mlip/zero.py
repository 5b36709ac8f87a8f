"""The zero of energy of each cell, after training: what the models are wrong by on average.

Energies of cells of one composition and charge have errors in common. A short training leaves
some: the loss counts energies per atom, and 2 meV/atom are 0.1 eV of a supercell. Their mean over
what was trained on is known, so it is taken off. Low-lying labels decide it: transition levels are
differences of ground states, and a model that is not fitted to the end has the wells too shallow.
Each model has its own, so that what the committee disagrees on is measured from these labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from defect_workflows.documents.potential import EnergyShift, ParityPoint
from defect_workflows.fidelity import Fidelity

type Cell = tuple[Fidelity, str, int]
"""Head, composition and charge."""

LOW_LYING = 0.05
"""Height in eV above the lowest label of its cell and charge from which on a label counts less, by
the inverse square: less than what the wells are too shallow by."""


def fit_shifts(points: Iterable[ParityPoint]) -> list[EnergyShift]:
    """Return what to add to predicted energies, per head, composition and charge.

    Parameters
    ----------
    points
        Labels beside predictions without shifts; those trained on count.
    """
    cells: dict[Cell, list[ParityPoint]] = {}
    for point in points:
        if point.split == "train":
            cells.setdefault(_cell(point), []).append(point)
    return [
        EnergyShift(
            fidelity=fidelity,
            formula=formula,
            charge=charge,
            members=_low_lying_means(trained),
            labels=len(trained),
        )
        for (fidelity, formula, charge), trained in sorted(cells.items())
    ]


def _cell(item: ParityPoint | EnergyShift) -> Cell:
    return item.fidelity, item.formula, item.charge


def _low_lying_means(points: Sequence[ParityPoint]) -> list[float]:
    """Return each model's mean of label minus prediction in eV, of low-lying labels above all."""
    energies = np.array([point.energy for point in points])
    missing = energies[:, None] - np.array([point.members for point in points])
    heights = energies - energies.min()
    weights = 1.0 / (1.0 + (heights / LOW_LYING) ** 2)
    return np.average(missing, axis=0, weights=weights).tolist()


def shifted(points: Iterable[ParityPoint], shifts: Iterable[EnergyShift]) -> list[ParityPoint]:
    """Return labels beside predictions with shifts."""
    by_cell = {_cell(item): item.members for item in shifts}
    moved = []
    for point in points:
        shift = by_cell.get(_cell(point), np.zeros(len(point.members)))
        members = np.array(point.members) + shift
        moved.append(
            point.model_copy(
                update={
                    "predicted": float(members.mean()),
                    "members": members.tolist(),
                    "spread": spread_of(members),
                }
            )
        )
    return moved


def spread_of(members: np.ndarray) -> float:
    """Return the standard deviation of energies of the members of a committee; 0 of one alone."""
    return float(np.std(members, ddof=1)) if len(members) > 1 else 0.0
