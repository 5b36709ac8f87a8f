"""HSE06 single points on minima that may be lower than the winners, until there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from jobflow import Flow, Maker, Response

from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.makers.labelling import staged
from defect_workflows.makers.refinement import RefinementDepth, RefinementMaker
from defect_workflows.makers.verification import configuration_of
from defect_workflows.search.contenders import winners
from defect_workflows.search.jobs import gather, verify_competitors
from defect_workflows.search.risks import Competitor, competitors, found_by
from defect_workflows.search.shortlist import first_of_each
from defect_workflows.stored import StoredOutput, growing_job


@dataclass
class CompetitionMaker(Maker):
    """What the shortlist left out: no potential learns from it, but a ground state may be in it.

    Parameters
    ----------
    name
        Name of the jobs.
    refinement
        Maker of the single points, and of what follows from them.
    """

    name: str = "compete"
    refinement: RefinementMaker = field(default_factory=RefinementMaker)

    @growing_job(data=["labels"])
    def make(
        self,
        candidates: StoredOutput,
        potential: StoredOutput,
        settled: StoredOutput,
        states: StoredOutput,
        depth: RefinementDepth,
        tried: tuple[int, ...] = (),
    ) -> Response | list[VerifiedCandidate]:
        """Return the verified candidates if nothing competes, else replace by single points.

        In each state the likeliest to be lower gets one, then all are judged again: what HSE06
        says of one tells how far the potential can be trusted with the others.

        Parameters
        ----------
        candidates, potential
            Minima of the last search, and the `PotentialDocument` of its round.
        settled
            Verified candidates of all states, refined.
        states
            The defect states asked for.
        depth
            How far what may be a ground state is refined.
        tried
            Indices of candidates that have had their single point, refused ones included.
        """
        minima: list[Candidate] = candidates.value()
        known: list[VerifiedCandidate] = settled.value()
        chosen = self.chosen(minima, known, tried)
        if not chosen:
            return known
        best = winners(known)
        number = potential.part("round").value()
        points = [
            self.refinement.hse06.make(
                configuration_of(minima[rival.index], number),
                prev_dir=best[rival.state].label.directory,
            )
            for rival in chosen
        ]
        compared = verify_competitors(
            potential,
            [candidates.item(rival.index) for rival in chosen],
            [point.output for point in points],
        )
        together = gather(settled, compared.output)
        again = self.refinement.settle(potential, together.output, states, depth)
        again.name = "settle"
        onward = self.make(
            candidates,
            potential,
            again.output,
            states,
            depth,
            (*tried, *(rival.index for rival in chosen)),
        )
        jobs = [*points, compared, together, again, onward]
        return Response(replace=staged(Flow(jobs, onward.output, name=self.name), "verify"))

    def chosen(
        self, minima: list[Candidate], known: list[VerifiedCandidate], tried: tuple[int, ...]
    ) -> list[Competitor]:
        """Return what gets a single point now: of each state at most one."""
        had = Counter(minima[index].state for index in tried)
        rivals = (
            rival
            for rival in competitors(minima, found_by(minima, known), known)
            if rival.index not in tried
            and had[rival.state] < self.refinement.convergence.max_competitors
        )
        return first_of_each(rivals, 1, lambda rival: rival.state)[0]
