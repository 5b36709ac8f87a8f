"""HSE06 single points on what a search found, and the last step to the hybrid minimum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Flow, Job, Maker, Response

from defect_workflows.campaign import ConvergenceSettings, DftSettings, SearchSettings
from defect_workflows.dft.jobs import SinglePointMaker, collect_labels
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.search import Candidate, SearchDocument, VerifiedCandidate
from defect_workflows.makers.labelling import MultiFidelityMaker, staged
from defect_workflows.search.jobs import (
    extend,
    gather,
    refine_structure,
    verify_candidates,
    verify_start,
)
from defect_workflows.search.shortlist import shortlist
from defect_workflows.search.verify import contenders
from defect_workflows.stored import StoredOutput, growing_job

if TYPE_CHECKING:
    from defect_workflows.search.starts import Start


@dataclass
class VerificationMaker(Maker):
    """PBE and HSE06 single points on the shortlist and on the most uncertain frames of a round.

    Parameters
    ----------
    name
        Name of the jobs.
    single_points
        Makers of the single points, HSE06 with the potentials that corrections need.
    search, convergence
        Settings of the campaign.
    """

    name: str = "verify"
    single_points: MultiFidelityMaker = field(default_factory=MultiFidelityMaker)
    search: SearchSettings = field(default_factory=SearchSettings)
    convergence: ConvergenceSettings = field(default_factory=ConvergenceSettings)

    @growing_job
    def make(
        self,
        found: StoredOutput,
        potential: StoredOutput,
        labels: StoredOutput,
        number: int,
    ) -> Response:
        """Replace this job by the single points and their comparison with the potential.

        Parameters
        ----------
        found, potential, labels
            This round's `SearchDocument` and `PotentialDocument`, and the `LabelSet` so far.
        number
            Number of the round, from 0.
        """
        document: SearchDocument = found.value()
        candidates = shortlist(document.candidates, self.search)
        pairs = [self.single_points.make(configuration_of(item, number)) for item in candidates]
        frames = MultiFidelityMaker.from_settings(self.single_points.pbe.settings)
        last = number + 1 >= self.convergence.max_rounds
        others = [] if last else [frames.make(frame) for frame in document.uncertain]
        together = collect_labels(
            [flow.output[fidelity] for flow in pairs + others for fidelity in ("pbe", "hse06")],
            self.single_points.pbe.settings,
            labels,
        )
        comparison = verify_candidates(
            potential,
            candidates,
            [flow.output["hse06"] for flow in pairs],
            together.output,
        )
        flow = Flow([*pairs, *others, together, comparison], comparison.output, name=self.name)
        return Response(replace=staged(flow, "verify"))


@dataclass
class RefinementMaker(Maker):
    """The last steps to the hybrid minima of candidates, one HSE06 single point at a time.

    Parameters
    ----------
    name
        Name of the jobs.
    hse06
        Maker of the single points, with the potentials that corrections need.
    convergence
        Settings of the campaign: when it ends.
    """

    name: str = "refine"
    hse06: SinglePointMaker = field(
        default_factory=lambda: SinglePointMaker("HSE06 single point", "hse06", potentials=True)
    )
    convergence: ConvergenceSettings = field(default_factory=ConvergenceSettings)

    @classmethod
    def from_settings(cls, dft: DftSettings, convergence: ConvergenceSettings) -> RefinementMaker:
        """Make it from a campaign's settings."""
        point = SinglePointMaker("HSE06 single point", "hse06", dft, potentials=True)
        return cls(hse06=point, convergence=convergence)

    @growing_job(data=["labels"])
    def make(
        self, potential: StoredOutput, verified: StoredOutput, limit: int
    ) -> Response | VerifiedCandidate:
        """Return the candidate if its refinement is finished, else replace by the next point.

        Parameters
        ----------
        potential
            The `PotentialDocument`.
        verified
            The candidate with its HSE06 labels so far.
        limit
            HSE06 single points to spend on it, in all.
        """
        found: VerifiedCandidate = verified.value()
        if self.finished(found, limit):
            return found
        step = refine_structure(potential, found.labels)
        point = self.hse06.make(step.output, prev_dir=found.label.directory)
        extended = extend(verified, point.output)
        again = self.make(potential, extended.output, limit)
        flow = Flow([step, point, extended, again], again.output, name=self.name)
        return Response(replace=staged(flow, "refine"))

    def finished(self, verified: VerifiedCandidate, limit: int) -> bool:
        """Tell whether a candidate is at its minimum, or has had its share of single points."""
        return (
            verified.refinement_ended is not None
            or verified.max_force <= self.convergence.final_force
            or len(verified.labels) > limit
        )

    @growing_job(data=["labels"])
    def settle(
        self,
        potential: StoredOutput,
        verified: StoredOutput,
        states: StoredOutput,
        limit: int,
        exchanges: int,
    ) -> Response | list[VerifiedCandidate]:
        """Refine what may be a ground state, then offer it to the neighbouring charge states.

        A structure that one charge state found may be the ground state of the next one too, where
        the potential alone did not lead: ShakeNBreak's advice, at the hybrid functional. What an
        exchange brings is refined in turn.

        Parameters
        ----------
        potential
            The `PotentialDocument`.
        verified
            Verified candidates of all states.
        states
            The defect states asked for.
        limit
            HSE06 single points to spend on one candidate, in all.
        exchanges
            How often structures are exchanged, at most.
        """
        known: list[VerifiedCandidate] = verified.value()
        chosen = {id(item) for item in contenders(known, self.convergence.refine_window)}
        unfinished = [
            index
            for index, item in enumerate(known)
            if id(item) in chosen and not self.finished(item, limit)
        ]
        jobs: list[Job] = []
        ends: list[Job] = []
        if unfinished:
            ends = [self.make(potential, verified.item(index), limit) for index in unfinished]
        elif exchanges:
            exchanges -= 1
            for start in _offers(known, states.value()):
                point = self.hse06.make(_exchanged(start))
                ends.append(verify_start(potential, start.name, point.output))
                jobs.append(point)
        if not ends:
            return known
        together = gather(verified, [end.output for end in ends], unfinished)
        again = self.settle(potential, together.output, states, limit, exchanges)
        again.name = "settle"
        flow = Flow([*jobs, *ends, together, again], again.output, name=f"{self.name} candidates")
        return Response(replace=staged(flow, "refine"))


def _offers(known: list[VerifiedCandidate], states: list[DefectState]) -> list[Start]:
    # imported late: it brings torch
    from defect_workflows.search.starts import exchanged_starts

    return exchanged_starts(known, states)


def _exchanged(start: Start) -> ChargedConfiguration:
    """Return the configuration of a neighbour's winner in a charge state."""
    defect = start.state.rsplit("_", 1)[0]
    return ChargedConfiguration.of(
        start.structure,
        Origin(state=start.state, family=f"{defect}/{start.name}", kind="search"),
    )


def configuration_of(candidate: Candidate, round_number: int) -> ChargedConfiguration:
    """Return the configuration of a candidate, for its single points."""
    defect = candidate.state.rsplit("_", 1)[0]
    return ChargedConfiguration.of(
        candidate.structure,
        Origin(
            state=candidate.state,
            family=f"{defect}/search-{round_number}-{candidate.rank}-{candidate.charge:+d}",
            kind="search",
            round=round_number,
        ),
    )
