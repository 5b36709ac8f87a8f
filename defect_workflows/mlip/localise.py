"""A charge that acts at the defect only: pristine cells as examples of what must not respond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import BULK

if TYPE_CHECKING:
    from defect_workflows.documents.labels import Label
    from defect_workflows.mlip.baseline import Reference


def bulk_at_every_charge(labels: Sequence[Label], reference: Reference) -> list[Label]:
    """Return the labels of pristine cells once more at every other charge of their fidelity.

    MACE adds the embedded charge to every atom of a cell, so E(q) - E(0) grows with the number of
    atoms unless the model has learned that atoms in a bulk-like surrounding do not respond. These
    examples say so: energy and forces are those of the neutral cell, and the offset of the charge,
    which stands for the electrons' reservoir, is all that the charge adds. They are no calculations
    of a charged pristine cell and never leave the training.

    Parameters
    ----------
    labels
        Labels to train on.
    reference
        E0s and charge offsets fitted on them.
    """
    return [
        label.model_copy(
            update={
                "configuration": label.configuration.model_copy(
                    update={"structure": with_charge(label.configuration.structure, charge)}
                ),
                "energy": label.energy + offset,
            }
        )
        for label in labels
        if label.configuration.origin.state == BULK and label.charge == 0
        for (fidelity, charge), offset in reference.offsets.items()
        if fidelity == label.fidelity and charge != 0
    ]
