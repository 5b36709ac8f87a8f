"""HSE06 single points on what a search found, and the last step to the hybrid minimum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Flow, Job, Maker, Response

from defect_workflows.campaign import ConvergenceSettings, DftSettings, SearchSettings
from defect_workflows.dft.jobs import SinglePointMaker, collect_labels
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.search import Candidate, SearchDocument, VerifiedCandidate
from defect_workflows.documents.verification import RoundRecord
from defect_workflows.makers.labelling import MultiFidelityMaker, staged
from defect_workflows.search.jobs import (
    extend,
    gather,
    refine_structure,
    verify_candidates,
    verify_start,
)
from defect_workflows.search.shortlist import shortlist
from defect_workflows.search.verify import winners
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
        states: StoredOutput,
        rounds: list[RoundRecord],
    ) -> Response:
        """Replace this job by the single points and their comparison with the potential.

        Parameters
        ----------
        found, potential, labels, states
            This round's `SearchDocument` and `PotentialDocument`, the `LabelSet` so far and the
            defect states asked for.
        rounds
            Records of the rounds before.
        """
        number = len(rounds)
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
            {state.name: state.defect for state in states.value()},
            rounds,
            self.convergence,
        )
        flow = Flow([*pairs, *others, together, comparison], comparison.output, name=self.name)
        return Response(replace=staged(flow, "verify"))


@dataclass
class RefinementMaker(Maker):
    """The last step to the hybrid minimum of one candidate, one HSE06 single point at a time.

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

    @growing_job
    def make(
        self, potential: StoredOutput, verified: VerifiedCandidate | StoredOutput | None
    ) -> Response | VerifiedCandidate | None:
        """Return the candidate if its forces are small enough, else replace by the next point.

        Parameters
        ----------
        potential
            The `PotentialDocument`.
        verified
            The candidate with its HSE06 labels so far; None if there is nothing to refine.
        """
        found = verified.value() if isinstance(verified, StoredOutput) else verified
        return None if found is None else self._next(potential, found)

    def _next(
        self, potential: StoredOutput, verified: VerifiedCandidate
    ) -> Response | VerifiedCandidate:
        done = len(verified.labels) - 1
        if (
            verified.refinement_ended
            or verified.max_force <= self.convergence.final_force
            or done >= self.convergence.max_refinements
        ):
            return verified
        step = refine_structure(potential, verified.labels)
        point = self.hse06.make(step.output, prev_dir=verified.label.directory)
        extended = extend(verified, point.output)
        again = self.make(potential, extended.output)
        flow = Flow([step, point, extended, again], again.output, name=self.name)
        return Response(replace=staged(flow, "refine"))

    @growing_job
    def exchange(
        self, potential: StoredOutput, refined: list[StoredOutput], states: StoredOutput
    ) -> Response:
        """Offer the refined winner of each charge state to its neighbours, and refine it there.

        A structure that one charge state found may be the ground state of the next one too, where
        the potential alone did not lead: ShakeNBreak's advice, at the hybrid functional.

        Parameters
        ----------
        potential
            The `PotentialDocument`.
        refined
            Every refined candidate.
        states
            The defect states asked for.
        """
        from defect_workflows.search.cluster import SAME_DISTANCE, difference
        from defect_workflows.search.starts import Start, neighbour_starts

        asked: list[DefectState] = states.value()
        best = winners(item.value() for item in refined)
        found = {name: item.label.configuration.structure for name, item in best.items()}
        minima = [Start(name, "Winner", structure) for name, structure in found.items()]
        jobs: list[Job] = []
        ends = []
        for state in asked:
            for start in neighbour_starts(state, asked, minima):
                mine = found.get(state.name)
                if mine is not None and difference(mine, start.structure) < SAME_DISTANCE:
                    continue
                point = self.hse06.make(_exchanged(state, start))
                verified = verify_start(potential, start.name, point.output)
                end = self.make(potential, verified.output)
                jobs += [point, verified, end]
                ends.append(end.output)
        together = gather([*refined, *ends])
        flow = Flow([*jobs, together], together.output, name=f"{self.name} exchange")
        return Response(replace=staged(flow, "refine"))


def _exchanged(state: DefectState, start: Start) -> ChargedConfiguration:
    """Return the configuration of a neighbour's winner in a charge state."""
    return ChargedConfiguration.of(
        start.structure,
        Origin(state=state.name, family=f"{state.defect}/{start.name}", kind="search"),
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
