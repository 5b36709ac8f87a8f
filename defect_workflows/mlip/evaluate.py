"""How far the committee's mean is from the labels: tables and parity points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from defect_workflows.documents.potential import ErrorRecord, ParityPoint

if TYPE_CHECKING:
    from defect_workflows.documents.labels import Label
    from defect_workflows.mlip.dataset import Splits
    from defect_workflows.mlip.predict import Potential


def parity_points(potential: Potential, splits: Splits) -> list[ParityPoint]:
    """Return every label of the splits beside its prediction."""
    return [
        point for split, labels in splits.items() for point in compared(potential, split, labels)
    ]


def compared(potential: Potential, split: str, labels: Sequence[Label]) -> list[ParityPoint]:
    """Return labels beside their predictions, head by head."""
    return [
        point
        for fidelity in potential.heads
        for point in _compared(
            potential, split, [label for label in labels if label.fidelity == fidelity]
        )
    ]


def _compared(potential: Potential, split: str, labels: Sequence[Label]) -> list[ParityPoint]:
    if not labels:
        return []
    structures = [label.configuration.structure for label in labels]
    predictions = potential.predict(structures, labels[0].fidelity)
    return [
        ParityPoint(
            split=split,
            fidelity=label.fidelity,
            charge=label.charge,
            state=label.configuration.origin.state,
            family=label.configuration.origin.family,
            formula=label.configuration.structure.composition.formula,
            atoms=len(label.forces),
            energy=label.energy,
            predicted=prediction.energy,
            spread=prediction.spread,
            distance=prediction.distance,
            members=prediction.members.tolist(),
            force_rmse=float(np.sqrt(np.mean((prediction.forces - np.array(label.forces)) ** 2))),
        )
        for label, prediction in zip(labels, predictions, strict=True)
    ]


def error_table(points: Iterable[ParityPoint]) -> list[ErrorRecord]:
    """Return the errors per split and head, for each charge and for all charges (None)."""
    points = list(points)
    groups = sorted(
        {(p.split, p.fidelity, q) for p in points for q in (p.charge, None)},
        key=lambda group: (group[0], group[1], group[2] is not None, group[2] or 0),
    )
    return [
        _errors(
            split,
            [
                p
                for p in points
                if (p.split, p.fidelity) == (split, head) and charge in (None, p.charge)
            ],
            charge,
        )
        for split, head, charge in groups
    ]


def _errors(split: str, points: Sequence[ParityPoint], charge: int | None) -> ErrorRecord:
    per_atom = np.array([(p.predicted - p.energy) / p.atoms for p in points])
    # every force component counts the same, so configurations count by their number of atoms
    force = np.average([p.force_rmse**2 for p in points], weights=[p.atoms for p in points])
    return ErrorRecord(
        split=split,
        fidelity=points[0].fidelity,
        charge=charge,
        labels=len(points),
        energy_rmse=float(np.sqrt(np.mean(per_atom**2))),
        force_rmse=float(np.sqrt(force)),
    )
