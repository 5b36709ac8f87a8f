"""What the structure search found, and what HSE06 says of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from defect_workflows.charge import charge_of
from defect_workflows.documents.base import Document, StructureField
from defect_workflows.documents.defects import ChargedConfiguration
from defect_workflows.documents.labels import Label

CAUTION = 2.0
"""Calibrated standard deviations by which the potential may be wrong: 1 of 40 is lower still."""

Verdict = Literal["minimum", "not_converged", "runaway", "out_of_domain"]
"""`not_converged`: not relaxed to the end within the steps allowed. The potential was left by the
last two: a relaxation that fell or moved too far, and one where the committee guesses."""

StartKind = Literal["distortion", "minimum", "hse06"]
"""`distortion`: the same in every round. `minimum`: made of a minimum of this search. `hse06`: what
single points have found before."""

REFUSED = "refused: "
"""How the reason begins why a refinement stopped that did not come to its end."""


class RelaxationRecord(Document):
    """One start of the search and where it went."""

    state: str = Field(description="Defect state, or 'bulk' for the control.")
    start: str = Field(description="Start geometry, e.g. 'Bond_Distortion_-40.0%'.")
    kind: StartKind = Field(default="minimum", description="Where the start comes from.")
    start_energy: float = Field(description="Energy of the start on the hse06 head in eV.")
    energy: float = Field(description="Final energy on the hse06 head in eV.")
    max_force: float = Field(description="Largest force at the end in eV/Å.")
    steps: int = Field(description="Steps of the optimiser.")
    verdict: Verdict = Field(description="How it ended.")
    cluster: int | None = Field(description="Minimum it belongs to (0 is the lowest), if any.")
    frame: str | None = Field(
        default=None,
        description="Id of the frame that stands for it where it led to no minimum, if any does.",
    )


class Candidate(Document):
    """A relaxed, clustered minimum of the search."""

    state: str = Field(description="Defect state.")
    structure: StructureField = Field(description="Relaxed structure, which carries the charge.")
    energy: float = Field(description="Committee mean on the hse06 head in eV.")
    spread: float = Field(
        description="Committee's standard deviation in eV, measured from the low-lying labels of "
        "the state that it was trained on."
    )
    distance: float = Field(
        description="How far its atoms are from those that the hse06 head was trained on, nearly "
        "the largest of them, in features of the potential, each by its standard deviation."
    )
    uncertainty: float = Field(
        description="One standard deviation in eV of its energy against those of other structures "
        "of the state, from the distance, calibrated on labels that were not trained on."
    )
    energy_uncertainty: float = Field(description="The same of the energy itself in eV.")
    max_force: float = Field(
        description="Largest force in eV/Å on what it was relaxed on: the potential, or the upper "
        "bound of its energies."
    )
    starts: list[str] = Field(description="Starts that ended here.")
    rank: int = Field(description="0 is the lowest on the potential.")

    @property
    def charge(self) -> int:
        """Charge in units of e."""
        return charge_of(self.structure)

    @property
    def lower_bound(self) -> float:
        """Energy in eV that it is hardly below."""
        return self.energy - CAUTION * self.uncertainty

    @property
    def upper_bound(self) -> float:
        """Energy in eV that it is hardly above."""
        return self.energy + CAUTION * self.uncertainty


class StateRisk(Document):
    """What the search may still have missed in a state."""

    state: str = Field(description="Defect state.")
    competitors: int = Field(
        description="Minima without an HSE06 single point that may be lower than the winner."
    )
    energy: float = Field(
        description="Energy in eV by which the likeliest of them is expected to be lower."
    )
    lowered: float = Field(
        default=0.0,
        description="Energy in eV by which this round lowered the state: another may do as much.",
    )
    starts: int = Field(default=0, description="Relaxations of this round's search.")
    unresolved: int = Field(
        default=0,
        description="Those that left the domain of the potential, and of which HSE06 does not show "
        "that they lead no lower than the winner.",
    )
    unfinished: int = Field(
        default=0,
        description="Those that were not relaxed to the end within the steps allowed, likewise.",
    )
    inflation: float = Field(
        description="Errors at this round's verified minima in units of their sigma, at least 1."
    )


class SearchDocument(Document):
    """The search of one or several states."""

    fingerprint: str = Field(description="Fingerprint of potential, states and settings.")
    candidates: list[Candidate] = Field(description="Minima per state, lowest first.")
    relaxations: list[RelaxationRecord] = Field(description="Every start and its fate.")
    control_gain: float = Field(
        description=(
            "Energy in eV by which the distorted bulk ends below the pristine supercell: should "
            "be zero, or every gain of a defect is suspect."
        )
    )
    bulk_energy: float | None = Field(
        default=None, description="Energy of the pristine supercell on the hse06 head in eV."
    )
    uncertain: list[ChargedConfiguration] = Field(
        default_factory=list, description="Frames on the way that the committee disagrees on most."
    )
    unresolved: list[ChargedConfiguration] = Field(
        default_factory=list,
        description="Frames of relaxations that led to no minimum.",
    )
    round: int = Field(default=0, description="Round of the campaign.")
    seconds: float = Field(default=0.0, description="Wall time in s.")


class VerifiedCandidate(Document):
    """A candidate with HSE06 single points at its structure and at the refined ones after it."""

    candidate: Candidate = Field(description="What the search found.")
    labels: list[Label] = Field(
        description="HSE06 single points, in order: at the candidate, then after each refinement."
    )
    energy_error: float = Field(
        description="Potential minus HSE06 at the candidate, in eV per supercell."
    )
    force_error: float = Field(
        description="RMSE of the potential's force components at the candidate in eV/Å."
    )
    max_force: float = Field(description="Largest HSE06 force at the lowest single point in eV/Å.")
    exchanged: bool = Field(
        default=False, description="Offered by a neighbouring charge state, not found by a search."
    )
    unresolved: bool = Field(
        default=False,
        description="A start that left the domain of the potential, or was not relaxed to the end, "
        "where its relaxation got to.",
    )
    refinement_ended: str | None = Field(
        default=None,
        description="Why the refinement stopped for good; None while it was only compared, or had "
        "its share of single points.",
    )
    known_minimum: bool = Field(
        default=False,
        description="Whether it stopped as it leads into the minimum of a lower one of its state.",
    )

    @property
    def searched(self) -> bool:
        """Whether a search found it: the potential has said that there is a minimum."""
        return not (self.exchanged or self.unresolved)

    @property
    def at_its_end(self) -> bool:
        """Whether its refinement came to an end: nothing to gain, or a known minimum."""
        return self.refinement_ended is not None and not self.refinement_ended.startswith(REFUSED)

    @property
    def label(self) -> Label:
        """The HSE06 single point of lowest energy: where the refinement got to."""
        return min(self.labels, key=lambda label: label.energy)

    @property
    def energy(self) -> float:
        """HSE06 energy in eV at the lowest single point."""
        return self.label.energy


class RefinementStep(Document):
    """What the refinement of a candidate calculates next."""

    fingerprint: str = Field(description="Fingerprint of potential and single points so far.")
    structure: StructureField = Field(description="The structure, which carries the charge.")
    gain: float = Field(
        description="Energy in eV by which it should lie below the lowest single point so far."
    )
    known: bool = Field(
        default=False, description="Whether it has a single point: a known minimum is led to."
    )
