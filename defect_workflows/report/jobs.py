"""The last job of a campaign: everything that the report shows, in one document."""

from __future__ import annotations

from importlib.metadata import version

from defect_workflows import reuse
from defect_workflows.campaign import Campaign
from defect_workflows.documents.campaign import (
    CampaignResult,
    PotentialSummary,
    count_single_points,
)
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.documents.labels import LabelSet
from defect_workflows.documents.levels import LevelsResult
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.documents.search import SearchDocument, VerifiedCandidate
from defect_workflows.documents.verification import RoundRecord
from defect_workflows.reuse import fingerprint

PACKAGES = ("defect-workflows", "atomate2", "doped", "mace-torch", "shakenbreak", "torch")
"""Packages whose versions decide on the numbers."""


@reuse.job(output_schema=CampaignResult, data=["thermodynamics", "searches", "verified", "dataset"])
def summarise(
    campaign: Campaign,
    levels: LevelsResult,
    potentials: list[PotentialDocument],
    searches: list[SearchDocument],
    rounds: list[RoundRecord],
    verified: list[VerifiedCandidate],
    labels: LabelSet,
    dataset: DatasetDocument,
) -> CampaignResult:
    """Summarise a finished campaign.

    Parameters
    ----------
    campaign
        What the user asked for.
    levels
        Levels with doped's object behind them.
    potentials, searches, rounds
        One per round.
    verified
        Candidates with their HSE06 single points, refined ones included.
    labels
        All labels of the campaign but those of refinements.
    dataset
        Index and audit of all labels.
    """
    return CampaignResult(
        name=campaign.host.stem,
        # where the host file lies is not part of what was asked
        fingerprint=fingerprint("campaign", campaign.model_dump(exclude={"host"})),
        convergence=campaign.convergence,
        levels=levels,
        potentials=[PotentialSummary.from_potential(item) for item in potentials],
        searches=[item.model_copy(update={"uncertain": []}) for item in searches],
        rounds=rounds,
        verified=verified,
        dataset=dataset,
        single_points=count_single_points(labels, verified),
        versions={name: version(name) for name in PACKAGES},
    )
