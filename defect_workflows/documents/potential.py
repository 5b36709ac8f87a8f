"""The trained committee of MACE models."""

from __future__ import annotations

import base64
import hashlib
import math
from typing import Literal, Self

from pydantic import Field, model_validator

from defect_workflows.documents.base import Document
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.fidelity import Fidelity

Stop = Literal["end of schedule", "no improvement"]
"""Why a training ended."""

ENOUGH_LABELS, ENOUGH_FAMILIES = 20, 5
"""Labels not trained on, and their families, from which on a calibration is more than a guess: a
share of 20 labels is known within 10 %."""


class CommitteeMember(Document):
    """One trained MACE model."""

    fingerprint: str = Field(description="Fingerprint of labels, settings, seed and start.")
    seed: int = Field(description="Seed of initialisation and batches.")
    sha256: str = Field(description="Hash of the model file; another file is refused unread.")
    model: str = Field(
        description="Weights and the settings that build it, base64. Lives in the 'data' store."
    )
    planned_epochs: int = Field(description="Epochs of the schedule.")
    epochs: int = Field(description="Epochs trained.")
    best_epoch: int = Field(description="Epoch whose weights, averaged over steps, were kept.")
    stopped: Stop = Field(
        description="Why the training ended: the schedule was over, or the validation error had "
        "not fallen for too long."
    )
    seconds: float = Field(description="Wall time of the training in s.")
    foundation: str | None = Field(
        default=None,
        description="Hash of the foundation model's file that it goes back to, if any.",
    )

    @model_validator(mode="after")
    def _intact(self) -> Self:
        """Refuse a damaged model where it is read, so that it is trained again."""
        found = hashlib.sha256(base64.b64decode(self.model)).hexdigest()
        if found != self.sha256:
            raise ValueError(f"model: found sha256 {found[:12]}, expected {self.sha256[:12]}")
        return self


class Baseline(Document):
    """Energy removed before training and added back at prediction: one offset per charge."""

    fidelity: Fidelity = Field(description="Head it belongs to.")
    charge: int = Field(description="Charge in units of e.")
    offset: float = Field(description="Offset in eV per supercell.")


class EnergyShift(Document):
    """Energy added at prediction to cells of one composition and charge, fitted after training."""

    fidelity: Fidelity = Field(description="Head it belongs to.")
    formula: str = Field(description="Composition of the cell.")
    charge: int = Field(description="Charge in units of e.")
    members: list[float] = Field(
        description="Mean of label minus model in eV per supercell over the labels trained on, of "
        "low-lying ones above all; one for each member of the committee."
    )
    labels: int = Field(description="Number of these labels.")

    @property
    def shift(self) -> float:
        """What the committee's mean is shifted by, in eV."""
        return sum(self.members) / len(self.members)


class AtomEnergy(Document):
    """E0 of an element at a fidelity, fitted on neutral labels."""

    fidelity: Fidelity = Field(description="Head it belongs to.")
    element: str = Field(description="Element symbol.")
    energy: float = Field(description="E0 in eV.")


class ErrorRecord(Document):
    """Errors of the committee mean on a set of labels."""

    split: str = Field(description="'train', 'valid' or 'test'.")
    fidelity: Fidelity = Field(description="Head.")
    charge: int | None = Field(description="Charge in units of e; None for all charges.")
    labels: int = Field(description="Number of labels.")
    energy_rmse: float = Field(description="RMSE of the energy in eV per atom.")
    force_rmse: float = Field(description="RMSE of the force components in eV/Å.")


class ParityPoint(Document):
    """One label beside its prediction."""

    split: str = Field(description="'train', 'valid' or 'test'.")
    fidelity: Fidelity = Field(description="Head.")
    charge: int = Field(description="Charge in units of e.")
    state: str = Field(description="Defect state or 'bulk'.")
    family: str = Field(description="Geometry family of the configuration.")
    formula: str = Field(default="", description="Composition of the cell.")
    atoms: int = Field(description="Number of atoms.")
    energy: float = Field(description="Energy of the label in eV.")
    predicted: float = Field(description="Energy of the committee mean in eV.")
    spread: float = Field(
        description="Standard deviation of the committee's energies in eV, each shifted."
    )
    distance: float = Field(
        description="How far its atoms are from those that the head was trained on, nearly the "
        "largest of them, in features of the potential, each by its standard deviation."
    )
    members: list[float] = Field(
        default_factory=list, description="Energy of each member of the committee in eV."
    )
    sigma: float | None = Field(
        default=None,
        description="Calibrated standard deviation of the energy in eV; of a label that was not "
        "trained on by the calibration of the other geometry families.",
    )
    force_rmse: float = Field(description="RMSE of the force components in eV/Å.")


