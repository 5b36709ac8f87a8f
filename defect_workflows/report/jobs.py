"""The last job of a campaign: everything that the report shows, in one document."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import defect_workflows
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
        fingerprint=campaign_fingerprint(campaign),
        convergence=campaign.convergence,
        levels=levels,
        potentials=[PotentialSummary.from_potential(item) for item in potentials],
        searches=[item.model_copy(update={"uncertain": []}) for item in searches],
        rounds=rounds,
        verified=verified,
        dataset=dataset,
        single_points=count_single_points(labels, verified),
        versions=_versions(),
    )


def campaign_fingerprint(campaign: Campaign) -> str:
    """Return the fingerprint of a campaign's settings, whoever runs them and where.

    The source of this package, its version and those of the packages that decide on the numbers
    are part of it: another code may give another result. Where the host file lies is not.
    """
    root = Path(defect_workflows.__file__).parent
    source = {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*.py"))}
    settings = campaign.model_dump(exclude={"host"})
    return fingerprint("campaign", settings, source, _versions())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}
