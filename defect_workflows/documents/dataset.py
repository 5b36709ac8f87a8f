"""What a potential is trained on: an index of labels that stay in the store, and its audit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from defect_workflows.documents.base import Document
from defect_workflows.documents.defects import Kind
from defect_workflows.documents.labels import LevelOfTheory
from defect_workflows.fidelity import Fidelity

Split = Literal["train", "valid", "test"]
"""Trained on, watched while training, held out."""

ENERGY_KEY, FORCES_KEY, STRESS_KEY = "REF_energy", "REF_forces", "REF_stress"
"""Names of energy (eV), forces (eV/Å) and stress (eV/Å^3) of labels as ASE atoms: MACE's own."""


class LabelRecord(Document):
    """One label of the data set, without its structure and forces."""

    id: str = Field(description="Fingerprint of structure and charge: the configuration.")
    fingerprint: str = Field(description="Fingerprint by which the label is found in the store.")
    state: str = Field(description="Defect state it was made for, or 'bulk'.")
    charge: int = Field(description="Charge in units of e.")
    fidelity: Fidelity = Field(description="Level of theory; also the head of the potential.")
    family: str = Field(description="Start geometry, whose labels are on one side of the split.")
    kind: Kind = Field(description="How the configuration was made.")
    round: int = Field(description="Round of the campaign that made it.")
    split: Split | None = Field(
        description="Side it is on; None for one that the potential has not seen."
    )
    atoms: int = Field(description="Number of atoms.")
    directory: str | None = Field(
        description="Where it was calculated, host:path; files and ionic step of an ingested one."
    )
    level_of_theory: int = Field(description="Position in the levels of theory of the data set.")


class LabelCount(Document):
    """Labels of one state at one fidelity on one side of the split."""

    state: str = Field(description="Defect state or 'bulk'.")
    charge: int = Field(description="Charge in units of e.")
    fidelity: Fidelity = Field(description="Level of theory.")
    split: Split | None = Field(description="Side; None for what the potential has not seen.")
    labels: int = Field(description="Number of labels.")


class DuplicateRecord(Document):
    """A label that says again what another one says, or contradicts it."""

    id: str = Field(description="Configuration.")
    same_as: str = Field(
        description="Configuration of the other label; its own where one was calculated twice."
    )
    charge: int = Field(description="Charge of both in units of e.")
    fidelity: Fidelity | None = Field(
        description="Level of theory compared; None where they have none in common."
    )
    family: str = Field(description="Start geometry.")
    same_as_family: str = Field(description="Start geometry of the other one.")
    distance: float = Field(description="Largest distance between equivalent atoms in Å.")
    energy_difference: float | None = Field(
        description="Its energy minus the other's in eV; None without a common fidelity."
    )
    conflict: bool = Field(description="The energies differ by more than the distance explains.")
    leak: bool = Field(description="One of the two is held out, the other one is not.")


class OutlierRecord(Document):
    """A label far from its peers: those of its composition, charge, fidelity, and making."""

    id: str = Field(description="Configuration.")
    state: str = Field(description="Defect state or 'bulk'.")
    charge: int = Field(description="Charge in units of e.")
    fidelity: Fidelity = Field(description="Level of theory.")
    family: str = Field(description="Start geometry.")
    energy_per_atom: float = Field(description="Energy in eV per atom.")
    force: float = Field(description="Root mean square of the force components in eV/Å.")
    energy_deviation: float = Field(
        description="Energy's distance from the median of its peers, robust standard deviations."
    )
    force_deviation: float = Field(description="The same of the force.")
    geometry: bool = Field(
        description="Large forces explain the energy: an extreme geometry, not a doubtful label."
    )
    reason: str = Field(description="The same in one line.")


class RefusedRecord(Document):
    """A calculation that is not in the data set."""

    id: str = Field(description="Fingerprint of structure and charge: the configuration.")
    state: str = Field(description="Defect state or 'bulk'.")
    charge: int = Field(description="Charge in units of e.")
    fidelity: Fidelity = Field(description="Level of theory.")
    family: str = Field(description="Start geometry.")
    kind: Kind = Field(description="How the configuration was made.")
    round: int = Field(description="Round of the campaign that made it.")
    reason: str = Field(description="One line: why it is refused.")
    directory: str | None = Field(description="Where it ran, host:path.")


class DatasetDocument(Document):
    """Index and audit of the labels of a potential; the same labels give the same document."""

    labels: list[LabelRecord] = Field(
        description="One per configuration and fidelity, in the order of these."
    )
    levels_of_theory: list[LevelOfTheory] = Field(description="What the labels point to.")
    counts: list[LabelCount] = Field(description="Labels per state, charge, fidelity and split.")
    duplicates: list[DuplicateRecord] = Field(description="What is there twice, or contradicts.")
    outliers: list[OutlierRecord] = Field(description="Labels far from their peers.")
    unjudged: int = Field(description="Labels with too few peers to tell whether they are far.")
    refused: list[RefusedRecord] = Field(description="Excluded calculations with their reasons.")
    rehearsal: bool = Field(description="True when the stand-in for VASP made the labels.")

    @property
    def unseen(self) -> int:
        """Number of labels that the potential has not seen."""
        return sum(record.split is None for record in self.labels)
