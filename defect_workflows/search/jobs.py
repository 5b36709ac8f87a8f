"""Jobs: the search, its verification, and verified candidates put together.

torch takes seconds and hundreds of megabytes to import: only the jobs themselves do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pymatgen.core import Structure

from defect_workflows import reuse
from defect_workflows.campaign import ConvergenceSettings, SearchSettings
from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.labels import Label, LabelSet, RefusedLabel
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.documents.search import (
    Candidate,
    RefinementStep,
    RelaxationRecord,
    SearchDocument,
    VerifiedCandidate,
)
from defect_workflows.documents.verification import (
    RoundDocument,
    RoundRecord,
    VerificationDocument,
)
from defect_workflows.errors import about
from defect_workflows.search.contenders import contenders
from defect_workflows.search.risks import found_by
from defect_workflows.search.verify import assess, extended, verify, verify_starts
from defect_workflows.settings import read_settings

Device = Literal["auto", "cpu", "cuda"]


@reuse.job(output_schema=SearchDocument, data=["candidates", "uncertain"])
def search_states(
    potential: PotentialDocument,
    states: Sequence[DefectState],
    bulk: Structure,
    settings: SearchSettings,
    seed: int = 1,
    round: int = 0,
    known: Sequence[VerifiedCandidate] = (),
    window: float = 0.0,
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
    known
        Verified candidates of the rounds before: the lowest are starts too.
    window
        Those up to so far above the lowest of their state, in eV of HSE06.
    device
        Where to run: 'auto' takes a GPU when there is one.
    """
    from defect_workflows.mlip.predict import Potential
    from defect_workflows.search.explore import search
    from defect_workflows.search.journal import Journal
    from defect_workflows.search.starts import verified_starts

    found = verified_starts(contenders(known, window))
    key = reuse.fingerprint(
        "search, what is known first",
        potential.fingerprint,
        states,
        bulk,
        settings,
        seed,
        round,
        found,
    )
    journal = Journal(read_settings().checkpoints.expanduser() / f"{key}.jsonl", key)
    document = reuse.finished_or(
        lambda: search(
            Potential.from_document(potential, device),
            states,
            bulk,
            settings,
            seed=seed,
            fingerprint=key,
            round=round,
            known=found,
            journal=journal,
        ),
        key,
        SearchDocument,
    )
    journal.remove()
    return document


@reuse.job(output_schema=VerificationDocument, data=["labels", "verified"])
def verify_candidates(
    potential: PotentialDocument,
    candidates: Sequence[Candidate],
    points: Sequence[Label | RefusedLabel],
    labels: LabelSet,
    lost: Sequence[Label | RefusedLabel] = (),
    device: Device = "auto",
) -> VerificationDocument:
    """Compare the potential with HSE06 at what it found, and where it lost its way.

    Parameters
    ----------
    potential
        The committee.
    candidates, points
        Candidates and their HSE06 single points, in the same order; refused ones drop out. A point
        may be an earlier one next to its candidate.
    labels
        All labels so far.
    lost
        HSE06 single points of starts that left the domain of the potential; refused ones drop out.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential

    model = Potential.from_document(potential, device)
    starts = verify_starts(model, [point for point in lost if isinstance(point, Label)])
    unresolved = [start.model_copy(update={"unresolved": True}) for start in starts]
    found = verify(model, _calculated(candidates, points))
    return VerificationDocument(verified=[*found, *unresolved], labels=labels)


@reuse.job(data=["labels"])
def verify_competitors(
    potential: PotentialDocument,
    candidates: Sequence[Candidate],
    points: Sequence[Label | RefusedLabel],
    device: Device = "auto",
) -> list[VerifiedCandidate]:
    """Compare the potential with HSE06 at what may be lower than the winners.

    Parameters
    ----------
    potential
        The committee.
    candidates, points
        Candidates and their HSE06 single points, in the same order; refused ones drop out.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential

    return verify(Potential.from_document(potential, device), _calculated(candidates, points))


def _calculated(
    candidates: Sequence[Candidate], points: Sequence[Label | RefusedLabel]
) -> list[tuple[Candidate, Label]]:
    return [
        (candidate, point)
        for candidate, point in zip(candidates, points, strict=True)
        if isinstance(point, Label)
    ]


