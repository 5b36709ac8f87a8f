"""The search: distort, relax, sort into minima, hand minima to the neighbouring charge states."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pymatgen.core import Structure

from defect_workflows.campaign import SearchSettings
from defect_workflows.distortions import UNPERTURBED, in_charge_state
from defect_workflows.documents.defects import BULK, ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.search import (
    CAUTION,
    Candidate,
    RelaxationRecord,
    SearchDocument,
    StartKind,
)
from defect_workflows.mlip.predict import Potential, Prediction
from defect_workflows.search.cluster import cluster, same
from defect_workflows.search.journal import Journal
from defect_workflows.search.relax import FIDELITY, Relaxation, relax
from defect_workflows.search.starts import (
    Start,
    control_starts,
    neighbour_starts,
    shaken_starts,
    starts,
)

logger = logging.getLogger(__name__)

COARSE_FORCE = 0.05
"""Force in eV/Å at which relaxations are compared; one of each minimum goes on to the tolerance."""

LARGEST_SPREAD = 2.0
"""A minimum whose energy the committee disagrees on by more, in eV, is no finding: the potential
guesses there. Below it, a minimum that may be far lower than it seems is one to verify."""

TOLERATED_DOUBT = 0.1
"""Where the committee's forces on every atom deviate by less, in eV/Å, a label teaches little."""


@dataclass
class _Run:
    """One start and where it went."""

    start: Start
    relaxation: Relaxation
    minimum: int | None = None
    prediction: Prediction | None = None
    kind: StartKind = "minimum"
    frame: str | None = None

    @property
    def state(self) -> str:
        return self.start.state

    @property
    def known(self) -> bool:
        return self.kind == "hse06"


def search(
    potential: Potential,
    states: Sequence[DefectState],
    bulk: Structure,
    settings: SearchSettings,
    *,
    seed: int,
    fingerprint: str,
    round: int = 0,
    known: Sequence[Start] = (),
    journal: Journal | None = None,
) -> SearchDocument:
    """Search the ground-state structures of defect states on the hse06 head.

    All states are relaxed together; what is known already on the upper bound of its energy, so that
    the surest minimum near it is found. The minima of each charge state are then starts of its
    neighbours and, shaken, of itself. The pristine supercell, distorted in the same way, is the
    control.

    Parameters
    ----------
    potential
        The committee.
    states
        Defect states.
    bulk
        Pristine supercell.
    settings
        Distortions and tolerances.
    seed
        Seed of the rattles.
    fingerprint
        Fingerprint of potential, states and settings.
    round
        Round of the campaign, recorded with what is handed on.
    known
        Further starts: what HSE06 has found so far.
    journal
        Where the search goes on if it was interrupted.
    """
    begin = time.perf_counter()
    control = in_charge_state(bulk, 0)
    relaxer = _Relaxer(
        potential, settings, {BULK: control, **{s.name: s.structure for s in states}}, journal
    )
    runs = relaxer.run(
        [start for state in states for start in starts(state, settings, seed)]
        + control_starts(control, settings, seed),
        "distortion",
    ) + relaxer.run_known(known)
    minima = [
        Start(group[0].state, group[0].start.name, group[0].relaxation.structure)
        for group in _minima(runs)
        if group[0].state != BULK
    ]
    runs += relaxer.run(
        [start for state in states for start in neighbour_starts(state, states, minima)]
        + shaken_starts(minima, seed),
        "minimum",
    )
    candidates = [relaxer.candidate(group) for group in relaxer.finish(runs)]
    unresolved = _unresolved(runs, states, settings.unresolved, round)
    document = SearchDocument(
        fingerprint=fingerprint,
        candidates=[candidate for candidate in candidates if candidate.state != BULK],
        relaxations=[_record(run) for run in runs],
        control_gain=_control_gain(runs),
        bulk_energy=relaxer.references[BULK],
        uncertain=_uncertain(runs, states, candidates, settings.uncertain, round),
        unresolved=unresolved,
        round=round,
        seconds=time.perf_counter() - begin,
    )
    logger.info(
        "search: %d starts of %d states, %d minima, control %.3f eV, %.0f s",
        len(runs),
        len(states),
        len(document.candidates),
        document.control_gain,
        document.seconds,
    )
    return document


