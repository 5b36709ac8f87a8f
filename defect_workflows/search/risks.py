"""What a search may have missed: minima that may be lower than what HSE06 says is the lowest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from defect_workflows.documents.search import (
    CAUTION,
    Candidate,
    RelaxationRecord,
    StateRisk,
    VerifiedCandidate,
)
from defect_workflows.search.contenders import promise, winners
from defect_workflows.search.shortlist import already_verified, expected_gain

NEGLIGIBLE = 0.005
"""What is expected to be lower by less, in eV, competes with no winner: a quarter of what a level
may be wrong by."""


@dataclass(frozen=True)
class Competitor:
    """A minimum without an HSE06 single point that may be lower than the winner of its state.

    Attributes
    ----------
    index
        Which of the search's candidates it is.
    state
        Its defect state.
    gain
        Energy in eV by which it is expected to be lower.
    """

    index: int
    state: str
    gain: float


def found_by(
    candidates: Sequence[Candidate], verified: Sequence[VerifiedCandidate]
) -> list[VerifiedCandidate]:
    """Return the verified candidates that are minima of one search."""
    return [item for item in verified if item.searched and item.candidate in candidates]


def competitors(
    candidates: Sequence[Candidate],
    found: Sequence[VerifiedCandidate],
    settled: Sequence[VerifiedCandidate],
) -> list[Competitor]:
    """Return the minima that may be ground states instead of the winners, likeliest first.

    The error that the potential has at the lowest verified minimum of a state is taken off the
    others: most of it is common to all of them. Where it was too high by more than it knew at those
    that were verified, by the semideviation, it may be so at the others.

    Parameters
    ----------
    candidates
        Minima of a search.
    found
        Those with an HSE06 single point.
    settled
        Verified candidates of all rounds, refined.
    """
    lowest, best = winners(settled), winners(found)
    others = [item for item in found if item is not best[item.candidate.state]]
    errors = [item.energy_error - best[item.candidate.state].energy_error for item in others]
    # where it is too low, as in its holes, nothing else is likelier to be lower for that
    among = _inflation(
        [
            (math.sqrt(2) * max(0.0, error), item.candidate.uncertainty)
            for error, item in zip(errors, others, strict=True)
        ]
    )
    rivals = []
    for index, candidate in enumerate(candidates):
        state = candidate.state
        if state not in best:
            continue
        uncertainty = among * candidate.uncertainty
        above = candidate.energy - best[state].energy_error - lowest[state].energy
        gain = expected_gain(above, uncertainty)
        if (
            above < CAUTION * uncertainty
            and gain > NEGLIGIBLE
            and not already_verified(candidate, [*found, *settled])
        ):
            rivals.append(Competitor(index, state, gain))
    return sorted(rivals, key=lambda rival: -rival.gain)


def risks(
    candidates: Sequence[Candidate],
    found: Sequence[VerifiedCandidate],
    settled: Sequence[VerifiedCandidate],
    states: Iterable[str],
    relaxations: Sequence[RelaxationRecord] = (),
) -> list[StateRisk]:
    """Return what the search may have missed in each state.

    Parameters
    ----------
    candidates, found, settled
        As in `competitors`.
    states
        Names of the states.
    relaxations
        Every start of this round's search.
    """
    rivals = competitors(candidates, found, settled)
    lost = open_starts(relaxations, settled)
    inflation = _inflation(
        [(item.energy_error, item.candidate.energy_uncertainty) for item in found]
    )
    return [
        StateRisk(
            state=state,
            competitors=sum(rival.state == state for rival in rivals),
            energy=max((rival.gain for rival in rivals if rival.state == state), default=0.0),
            starts=sum(item.state == state for item in relaxations),
            unresolved=sum(
                item.state == state and item.verdict != "not_converged" for item in lost
            ),
            unfinished=sum(
                item.state == state and item.verdict == "not_converged" for item in lost
            ),
            inflation=inflation,
        )
        for state in states
    ]


def open_starts(
    relaxations: Sequence[RelaxationRecord], settled: Sequence[VerifiedCandidate]
) -> list[RelaxationRecord]:
    """Return the starts of a search that led to no minimum and may lead below the winner.

    One does not where HSE06 has followed it to its end, from the frame that stands for it or, as
    distortions are the same in all rounds, in another round; nor where the energy and the forces at
    its lowest single point promise no more than `NEGLIGIBLE`. What starts at single points is known
    to HSE06 already.
    """
    lowest = winners(settled)
    shown = [
        item
        for item in settled
        if item.unresolved
        and (
            item.at_its_end
            or promise(item.label) >= lowest[item.candidate.state].energy - NEGLIGIBLE
        )
    ]
    frames = {item.labels[0].configuration.id for item in shown}
    starts = {(item.candidate.state, start) for item in shown for start in item.candidate.starts}
    return [
        item
        for item in relaxations
        if item.verdict != "minimum"
        and item.kind != "hse06"
        and item.frame not in frames
        and not (item.kind == "distortion" and (item.state, item.start) in starts)
    ]


def _inflation(errors: Sequence[tuple[float, float]]) -> float:
    """Return errors in units of their sigma, root mean square, at least 1; pairs in eV."""
    squares = [(error / sigma) ** 2 for error, sigma in errors if sigma > 0]
    return max(1.0, float(np.sqrt(np.mean(squares)))) if squares else 1.0