@reuse.job(output_schema=RoundDocument, data=["labels", "verified"])
def conclude_round(
    candidates: Sequence[Candidate],
    settled: Sequence[VerifiedCandidate],
    labels: LabelSet,
    states: Sequence[DefectState],
    rounds: Sequence[RoundRecord],
    settings: ConvergenceSettings,
    relaxations: Sequence[RelaxationRecord] = (),
) -> RoundDocument:
    """Tell whether the rounds may end.

    Parameters
    ----------
    candidates
        Minima that this round's search found.
    settled
        Verified candidates of all rounds, refined.
    labels
        All labels so far.
    states
        The defect states asked for.
    rounds
        Records of the rounds before.
    settings
        When the rounds may end.
    relaxations
        Every start of this round's search.
    """
    defects = {state.name: state.defect for state in states}
    found = found_by(candidates, settled)
    record = assess(candidates, found, settled, defects, rounds, settings, relaxations)
    return RoundDocument(verified=list(settled), labels=labels, rounds=[*rounds, record])


@reuse.job(output_schema=RefinementStep)
def propose_step(
    potential: PotentialDocument,
    verified: VerifiedCandidate,
    known: Sequence[VerifiedCandidate] = (),
    device: Device = "auto",
) -> RefinementStep:
    """Tell where the HSE06 minimum of a candidate should be.

    A campaign that goes on takes the same steps: rounding would lead to others, whose single points
    nobody has calculated.

    Parameters
    ----------
    potential
        The committee.
    verified
        The candidate with its HSE06 single points so far.
    known
        Lower ones into whose minimum it may lead: where the potential agrees, that is the step.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential
    from defect_workflows.search.bowl import leads_elsewhere
    from defect_workflows.search.refine import next_structure

    labels = [label.fingerprint for label in verified.labels]
    ends = [lower.label for lower in known]
    inputs = [potential.fingerprint, labels, *(end.fingerprint for end in ends)]
    key = reuse.fingerprint("quasi-Newton step", *inputs)

    def computed() -> RefinementStep:
        model = Potential.from_document(potential, device)
        for end in ends:
            if not leads_elsewhere(model, verified.label, end):
                return RefinementStep(
                    fingerprint=key,
                    structure=end.configuration.structure,
                    gain=verified.energy - end.energy,
                    known=True,
                )
        proposal = next_structure(model, verified.labels)
        return RefinementStep(fingerprint=key, structure=proposal.structure, gain=proposal.gain)

    with about(f"step of {verified.candidate.state} after {len(labels)} HSE06 points"):
        return reuse.finished_or(computed, key, RefinementStep)


@reuse.job(output_schema=VerifiedCandidate)
def extend(verified: VerifiedCandidate, point: Label | RefusedLabel) -> VerifiedCandidate:
    """Add the next HSE06 single point of a refinement; a refused one ends it."""
    return extended(verified, point)


@reuse.job
def verify_start(
    potential: PotentialDocument, point: Label | RefusedLabel, device: Device = "auto"
) -> VerifiedCandidate | None:
    """Make what a neighbour offered a verified candidate; None if its point was refused.

    Parameters
    ----------
    potential
        The committee.
    point
        The HSE06 single point of the offered start.
    device
        Where to run.
    """
    from defect_workflows.mlip.predict import Potential

    if isinstance(point, RefusedLabel):
        return None
    (verified,) = verify_starts(Potential.from_document(potential, device), [point])
    return verified.model_copy(update={"exchanged": True})


@reuse.job(data=["labels"])
def gather(
    known: Sequence[VerifiedCandidate],
    more: Sequence[VerifiedCandidate | None],
    instead: Sequence[int] = (),
) -> list[VerifiedCandidate]:
    """Put verified candidates together.

    Parameters
    ----------
    known
        Verified candidates.
    more
        Further ones; None where a single point was refused.
    instead
        Indices of known ones whose place the further ones take, one each; the rest is added.
    """
    kept = [item for index, item in enumerate(known) if index not in set(instead)]
    return [*kept, *(item for item in more if item is not None)]