class _Relaxer:
    """Relaxes starts of several states, first coarsely, the distinct minima to the end."""

    def __init__(
        self,
        potential: Potential,
        settings: SearchSettings,
        undistorted: dict[str, Structure],
        journal: Journal | None = None,
    ) -> None:
        self.journal = journal
        self.potential = potential
        self.settings = settings
        self.coarse = max(COARSE_FORCE, settings.max_force)
        predictions = potential.predict(list(undistorted.values()), FIDELITY)
        self.references = {
            state: prediction.energy
            for state, prediction in zip(undistorted, predictions, strict=True)
        }

    def run(self, starts: Sequence[Start], kind: StartKind) -> list[_Run]:
        """Relax starts on the guide, as far as is needed to tell minima apart."""
        relaxations = self._relax(
            [(start.state, start.structure) for start in starts], self.coarse, committee=False
        )
        return [_Run(*pair, kind=kind) for pair in zip(starts, relaxations, strict=True)]

    def run_known(self, starts: Sequence[Start]) -> list[_Run]:
        """Relax known structures as far, on what their energies hardly exceed.

        A hole of the potential beside a known minimum would draw them in.
        """
        structures = [(start.state, start.structure) for start in starts]
        ends = self._relax(structures, self.coarse, caution=CAUTION)
        # on the guide's scale, as the others, so that minima can be told apart
        guide = self.potential.guide
        before = guide.predict([structure for _, structure in structures], FIDELITY)
        after = guide.predict([end.structure for end in ends], FIDELITY)
        return [
            _Run(start, replace(end, start_energy=one.energy, energy=other.energy), kind="hse06")
            for start, end, one, other in zip(starts, ends, before, after, strict=True)
        ]

    def finish(self, runs: Sequence[_Run]) -> list[list[_Run]]:
        """Relax one run of each minimum to the end and return the runs of each final minimum."""
        # what is known first, in each and of all: another run may lead it into a hole
        groups = [sorted(group, key=lambda run: not run.known) for group in _minima(runs)]
        groups.sort(key=lambda group: not group[0].known)
        structures = [(group[0].state, group[0].relaxation.structure) for group in groups]
        known = sum(group[0].known for group in groups)
        ends = [
            *self._relax(structures[:known], self.settings.max_force, caution=CAUTION),
            *self._relax(structures[known:], self.settings.max_force),
        ]
        predictions = self.potential.predict([end.structure for end in ends], FIDELITY)
        for group, end, prediction in zip(groups, ends, predictions, strict=True):
            coarse = group[0].relaxation
            end = replace(
                end,
                energy=prediction.energy,
                start_energy=coarse.start_energy,
                steps=coarse.steps + end.steps,
            )
            if prediction.spread > LARGEST_SPREAD:
                end = replace(end, verdict="out_of_domain")
            group[0].relaxation, group[0].prediction = end, prediction
            if end.verdict != "minimum":  # nor are the others, which were on their way there
                for run in group[1:]:
                    run.relaxation = replace(run.relaxation, verdict=end.verdict)
        members = {id(group[0]): group for group in groups}
        final = _minima([group[0] for group in groups])
        merged = [[run for lowest in group for run in members[id(lowest)]] for group in final]
        ranks: Counter[str] = Counter()
        for group in merged:
            energy = group[0].relaxation.energy
            for run in group:
                run.minimum = ranks[run.state]
                # The others were left on their way there, on the guide's scale.
                run.relaxation = replace(run.relaxation, energy=energy)
            ranks[group[0].state] += 1
        return merged

    def candidate(self, group: Sequence[_Run]) -> Candidate:
        """Return the candidate of the runs that `finish` found to end in one minimum."""
        lowest, prediction = group[0].relaxation, group[0].prediction
        assert prediction is not None  # `finish` has made it
        return Candidate(
            state=group[0].state,
            structure=lowest.structure,
            energy=lowest.energy,
            spread=prediction.spread,
            distance=prediction.distance,
            uncertainty=self.potential.difference_sigma(prediction),
            energy_uncertainty=self.potential.energy_sigma(prediction),
            max_force=lowest.max_force,
            starts=[run.start.name for run in group],
            rank=group[0].minimum or 0,
        )

    def _relax(
        self,
        structures: Sequence[tuple[str, Structure]],
        max_force: float,
        committee: bool = True,
        caution: float = 0.0,
    ) -> list[Relaxation]:
        return relax(
            self.potential,
            [structure for _, structure in structures],
            max_force=max_force,
            max_steps=self.settings.max_steps,
            references=[self.references[state] for state, _ in structures],
            committee=committee,
            caution=caution,
            journal=self.journal,
        )