class Probe(Document):
    """What the reloaded model showed (rule 3: trained means probed)."""

    heads: list[str] = Field(description="Heads of the reloaded model.")
    charge_response: float = Field(
        description="Smallest |E(q) - E(q')| over the charges trained on, in eV, without baseline."
    )
    head_response: float = Field(description="|E(pbe) - E(hse06)| of one configuration in eV.")


class HeadCalibration(Document):
    """How many of the unseen errors of one head are within one calibrated sigma."""

    fidelity: Fidelity = Field(description="Head.")
    labels: int = Field(description="Labels of this head that were not trained on.")
    within_sigma: float | None = Field(
        description="Share of their energy errors within one sigma, each geometry family judged "
        "by the others; 0.68 is honest. None with one family alone."
    )


class Calibration(Document):
    """From the distance to what was trained on to a standard deviation that holds.

    sigma^2 = (slope x distance)^2 + floor^2, energies of whole supercells in eV. By labels that
    were not trained on: held out, or made since the potential of the round before was, whose errors
    count then, in units of its own floor.
    """

    labels: int = Field(description="Such labels of defect states, all heads.")
    later: int = Field(default=0, description="Those made since the potential of the round before.")
    families: int = Field(description="Geometry families that they belong to.")
    within: float = Field(description="Share of energy errors within one spread of the committee.")
    slope: float = Field(description="Sigma per distance in eV.")
    floor: float = Field(
        description="Sigma at what was trained on, in eV: it holds 68 % of the errors there."
    )
    within_sigma: float | None = Field(
        description="Share of energy errors within one sigma, each geometry family judged by the "
        "others; 0.68 is honest. None with one family alone."
    )
    heads: list[HeadCalibration] = Field(description="The same, head by head.")

    @property
    def enough(self) -> bool:
        """False where the held-out labels are too few to tell a sigma from twice as much."""
        return self.labels >= ENOUGH_LABELS and self.families >= ENOUGH_FAMILIES

    def sigma(self, distance: float) -> float:
        """Return the standard deviation of an energy in eV at a distance."""
        return math.hypot(self.slope * distance, self.floor)


class TrainedAtoms(Document):
    """The atoms of one element that a head was trained on, as the potential sees them."""

    fidelity: Fidelity = Field(description="Head.")
    element: str = Field(description="Element symbol.")
    scale: list[float] = Field(description="Standard deviation of each feature over the atoms.")
    features: str = Field(
        description="Invariant features of the first model, atom by atom, each in units of its "
        "standard deviation: float32, little endian, base64. Lives in the 'data' store."
    )


class PotentialDocument(Document):
    """The trained committee with baseline, errors and the domain it may be used in."""

    fingerprint: str = Field(description="Fingerprint of labels and settings.")
    heads: list[Fidelity] = Field(description="Fidelities, in the order of the model's heads.")
    elements: list[str] = Field(description="Elements it knows.")
    charges: list[int] = Field(description="Charges it was trained on, in units of e.")
    atoms: tuple[int, int] = Field(
        description="Smallest and largest number of atoms per cell in the training data."
    )
    cutoff: float = Field(description="Cutoff radius in Å.")
    members: list[CommitteeMember] = Field(description="The committee.")
    baseline: list[Baseline] = Field(description="Offset per head and charge.")
    shifts: list[EnergyShift] = Field(
        default_factory=list, description="Shift per head, composition and charge."
    )
    atom_energies: list[AtomEnergy] = Field(description="E0 per head and element.")
    errors: list[ErrorRecord] = Field(description="Errors per split, head and charge.")
    parity: list[ParityPoint] = Field(description="Labels beside predictions.")
    later: list[ParityPoint] = Field(
        default_factory=list,
        description="Labels made since the potential of the round before, beside its predictions.",
    )
    domain: list[TrainedAtoms] = Field(
        default_factory=list, description="What it was trained on, per head and element."
    )
    calibration: Calibration | None = Field(
        default=None, description="How far its energies can be trusted; None without labels for it."
    )
    difference_calibration: Calibration | None = Field(
        default=None, description="The same of energy differences between structures of one state."
    )
    probes: list[Probe] = Field(description="One per committee member.")
    foundation: str | None = Field(
        default=None,
        description="Hash of the foundation model's file that it goes back to, if any.",
    )
    training_labels: int = Field(description="Number of labels trained on, all heads.")
    dataset: DatasetDocument = Field(
        description="Index and audit of the labels it was trained, watched and measured on; the "
        "refused ones are those of the campaign."
    )
    round: int = Field(default=0, description="Round of the campaign.")
    rehearsal: bool = Field(description="True when trained on labels of the stand-in for VASP.")
