"""Which minima of the potential deserve an HSE06 single point."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from defect_workflows.campaign import SearchSettings
from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.search.cluster import same
from defect_workflows.search.copies import copy_within

SAME_PLACE = 0.05
"""Where no atom of a structure, or of a symmetric copy of it, is further away, in Å, its HSE06
label tells of the potential what one at the structure itself would."""


def shortlist(
    candidates: Sequence[Candidate],
    settings: SearchSettings,
    known: Sequence[VerifiedCandidate] = (),
) -> list[Candidate]:
    """Return the candidates to verify: per state at most `settings.shortlist`, surest first.

    The first is the one that is lowest even if the potential is too optimistic (energy plus
    `CAUTION` times its uncertainty): a hole of the potential cannot displace it. The others follow
    by how low they may be (energy minus `CAUTION` times uncertainty), as long as they may be the
    ground state, or up to `settings.energy_window` above the first. Those that are what has an
    HSE06 single point already are left out; the first is not: it tells how good the potential is.
    It costs nothing where `label_at` finds one.

    Parameters
    ----------
    candidates
        Minima of all states.
    settings
        How many, and the window.
    known
        Verified candidates of the rounds before.
    """
    chosen: list[Candidate] = []
    for state in dict.fromkeys(candidate.state for candidate in candidates):
        of_state = [candidate for candidate in candidates if candidate.state == state]
        surest = min(of_state, key=lambda candidate: candidate.upper_bound)
        others = [
            candidate
            for candidate in of_state
            if candidate is not surest
            and candidate.lower_bound - surest.energy <= settings.energy_window
            and not already_verified(candidate, known)
        ]
        chosen += [
            surest,
            *sorted(others, key=lambda candidate: candidate.lower_bound)[: settings.shortlist - 1],
        ]
    return chosen


def first_of_each[Item](
    items: Iterable[Item], number: int, state: Callable[[Item], str]
) -> tuple[list[Item], list[Item]]:
    """Return the first items of every state, so many of each, and the others."""
    first: dict[str, list[Item]] = defaultdict(list)
    others: list[Item] = []
    for item in items:
        of_state = first[state(item)]
        (of_state if len(of_state) < number else others).append(item)
    return [item for of_state in first.values() for item in of_state], others


def already_verified(candidate: Candidate, known: Sequence[VerifiedCandidate]) -> bool:
    """Tell whether a candidate is, in its charge state, what has an HSE06 single point already."""
    return any(
        same(candidate.structure, label.configuration.structure)
        for item in known
        if item.candidate.state == candidate.state
        for label in item.labels
    )


def label_at(candidate: Candidate, known: Sequence[VerifiedCandidate]) -> tuple[int, int] | None:
    """Return where the HSE06 label nearest to a candidate is; None if none is at its place.

    Returns
    -------
    tuple or None
        Index of the verified candidate of its state, and of the label there.
    """
    found = [
        (copy.distance, index, number)
        for index, item in enumerate(known)
        if item.candidate.state == candidate.state
        for number, label in enumerate(item.labels)
        if (copy := copy_within(label.configuration.structure, candidate.structure, SAME_PLACE))
    ]
    return min(found)[1:] if found else None


def expected_gain(above: float, uncertainty: float) -> float:
    """Return by how much a structure is expected to be lower than the lowest one known, in eV.

    The mean of max(0, -x) for a normally distributed x: the expected improvement of Jones, Schonlau
    and Welch, J. Glob. Optim. 13, 455 (1998).

    Parameters
    ----------
    above
        Predicted energy above the lowest one, in eV.
    uncertainty
        Standard deviation of the prediction in eV.
    """
    if uncertainty <= 0:
        return max(0.0, -above)
    z = -above / uncertainty
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return uncertainty * (z * (1 + math.erf(z / math.sqrt(2))) / 2 + density)