def _minima(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Return the runs of each minimum, state by state, lowest first."""
    minima = []
    for state in dict.fromkeys(run.state for run in runs):
        ended = [run for run in runs if run.state == state and run.relaxation.verdict == "minimum"]
        groups = cluster(
            [run.relaxation.structure for run in ended], [run.relaxation.energy for run in ended]
        )
        minima += [[ended[index] for index in group] for group in groups]
    return minima


def _record(run: _Run) -> RelaxationRecord:
    relaxation = run.relaxation
    return RelaxationRecord(
        state=run.state,
        start=run.start.name,
        kind=run.kind,
        start_energy=relaxation.start_energy,
        energy=relaxation.energy,
        max_force=relaxation.max_force,
        steps=relaxation.steps,
        verdict=relaxation.verdict,
        cluster=run.minimum,
        frame=run.frame,
    )


def _control_gain(runs: Sequence[_Run]) -> float:
    """Return by how much the distorted bulk ends below the undistorted one, in eV."""
    control = [run for run in runs if run.state == BULK]
    undistorted = next(run for run in control if run.start.name == UNPERTURBED)
    pristine = undistorted.relaxation.energy
    ends = [run.relaxation.energy for run in control if run.minimum is not None]
    return max(0.0, pristine - min(ends, default=pristine))


def _uncertain(
    runs: Sequence[_Run],
    states: Sequence[DefectState],
    candidates: Sequence[Candidate],
    number: int,
    round: int,
) -> list[ChargedConfiguration]:
    """Return per state the frames on the way that the committee disagreed on most.

    Of relaxations that may have led to the ground state; none where the committee agrees well
    enough.
    """
    configurations = []
    for state in states:
        minima = {c.rank: c for c in candidates if c.state == state.name}
        surest = min(minima.values(), key=lambda c: c.upper_bound, default=None)
        frames = sorted(
            (
                (run, run.relaxation.doubtful)
                for run in runs
                if run.state == state.name
                and run.relaxation.doubtful is not None
                and run.relaxation.doubt > TOLERATED_DOUBT
                and run.minimum is not None
                and surest is not None
                and minima[run.minimum].lower_bound <= surest.energy
            ),
            key=lambda pair: -pair[0].relaxation.doubt,
        )
        configurations += [_frame(state, run, frame, round) for run, frame in frames[:number]]
    return configurations


def _unresolved(
    runs: Sequence[_Run], states: Sequence[DefectState], number: int, round: int
) -> list[ChargedConfiguration]:
    """Return per state different frames of relaxations that led to no minimum.

    Nobody knows where these lead: to a ground state that nothing else finds, perhaps. First the
    ends of those that ended, the lowest ones first, then frames on the way of the others. Each run
    is told which of them stands for it.
    """
    configurations = []
    for state in states:
        lost = [run for run in runs if run.state == state.name and run.minimum is None]
        ended = [run for run in lost if _ended(run)]
        frames = [
            (run, run.relaxation.structure)
            for run in sorted(ended, key=lambda run: run.relaxation.energy)
        ] + [
            (run, run.relaxation.doubtful)
            for run in lost
            if not _ended(run) and run.relaxation.doubtful is not None
        ]
        chosen: list[ChargedConfiguration] = []
        for run, frame in frames:
            twin = next((other for other in chosen if same(frame, other.structure)), None)
            if twin is None and len(chosen) < number:
                twin = _frame(state, run, frame, round)
                chosen.append(twin)
            run.frame = None if twin is None else twin.id
        configurations += chosen
    return configurations


def _ended(run: _Run) -> bool:
    """Tell whether a relaxation came to rest, though where the potential knows too little."""
    return run.relaxation.verdict != "runaway" and run.relaxation.max_force <= COARSE_FORCE


def _frame(state: DefectState, run: _Run, frame: Structure, round: int) -> ChargedConfiguration:
    family = f"{state.defect}/search/{round}/{run.start.name}"
    origin = Origin(state=state.name, family=family, kind="search", round=round)
    return ChargedConfiguration.of(frame, origin)
