"""Which verified candidates may be ground states, and which of them to refine next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from defect_workflows.documents.defects import defect_of
from defect_workflows.documents.labels import Label
from defect_workflows.documents.search import VerifiedCandidate
from defect_workflows.energies import energy_in_reach, energy_left
from defect_workflows.search.cluster import displacements, same
from defect_workflows.search.copies import copy_within
from defect_workflows.search.shortlist import first_of_each

SAME_BOWL = 0.1
"""Two structures may lie in one minimum if their energy difference is, within this share of it,
what the forces at both give for a quadratic energy."""

FLATTEST_BOWL = 0.2
"""And only if the second derivative of the energy along the way, of the forces at both, is at least
this, in eV/Å^2. A smaller one fits by chance, or there is something on the way (benchmarks)."""

WIDEST_BOWL = 0.75
"""Structures are not taken for one minimum unless a symmetric copy of one has no atom further from
the other's than this, in Å."""

NEAR_BOWL = 0.25
"""The same, in Å, for what a search found: the potential has minima at both. Eight that did end in
the other began within 0.15 Å; one 0.62 Å away that seemed to led to a ground state."""

SOFTER = 2.0
"""The forces left may gain so many times what `energy_left` says. Of 97 refinement steps with less
than 0.1 eV to go, half gained no more than it in the end, six of seven no more than twice of it."""


def winners(verified: Iterable[VerifiedCandidate]) -> dict[str, VerifiedCandidate]:
    """Return the candidate of lowest HSE06 energy of each state."""
    best: dict[str, VerifiedCandidate] = {}
    for item in verified:
        state = item.candidate.state
        if state not in best or item.energy < best[state].energy:
            best[state] = item
    return best


def contenders(verified: Iterable[VerifiedCandidate], window: float) -> list[VerifiedCandidate]:
    """Return what may be the ground state of its state: lowest HSE06 energy first.

    Candidates up to `window` eV above the lowest of their state, and of those that have got to the
    same structure one, the lowest.
    """
    chosen: list[VerifiedCandidate] = []
    for item in sorted(verified, key=lambda item: item.energy):
        mine = [other for other in chosen if other.candidate.state == item.candidate.state]
        structure = item.label.configuration.structure
        if not mine or (
            item.energy - mine[0].energy <= window
            and not any(same(other.label.configuration.structure, structure) for other in mine)
        ):
            chosen.append(item)
    return chosen


def may_be_lowest(item: VerifiedCandidate, lowest: VerifiedCandidate) -> bool:
    """Tell whether the forces left at a candidate could bring it below the lowest of its state."""
    return item.energy - SOFTER * energy_left(item.label.forces) <= lowest.energy


def promise(label: Label) -> float:
    """Return the energy in eV that the forces at a single point may lead to."""
    return label.energy - energy_in_reach(label.forces)


def on_course(item: VerifiedCandidate, lowest: VerifiedCandidate, trial: int) -> bool:
    """Tell whether a candidate gets its next point, however high it is.

    It does for the first `trial` of them, and then as long as gaining once more what the last
    `trial` of them gained would bring it below the lowest of its state: relaxing in another charge
    state gains more than the first forces tell. What no charge state offered has its trial only if
    its first forces promise to lead below where those of the lowest lead: it left the domain of the
    potential, or came to rest on it where HSE06 does not.
    """
    if not trial:
        return False
    if in_trial(item, trial):
        return item.exchanged or promise(item.labels[0]) < promise(lowest.label)
    energies = [label.energy for label in item.labels]
    gained = min(energies[:-trial]) - item.energy
    return item.energy - gained < lowest.energy


def worth_refining(
    item: VerifiedCandidate, lowest: VerifiedCandidate, window: float, trial: int = 0
) -> bool:
    """Tell whether a candidate may become the ground state of its state.

    Parameters
    ----------
    item
        The candidate.
    lowest
        The lowest of its state.
    window
        Candidates further above the lowest, in eV, may not, unless they are `on_course`.
    trial
        Single points that a candidate gets however high it is (`on_course`).
    """
    near = item.energy - lowest.energy <= window and may_be_lowest(item, lowest)
    return near or on_course(item, lowest, trial)


def may_fall_into(item: VerifiedCandidate, verified: Sequence[VerifiedCandidate]) -> list[int]:
    """Return the indices of the candidates into whose minimum the forces of one may lead.

    Where the energy is quadratic between two structures, their energies differ by the mean of the
    forces at both times the way (the trapezoidal rule). Two minima with a barrier between them
    have none of these forces, and most candidates that lead elsewhere have others.

    Only the lowest of the state, and what falls into a minimum itself: where any other ends is not
    known, and four of five candidates that seemed to lead there led past it.

    Parameters
    ----------
    item
        A candidate, at its lowest single point.
    verified
        Candidates of all states.
    """
    lowest = winners(verified).get(item.candidate.state)
    return [
        index
        for index, other in enumerate(verified)
        if (other is lowest or other.known_minimum)
        and other.candidate.state == item.candidate.state
        and _in_one_bowl(item.label, other.label, NEAR_BOWL if item.searched else WIDEST_BOWL)
    ]


