"""Everything a finished campaign has to show: what the report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.base import Document
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.documents.labels import Label, LabelSet, RefusedLabel
from defect_workflows.documents.levels import LevelsResult
from defect_workflows.documents.potential import (
    Calibration,
    EnergyShift,
    ErrorRecord,
    ParityPoint,
    PotentialDocument,
    Probe,
)
from defect_workflows.documents.search import SearchDocument, VerifiedCandidate
from defect_workflows.documents.verification import RoundRecord
from defect_workflows.fidelity import CAMPAIGN_FIDELITIES, FIDELITIES, Fidelity


class PotentialSummary(Document):
    """A potential without its models."""

    round: int = Field(description="Round of the campaign.")
    fingerprint: str = Field(description="Fingerprint of labels and settings.")
    heads: list[Fidelity] = Field(description="Fidelities, in the order of the model's heads.")
    sha256: list[str] = Field(description="Hash of each model of the committee.")
    elements: list[str] = Field(description="Elements it knows.")
    charges: list[int] = Field(description="Charges it was trained on, in units of e.")
    atoms: tuple[int, int] = Field(
        description="Smallest and largest number of atoms per cell in the training data."
    )
    cutoff: float = Field(description="Cutoff radius in Å.")
    shifts: list[EnergyShift] = Field(
        default_factory=list, description="Shift per head, composition and charge."
    )
    calibration: Calibration | None = Field(description="How far it can be trusted.")
    difference_calibration: Calibration | None = Field(
        default=None, description="The same of energy differences between structures of one state."
    )
    training_labels: int = Field(description="Number of labels trained on, all heads.")
    epochs: list[int] = Field(description="Epochs of each model.")
    seconds: float = Field(description="Wall time of the training in s, all models together.")
    errors: list[ErrorRecord] = Field(description="Errors per split, head and charge.")
    parity: list[ParityPoint] = Field(description="Labels beside predictions.")
    later: list[ParityPoint] = Field(
        default_factory=list,
        description="Labels made since the potential of the round before, beside its predictions.",
    )
    probes: list[Probe] = Field(description="One per model.")

    @classmethod
    def from_potential(cls, potential: PotentialDocument) -> Self:
        """Leave out the models."""
        return cls(
            round=potential.round,
            fingerprint=potential.fingerprint,
            heads=potential.heads,
            sha256=[member.sha256 for member in potential.members],
            elements=potential.elements,
            charges=potential.charges,
            atoms=potential.atoms,
            cutoff=potential.cutoff,
            shifts=potential.shifts,
            calibration=potential.calibration,
            difference_calibration=potential.difference_calibration,
            training_labels=potential.training_labels,
            epochs=[member.epochs for member in potential.members],
            seconds=sum(member.seconds for member in potential.members),
            errors=potential.errors,
            parity=potential.parity,
            later=potential.later,
            probes=potential.probes,
        )


class SinglePointCount(Document):
    """Single points of one fidelity."""

    fidelity: Fidelity = Field(description="Level of theory.")
    labels: int = Field(description="Calculations that became labels.")
    refused: int = Field(description="Calculations that were refused.")
    seconds: float = Field(description="Their wall time in s, all together.")


class CostRecord(Document):
    """What a stage cost."""

    stage: str = Field(description="Stage of the campaign.")
    seconds: float = Field(description="Wall time of its jobs in s, all together.")
    jobs: int = Field(description="Jobs that ended.")


class CampaignResult(Document):
    """A finished campaign."""

    name: str = Field(description="Name of the campaign.")
    fingerprint: str = Field(
        description="Fingerprint of the campaign's settings and of the code that ran it."
    )
    convergence: ConvergenceSettings = Field(description="What the rounds were measured by.")
    levels: LevelsResult = Field(description="Levels with doped's object behind them.")
    potentials: list[PotentialSummary] = Field(description="One per round.")
    searches: list[SearchDocument] = Field(description="One per round.")
    rounds: list[RoundRecord] = Field(description="One per round.")
    verified: list[VerifiedCandidate] = Field(description="Candidates with HSE06 single points.")
    dataset: DatasetDocument = Field(description="Index and audit of every label.")
    single_points: list[SinglePointCount] = Field(description="One per fidelity.")
    cost: list[CostRecord] = Field(
        default_factory=list, description="Wall time per stage, from the run's own records."
    )
    versions: dict[str, str] = Field(
        default_factory=dict, description="Versions of the packages that decide on the numbers."
    )

    @property
    def rehearsal(self) -> bool:
        """True when the stand-in for VASP made the numbers."""
        return self.levels.levels.rehearsal

    @property
    def converged(self) -> bool:
        """True when the last round met every criterion."""
        return bool(self.rounds) and self.rounds[-1].converged


def count_single_points(
    labels: LabelSet, verified: Sequence[VerifiedCandidate]
) -> list[SinglePointCount]:
    """Count every single point once: those of the label set and those of the refinements.

    What was refused without a calculation is none.
    """
    usable = [*labels.labels, *(label for item in verified for label in item.labels)]
    refused = [item for item in labels.refused if item.directory is not None]
    calculations: list[Label | RefusedLabel] = [*usable, *refused]
    unique = list({item.fingerprint: item for item in calculations}.values())
    counts = []
    for fidelity in FIDELITIES:
        mine = [item for item in unique if item.fidelity == fidelity]
        if not mine and fidelity not in CAMPAIGN_FIDELITIES:
            continue
        not_usable = sum(isinstance(item, RefusedLabel) for item in mine)
        counts.append(
            SinglePointCount(
                fidelity=fidelity,
                labels=len(mine) - not_usable,
                refused=not_usable,
                seconds=sum(item.seconds for item in mine),
            )
        )
    return counts
