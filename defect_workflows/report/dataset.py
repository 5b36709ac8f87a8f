"""The data set as files: its index and audit, and extended XYZ that others can train on."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from defect_workflows.charge import to_atoms
from defect_workflows.documents.dataset import (
    ENERGY_KEY,
    FORCES_KEY,
    STRESS_KEY,
    DatasetDocument,
    LabelRecord,
)
from defect_workflows.documents.labels import Label
from defect_workflows.errors import CampaignError

if TYPE_CHECKING:
    from ase import Atoms

UNSEEN = "unseen"
"""What stands for the split of a label that the potential has not seen."""


def dataset_xyz(dataset: DatasetDocument, labels: Iterable[Label]) -> str:
    """Return the labels of a data set as extended XYZ, in the order of its index.

    Each frame carries its charge where MACE and torch-sim look for it, raw energy (eV), forces
    (eV/Å) and stress (eV/Å^3) under the keys that MACE reads by default, and from the index
    fidelity, state, family, split, id and whether the stand-in for VASP made it.

    Raises
    ------
    CampaignError
        If a label of the index is not among those given.
    """
    from ase.io import write

    known = {label.fingerprint: label for label in labels}
    missing = [record for record in dataset.labels if record.fingerprint not in known]
    if missing:
        raise CampaignError(
            f"data set: found no {missing[0].fidelity} label of {missing[0].id[:12]} "
            f"({missing[0].state}) in the store and {len(missing) - 1} others, "
            f"expected all {len(dataset.labels)}: run the campaign again, they are made again"
        )
    stream = io.StringIO()
    frames = [frame(record, known[record.fingerprint]) for record in dataset.labels]
    write(stream, frames, format="extxyz")
    return stream.getvalue()


def frame(record: LabelRecord, label: Label) -> Atoms:
    """Return a label as ASE atoms with what the index says of it."""
    atoms = to_atoms(label.configuration.structure)
    atoms.info |= {
        ENERGY_KEY: label.energy,
        STRESS_KEY: np.ravel(label.stress),  # ASE would write a matrix as JSON
        "fidelity": record.fidelity,
        "state": record.state,
        "family": record.family,
        "split": record.split or UNSEEN,
        "id": record.id,
        "rehearsal": label.rehearsal,
    }
    atoms.arrays[FORCES_KEY] = np.array(label.forces)
    return atoms


def theory_rows(dataset: DatasetDocument) -> list[dict[str, Any]]:
    """Return every level of theory with the fidelity and the number of labels calculated at it."""
    return [
        {
            "fidelity": next(item.fidelity for item in dataset.labels if item.level_of_theory == n),
            "labels": sum(item.level_of_theory == n for item in dataset.labels),
            "ingested": sum(
                item.level_of_theory == n and item.kind == "ingested" for item in dataset.labels
            ),
            "theory": theory,
        }
        for n, theory in enumerate(dataset.levels_of_theory)
    ]


def count_rows(dataset: DatasetDocument) -> list[dict[str, Any]]:
    """Return the counts as one row per state and fidelity with a number for each split."""
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    for count in dataset.counts:
        row = rows.setdefault(
            (count.state, count.charge, count.fidelity),
            {
                "state": count.state,
                "charge": count.charge,
                "fidelity": count.fidelity,
                "train": 0,
                "valid": 0,
                "test": 0,
                UNSEEN: 0,
            },
        )
        row[count.split or UNSEEN] += count.labels
    return list(rows.values())