def _in_one_bowl(high: Label, low: Label, widest: float) -> bool:
    """Tell whether two single points fit a quadratic energy, and are near enough."""
    above = high.energy - low.energy
    if above <= 0:
        return False
    start = high.configuration.structure
    copy = copy_within(low.configuration.structure, start, widest)
    if copy is None:
        return False
    way = displacements(start, copy.structure)
    along = [np.sum(forces * way) for forces in (high.forces, copy.vectors(low.forces))]
    fits = abs(sum(along) / 2 - above) <= SAME_BOWL * above
    return bool(fits and along[0] - along[1] >= FLATTEST_BOWL * np.sum(way**2))


def next_refinements(
    verified: Sequence[VerifiedCandidate],
    window: float,
    finished: Callable[[VerifiedCandidate], bool],
    trial: Callable[[VerifiedCandidate], int] = lambda item: 0,
) -> list[int]:
    """Return the indices of the candidates to refine now, at most one per state.

    What is lowest in its state because another charge state offered it comes first, and nothing
    else of its defect: it is new there, and may be the ground state of the next charge state too.
    Then a start that the potential lost and that may lead below the lowest of its state, in all
    charge states of its defect: where it does, nothing else matters, in none of them, as it
    is exchanged. Each charge state tries its most promising one; the one that is then lowest,
    compared with what the search found in its state, is followed, and the others wait for it.

    Then the lowest; the others, where they may be lowest, wait for it: most of them cannot be lower
    than what it becomes. What the search found high above it but HSE06 leads down from follows, and
    what else another charge state offered comes last.

    Parameters
    ----------
    verified
        Candidates of all states.
    window
        As in `worth_refining`.
    finished
        Tells which are refined to the end.
    trial
        Tells what `worth_refining` asks for.
    """
    best = winners(verified)

    def wanted(item: VerifiedCandidate) -> bool:
        lowest = best[item.candidate.state]
        return not finished(item) and worth_refining(item, lowest, window, trial(item))

    offered = [item for item in best.values() if item.exchanged and wanted(item)]
    settling = {_defect(item) for item in offered}
    lost = [
        item for item in _lost(verified, best) if _defect(item) not in settling and wanted(item)
    ]
    by_defect: dict[str, list[VerifiedCandidate]] = defaultdict(list)
    for item in first_of_each(lost, 1, _state)[0]:
        by_defect[_defect(item)].append(item)
    # what a search found, where one found anything
    found = {**best, **winners(item for item in verified if item.searched)}
    high = sorted((item for item in verified if item.searched), key=lambda x: promise(x.label))
    exchanged = (item for item in verified if item.exchanged)
    others = (
        item
        for item in (*contenders(verified, window), *high, *exchanged)
        if _defect(item) not in settling | by_defect.keys() and wanted(item)
    )
    followed = (item for rivals in by_defect.values() for item in _followed(rivals, found, trial))
    places = {id(item): index for index, item in enumerate(verified)}
    chosen, _ = first_of_each([*offered, *followed, *others], 1, _state)
    return [places[id(item)] for item in chosen]


def not_offered_yet(
    verified: Sequence[VerifiedCandidate],
    unfinished: Sequence[VerifiedCandidate],
    finished: Callable[[VerifiedCandidate], bool],
) -> set[str]:
    """Return the charge states that have nothing to offer to their neighbours yet.

    Those with something to refine; and where a start that the potential lost is followed, all of
    its defect. But never one whose lowest no search found and is refined to its end: it is new to
    the neighbours, and what they would refine meanwhile may be worthless then.

    Parameters
    ----------
    verified
        Candidates of all states.
    unfinished
        Those that are refined now.
    finished
        Tells which are refined to the end.
    """
    followed = {_defect(item) for item in unfinished if item.unresolved}
    new = {
        state
        for state, winner in winners(verified).items()
        if not winner.searched and finished(winner)
    }
    refined = {_state(item) for item in unfinished}
    return {
        state for state in winners(verified) if state in refined or defect_of(state) in followed
    } - new


def in_trial(item: VerifiedCandidate, trial: int) -> bool:
    """Tell whether a candidate has not had all single points of its trial, after the first."""
    return len(item.labels) <= trial


def _lost(
    verified: Sequence[VerifiedCandidate], best: Mapping[str, VerifiedCandidate]
) -> list[VerifiedCandidate]:
    """Return starts that the potential lost and that are or may get lowest.

    What has begun comes first, then in order of promise.
    """
    promising = [
        item
        for item in verified
        if item.unresolved
        and (
            item is best[item.candidate.state]
            or promise(item.label) < promise(best[item.candidate.state].label)
        )
    ]
    return sorted(promising, key=lambda item: (len(item.labels) == 1, promise(item.label)))


def _state(item: VerifiedCandidate) -> str:
    return item.candidate.state


def _defect(item: VerifiedCandidate) -> str:
    return defect_of(item.candidate.state)


def _followed(
    rivals: Sequence[VerifiedCandidate],
    found: Mapping[str, VerifiedCandidate],
    trial: Callable[[VerifiedCandidate], int],
) -> list[VerifiedCandidate]:
    """Return those of a defect's lost starts, one per charge state, that get single points now."""
    tried = [item for item in rivals if in_trial(item, trial(item))]
    return tried or [min(rivals, key=lambda item: item.energy - found[item.candidate.state].energy)]
