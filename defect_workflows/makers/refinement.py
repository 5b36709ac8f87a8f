"""The last step to the hybrid minimum, and what charge states offer to each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobflow import Flow, Job, Maker, Response
from monty.json import MSONable

from defect_workflows.campaign import ConvergenceSettings, DftSettings
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin, defect_of
from defect_workflows.documents.search import RefinementStep, VerifiedCandidate
from defect_workflows.makers.labelling import staged
from defect_workflows.search.contenders import (
    in_trial,
    may_fall_into,
    next_refinements,
    not_offered_yet,
    winners,
    worth_refining,
)
from defect_workflows.search.jobs import extend, gather, propose_step, verify_start
from defect_workflows.stored import StoredOutput, growing_job

if TYPE_CHECKING:
    from defect_workflows.search.starts import Start

LEAST_GAIN = 0.002
"""A refinement goes on for this much energy in eV: a tenth of what a level may be wrong by. Forces
alone do not tell: along a soft mode 0.03 eV/Å on some atoms were 18 meV (benchmarks)."""

NEARLY = 2.0
"""A refinement to the end ends where there is nothing to gain and forces are at most so many times
those asked for."""

COMPARED = 0.1
"""Force in eV/Å at which structures are compared, and offered to neighbouring charge states; only
what is the lowest then is refined to the end."""


@dataclass(frozen=True)
class RefinementDepth(MSONable):
    """How far candidates are refined.

    Parameters
    ----------
    limit
        HSE06 single points to spend on one candidate, in all.
    exchanges
        How often structures are exchanged between charge states, at most.
    trial
        HSE06 single points of a trial: of a structure that another charge state offered, and of one
        that the search found high above the lowest but whose forces promise to lead below it.
    lost_trial, lost_limit
        The same, and the limit, for a start that left the domain of the potential.
    to_the_end
        Whether what is lowest is refined until nothing is left to gain, or only as far as is needed
        to compare (`COMPARED`).
    """

    limit: int
    exchanges: int = 1
    trial: int = 0
    lost_trial: int = 0
    lost_limit: int = 0
    to_the_end: bool = True

    def limit_of(self, item: VerifiedCandidate) -> int:
        """Return the single points to spend on a candidate, in all."""
        return self.lost_limit if item.unresolved else self.limit

    def now(self, item: VerifiedCandidate) -> RefinementDepth:
        """Return how far a candidate is refined before all are compared again.

        A start that the potential lost has its trial first.
        """
        trying = item.unresolved and in_trial(item, self.lost_trial)
        return replace(self, lost_limit=min(self.lost_trial, self.lost_limit)) if trying else self

    def trial_of(self, item: VerifiedCandidate) -> int:
        """Return the single points that a candidate gets however high it is."""
        return self.lost_trial if item.unresolved else self.trial


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
        self,
        potential: StoredOutput,
        verified: StoredOutput,
        rivals: StoredOutput,
        depth: RefinementDepth,
    ) -> Response | VerifiedCandidate:
        """Return the candidate if its refinement is finished, else replace by the next step.

        Parameters
        ----------
        potential
            The `PotentialDocument`.
        verified
            The candidate with its HSE06 labels so far.
        rivals
            Other verified candidates: where it leads into the minimum of the lowest of its state,
            it ends, and where it will not get below that, it waits.
        depth
            How far it is refined.
        """
        found: VerifiedCandidate = verified.value()
        if self.finished(found, depth):
            return found
        others: list[VerifiedCandidate] = rivals.value()
        lowest = winners([found, *others])[found.candidate.state]
        if not worth_refining(found, lowest, self.convergence.refine_window, depth.trial_of(found)):
            return found
        known = [rivals.item(index) for index in may_fall_into(found, others)]
        step = propose_step(potential, verified, known)
        onward = self.advance(step.output, potential, verified, rivals, depth)
        flow = Flow([step, onward], onward.output, name=self.name)
        return Response(replace=staged(flow, "refine"))

    @growing_job(data=["labels"])
    def advance(
        self,
        step: StoredOutput,
        potential: StoredOutput,
        verified: StoredOutput,
        rivals: StoredOutput,
        depth: RefinementDepth,
    ) -> Response | VerifiedCandidate:
        """Return the candidate if its next single point would be wasted, else replace by that.

        Parameters
        ----------
        step
            The `RefinementStep`.
        potential, verified, rivals, depth
            As in `make`.
        """
        found: VerifiedCandidate = verified.value()
        proposed: RefinementStep = step.value()
        if proposed.known:
            fall = f"falls into a known minimum, {proposed.gain:.3f} eV below"
            return found.model_copy(update={"refinement_ended": fall, "known_minimum": True})
        if reason := self.not_worth_it(found, proposed.gain):
            return found.model_copy(update={"refinement_ended": reason})
        number = potential.part("round").value()
        origin = found.labels[0].configuration.origin.model_copy(update={"round": number})
        point = self.hse06.make(
            ChargedConfiguration.of(proposed.structure, origin), prev_dir=found.label.directory
        )
        extended = extend(verified, point.output)
        again = self.make(potential, extended.output, rivals, depth)
        flow = Flow([point, extended, again], again.output, name=self.name)
        return Response(replace=staged(flow, "refine"))

    def finished(self, verified: VerifiedCandidate, depth: RefinementDepth) -> bool:
        """Tell whether a candidate is refined as far as asked for, or had its single points.

        To the end it is where a proposed step has shown that there is nothing to gain.
        """
        if verified.refinement_ended is not None or len(verified.labels) > depth.limit_of(verified):
            return True
        compared = max(COMPARED, self.convergence.final_force)
        return not depth.to_the_end and verified.max_force <= compared

    def not_worth_it(self, verified: VerifiedCandidate, gain: float) -> str | None:
        """Return why the next single point of a refinement would be wasted; None if it is not.

        Parameters
        ----------
        verified
            The candidate so far.
        gain
            Energy in eV that the next single point is predicted to gain.
        """
        enough = NEARLY * self.convergence.final_force
        if gain < LEAST_GAIN and verified.max_force <= enough:
            return (
                f"gain of {1000 * gain:.1f} meV predicted, expected {1000 * LEAST_GAIN:.0f} meV "
                f"to go on from {verified.max_force:.3f} eV/Å"
            )
        return None

    @growing_job(data=["labels"])
    def settle(
        self,
        potential: StoredOutput,
        verified: StoredOutput,
        states: StoredOutput,
        depth: RefinementDepth,
    ) -> Response | list[VerifiedCandidate]:
        """Refine what may be a ground state, and offer it to the neighbouring charge states.

        A structure that one charge state found may be the ground state of the next one too, where
        the potential alone did not lead: ShakeNBreak's advice, at the hybrid functional. What an
        exchange brings is refined in turn, as far as is needed to compare (`COMPARED`); what is
        lowest then, to the end. It ends when no charge state has anything new for its neighbours.

        Parameters
        ----------
        potential
            The `PotentialDocument`.
        verified
            Verified candidates of all states.
        states
            The defect states asked for.
        depth
            How far they are refined, and how often exchanged.
        """
        known: list[VerifiedCandidate] = verified.value()
        jobs: list[Job] = []
        ends: list[Job] = []
        now = replace(depth, to_the_end=False)
        unfinished = self._unfinished(known, now)
        if depth.exchanges:
            waiting = not_offered_yet(
                known,
                [known[index] for index in unfinished],
                lambda item: self.finished(item, now),
            )
            offers = _worth_offering(potential, _offers(known, states.value(), waiting), known)
            for start in offers:
                point = self.hse06.make(_exchanged(start))
                ends.append(verify_start(potential, point.output))
                jobs.append(point)
            if offers:
                depth = replace(depth, exchanges=depth.exchanges - 1)
                # what else its charge states would refine may be worthless then
                offered = {defect_of(start.state) for start in offers}
                unfinished = [
                    index
                    for index in unfinished
                    if defect_of(known[index].candidate.state) not in offered
                ]
        if depth.to_the_end and not ends and not unfinished:
            # where this leads may be new to the neighbours in turn
            now = depth
            unfinished = self._unfinished(known, replace(depth, trial=0, lost_trial=0))
        ends += [
            self.make(potential, verified.item(index), verified, now.now(known[index]))
            for index in unfinished
        ]
        if not ends:
            return known
        together = gather(verified, [end.output for end in ends], unfinished)
        again = self.settle(potential, together.output, states, depth)
        again.name = "settle"
        flow = Flow([*jobs, *ends, together, again], again.output, name=f"{self.name} candidates")
        return Response(replace=staged(flow, "refine"))

    def _unfinished(self, known: list[VerifiedCandidate], depth: RefinementDepth) -> list[int]:
        return next_refinements(
            known,
            self.convergence.refine_window,
            lambda item: self.finished(item, depth),
            depth.trial_of,
        )


def _offers(
    known: list[VerifiedCandidate], states: list[DefectState], waiting: set[str]
) -> list[Start]:
    # imported late: it brings torch
    from defect_workflows.search.starts import exchanged_starts

    return exchanged_starts(known, states, waiting)


def _worth_offering(
    potential: StoredOutput, offers: list[Start], known: list[VerifiedCandidate]
) -> list[Start]:
    # imported late: they bring torch
    from defect_workflows.mlip.predict import Potential
    from defect_workflows.search.starts import worth_offering

    if not offers:
        return []
    return worth_offering(Potential.from_document(potential.value()), offers, known)


def _exchanged(start: Start) -> ChargedConfiguration:
    """Return the configuration of a neighbour's winner in a charge state."""
    defect = defect_of(start.state)
    return ChargedConfiguration.of(
        start.structure,
        Origin(state=start.state, family=f"{defect}/{start.name}", kind="search"),
    )
