"""PBE and HSE06 single points on what a search found, and where it lost its way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jobflow import Flow, Maker, Response

from defect_workflows.campaign import ConvergenceSettings, SearchSettings
from defect_workflows.dft.jobs import collect_labels
from defect_workflows.documents.defects import ChargedConfiguration, Origin, defect_of
from defect_workflows.documents.search import Candidate, SearchDocument, VerifiedCandidate
from defect_workflows.makers.labelling import MultiFidelityMaker, staged
from defect_workflows.search.jobs import verify_candidates
from defect_workflows.search.shortlist import first_of_each, label_at, shortlist
from defect_workflows.stored import StoredOutput, growing_job


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
        known: StoredOutput | None = None,
    ) -> Response:
        """Replace this job by the single points and their comparison with the potential.

        Parameters
        ----------
        found, potential, labels
            This round's `SearchDocument` and `PotentialDocument`, and the `LabelSet` so far.
        number
            Number of the round, from 0.
        known
            Verified candidates of the rounds before: what they are is not calculated again.
        """
        document: SearchDocument = found.value()
        before: list[VerifiedCandidate] = [] if known is None else known.value()
        # nothing learns from the last round: what else may be lower is verified one by one after it
        last = self.convergence.is_last(number)
        one_by_one = last and self.convergence.max_competitors > 0
        most = 1 if one_by_one else self.search.shortlist
        candidates = shortlist(
            document.candidates, self.search.model_copy(update={"shortlist": most}), before
        )
        pairs, points = [], []
        for item in candidates:
            if known is not None and (place := label_at(item, before)) is not None:
                index, step = place
                points.append(known.item(index).part("labels").item(step))
            else:
                pairs.append(self.single_points.make(configuration_of(item, number)))
                points.append(pairs[-1].output["hse06"])
        # PBE teaches most of the geometry
        dear, lost = first_of_each(
            document.unresolved,
            hse06_frames(self.search, number),
            lambda frame: frame.origin.state,
        )
        cheap, dear = ([], []) if last else ([*document.uncertain, *lost], dear)
        low = [self.single_points.pbe.make(frame) for frame in cheap]
        both = [self.single_points.make(frame, insist=False) for frame in dear]
        together = collect_labels(
            [
                *(flow.output[head] for flow in pairs + both for head in ("pbe", "hse06")),
                *(point.output for point in low),
            ],
            self.single_points.pbe.settings,
            labels,
        )
        comparison = verify_candidates(
            potential,
            candidates,
            points,
            together.output,
            [flow.output["hse06"] for flow in both],
        )
        flow = Flow([*pairs, *both, *low, together, comparison], comparison.output, name=self.name)
        return Response(replace=staged(flow, "verify"))


def hse06_frames(search: SearchSettings, number: int) -> int:
    """Return how many lost starts of a state are labelled at HSE06 in a round, numbered from 0.

    Half as many as in the round before: what they lead to is found in the first round, if at all.
    """
    return min(search.unresolved, math.ceil(search.unresolved_hse06 / 2**number))


def configuration_of(candidate: Candidate, round_number: int) -> ChargedConfiguration:
    """Return the configuration of a candidate, for its single points."""
    defect = defect_of(candidate.state)
    return ChargedConfiguration.of(
        candidate.structure,
        Origin(
            state=candidate.state,
            family=f"{defect}/search-{round_number}-{candidate.rank}-{candidate.charge:+d}",
            kind="search",
            round=round_number,
        ),
    )
