"""What a campaign would run, counted before anything runs."""

from __future__ import annotations

import math

from pydantic import Field

from defect_workflows.campaign import Campaign
from defect_workflows.defects.generate import generate
from defect_workflows.documents.base import Document
from defect_workflows.makers.campaign import EXCHANGES, LONGER_WAY
from defect_workflows.makers.verification import hse06_frames
from defect_workflows.precheck import (
    campaign_elements,
    check_campaign,
    check_potcars_here,
)


class PlannedStep(Document):
    """Single points of one stage."""

    stage: str = Field(description="Stage of the campaign.")
    what: str = Field(description="What is calculated.")
    pbe: int = Field(default=0, description="PBE single points.")
    hse06: int = Field(default=0, description="HSE06 single points.")


class Plan(Document):
    """What would run; counts after the first labels are estimates on the high side."""

    host: str = Field(description="Reduced formula of the host.")
    atoms: int = Field(description="Atoms of the pristine supercell.")
    states: list[str] = Field(description="Defect states.")
    steps: list[PlannedStep] = Field(description="Single points per stage.")
    pbe: int = Field(description="PBE single points, estimated.")
    hse06: int = Field(description="HSE06 single points, estimated.")
    notes: list[str] = Field(default=[], description="What is worth a second look.")


def make_plan(campaign: Campaign) -> Plan:
    """Count the single points of a campaign; generates the defects, runs nothing.

    Raises
    ------
    InputError
        As `check_campaign` and `generate`.
    """
    primitive = check_campaign(campaign)
    found = generate(
        primitive,
        campaign.supercell,
        campaign.defects,
        campaign.levels.tensor,
    )
    states = len(found.states)
    sampled = campaign.sampling.per_state * states + campaign.sampling.bulk
    rounds = campaign.convergence.max_rounds
    shortlisted = campaign.search.shortlist * states
    uncertain = campaign.search.uncertain * states
    unresolved = campaign.search.unresolved * states
    dear = sum(hse06_frames(campaign.search, number) for number in range(rounds - 1)) * states
    first = min(campaign.convergence.round_refinements, campaign.convergence.max_refinements)
    exchanged = 2 * states * (rounds + EXCHANGES)
    steps = [
        PlannedStep(stage="host", what="pristine supercell", pbe=1, hse06=1),
        PlannedStep(stage="label", what="sampled configurations", pbe=sampled),
        PlannedStep(
            stage="label",
            what=f"share of {campaign.hse06_share:.0%}",
            hse06=math.ceil(campaign.hse06_share * sampled),
        ),
        PlannedStep(
            stage="verify",
            what=f"{rounds} rounds: shortlist, frames of lost starts, uncertain ones at PBE",
            pbe=rounds * shortlisted + (rounds - 1) * (uncertain + unresolved),
            hse06=rounds * shortlisted + dear,
        ),
        PlannedStep(
            stage="verify",
            what="minima of the last search that may be lower than the winners",
            hse06=campaign.convergence.max_competitors * states,
        ),
        PlannedStep(
            stage="refine",
            what="winners offered to both neighbouring charge states",
            hse06=exchanged,
        ),
        PlannedStep(
            stage="refine",
            what="first steps to the minima, if every candidate were a contender",
            hse06=first * (shortlisted * rounds + exchanged),
        ),
        PlannedStep(
            stage="refine",
            what="last steps of one winner per state",
            hse06=(campaign.convergence.max_refinements - first) * states,
        ),
        PlannedStep(
            stage="refine",
            what="one lost start per state followed to its end",
            hse06=LONGER_WAY * campaign.convergence.max_refinements * states if dear else 0,
        ),
    ]
    return Plan(
        host=found.host.name,
        atoms=len(found.host.supercell),
        states=[state.name for state in found.states],
        steps=steps,
        pbe=sum(step.pbe for step in steps),
        hse06=sum(step.hse06 for step in steps),
        notes=check_potcars_here(campaign, campaign_elements(campaign, primitive)),
    )
