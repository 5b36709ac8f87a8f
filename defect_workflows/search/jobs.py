"""Jobs: the search, its verification, and the next structure of a refinement.

torch takes seconds and hundreds of megabytes to import: only the jobs themselves do it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pymatgen.core import Structure

from defect_workflows import reuse
from defect_workflows.campaign import ConvergenceSettings, SearchSettings
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.labels import Label, LabelSet, RefusedLabel
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.documents.search import Candidate, SearchDocument, VerifiedCandidate
from defect_workflows.documents.verification import RoundRecord, VerificationDocument
from defect_workflows.search.verify import assess, extended, verify

Device = Literal["auto", "cpu", "cuda"]


@reuse.job(output_schema=SearchDocument, data=["candidates", "uncertain"])
def search_states(
    potential: PotentialDocument,
    states: Sequence[DefectState],
    bulk: Structure,
    settings: SearchSettings,
    seed: int = 1,
    round: int = 0,
    device: Device = "auto",
) -> SearchDocument:
    """Search the ground-state structures of all states on the potential.

    Parameters
    ----------
    potential
        The committee.
    states
        Defect states; those of one defect give their minima to each other as starts.
    bulk
        Pristine supercell.
    settings
        Distortions and tolerances.
    seed
        Seed of the rattles.
    round
        Round of the campaign.
    device
        Where to run: 'auto' takes a GPU when there is one.
    """
    from defect_workflows.mlip.predict import Potential
    from defect_workflows.search.explore import search

    key = reuse.fingerprint("search", potential.fingerprint, states, bulk, settings, seed, round)
    return reuse.finished_or(
        lambda: search(
            Potential.from_document(potential, device),
            states,
            bulk,
            settings,
            seed=seed,
            fingerprint=key,
            round=round,
        ),
        key,
        SearchDocument,
    )


@reuse.job(output_schema=ChargedConfiguration)
def refine_structure(
    potential: PotentialDocument, labels: Sequence[Label], device: Device = "auto"
) -> ChargedConfiguration:
    """Return the configuration that should be the minimum of the hybrid functional.

    Parameters
    ----------
    potential
        The committee.
    labels
        Single points of one candidate at the hybrid functional, in the order they were made.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential
    from defect_workflows.search.refine import next_structure

    structure = next_structure(Potential.from_document(potential, device), labels).structure
    origin = labels[0].configuration.origin
    return ChargedConfiguration.of(
        structure,
        Origin(state=origin.state, family=origin.family, kind="search", round=potential.round),
    )


@reuse.job(output_schema=VerificationDocument, data=["labels", "verified"])
def verify_candidates(
    potential: PotentialDocument,
    candidates: Sequence[Candidate],
    points: Sequence[Label | RefusedLabel],
    labels: LabelSet,
    states: Mapping[str, str],
    rounds: Sequence[RoundRecord],
    settings: ConvergenceSettings,
    device: Device = "auto",
) -> VerificationDocument:
    """Compare the potential with HSE06 at what it found, and tell whether the rounds may end.

    Parameters
    ----------
    potential
        The committee.
    candidates, points
        Candidates and their HSE06 single points, in the same order; refused ones drop out.
    labels
        All labels so far.
    states
        Name of the defect of every state asked for.
    rounds
        Records of the rounds before.
    settings
        When the rounds may end.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential

    pairs = [
        (candidate, point)
        for candidate, point in zip(candidates, points, strict=True)
        if isinstance(point, Label)
    ]
    verified = verify(Potential.from_document(potential, device), pairs)
    return VerificationDocument(
        verified=verified,
        labels=labels,
        rounds=[*rounds, assess(verified, states, rounds, settings)],
    )


@reuse.job(output_schema=VerifiedCandidate)
def extend(verified: VerifiedCandidate, point: Label | RefusedLabel) -> VerifiedCandidate:
    """Add the next HSE06 single point of a refinement; a refused one ends it."""
    return extended(verified, point)


@reuse.job
def verify_start(
    potential: PotentialDocument, start: str, point: Label | RefusedLabel, device: Device = "auto"
) -> VerifiedCandidate | None:
    """Make a start that has an HSE06 single point a verified candidate; None if it was refused.

    Parameters
    ----------
    potential
        The committee.
    start
        Name of the start.
    point
        Its HSE06 single point.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential

    if isinstance(point, RefusedLabel):
        return None
    model = Potential.from_document(potential, device)
    structure = point.configuration.structure
    (prediction,) = model.predict([structure], "hse06")
    candidate = Candidate(
        state=point.configuration.origin.state,
        structure=structure,
        energy=prediction.energy,
        spread=prediction.spread,
        max_force=float(np.linalg.norm(prediction.forces, axis=1).max()),
        starts=[start],
        rank=0,
    )
    return verify(model, [(candidate, point)])[0]


@reuse.job
def gather(verified: Sequence[VerifiedCandidate | None]) -> list[VerifiedCandidate]:
    """Put verified candidates together, without those whose single point was refused."""
    return [item for item in verified if item is not None]
