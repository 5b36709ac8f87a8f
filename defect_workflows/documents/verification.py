"""What HSE06 says of a round's winners, and whether the rounds may end."""

from __future__ import annotations

from pydantic import Field

from defect_workflows.documents.base import Document
from defect_workflows.documents.labels import LabelSet
from defect_workflows.documents.search import StateRisk, VerifiedCandidate

LEFT_DOMAIN = "starts left the domain of the potential"
NOT_RELAXED = "starts were not relaxed to the end"
"""How criteria begin that are not met because of starts: each state has a warning of its own."""


class StateCheck(Document):
    """The potential against HSE06 at the winner of one state."""

    state: str = Field(description="Defect state.")
    charge: int = Field(description="Charge in units of e.")
    energy: float = Field(description="HSE06 energy of the winner in eV.")
    energy_error: float = Field(description="Potential minus HSE06 at the winner in eV.")
    force_error: float = Field(description="RMSE of the potential's forces there in eV/Å.")


class RoundRecord(Document):
    """One round of training, search and verification."""

    round: int = Field(description="Number of the round, from 0.")
    checks: list[StateCheck] = Field(description="One per state that has a verified winner.")
    level_change: float | None = Field(
        description="Largest change of a level since the round before in eV; None in the first."
    )
    risks: list[StateRisk] = Field(
        default_factory=list, description="What the search may still have missed, per state."
    )
    converged: bool = Field(description="Every criterion of the campaign is met.")
    reasons: list[str] = Field(description="Criteria that are not met, one line each.")
    unconverged: list[str] = Field(
        default_factory=list, description="States that these are about, none where all are met."
    )


class VerificationDocument(Document):
    """HSE06 single points on the shortlist of a round."""

    verified: list[VerifiedCandidate] = Field(
        description="Every candidate and every lost start that has an HSE06 label."
    )
    labels: LabelSet = Field(description="All labels so far, those of this round included.")


class RoundDocument(Document):
    """A finished round: what it knows, and whether another one is needed."""

    verified: list[VerifiedCandidate] = Field(
        description="Verified candidates of all rounds so far, refined as far as they got."
    )
    labels: LabelSet = Field(description="All labels so far, those of the refinements included.")
    rounds: list[RoundRecord] = Field(description="This round and those before it.")
