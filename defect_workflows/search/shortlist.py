"""Which minima of the potential deserve an HSE06 single point."""

from __future__ import annotations

from collections.abc import Sequence

from defect_workflows.campaign import SearchSettings
from defect_workflows.documents.search import Candidate

CAUTION = 2.0
"""Standard deviations by which a minimum may be lower than the committee's mean says."""


def shortlist(candidates: Sequence[Candidate], settings: SearchSettings) -> list[Candidate]:
    """Return the candidates to verify: per state at most `settings.shortlist`, best first.

    A candidate counts with the lowest energy it may have (mean minus `CAUTION` times the
    committee's spread), so that a minimum the committee is unsure of is verified rather than
    dismissed. The lowest on the committee's mean is always among them; the others lie within
    `settings.energy_window` of it.
    """
    chosen: list[Candidate] = []
    for state in dict.fromkeys(candidate.state for candidate in candidates):
        of_state = [candidate for candidate in candidates if candidate.state == state]
        lowest = min(of_state, key=lambda candidate: candidate.energy)
        others = sorted(
            (
                candidate
                for candidate in of_state
                if candidate is not lowest
                and _bound(candidate) - lowest.energy <= settings.energy_window
            ),
            key=_bound,
        )
        chosen += sorted([lowest, *others[: settings.shortlist - 1]], key=_bound)
    return chosen


def _bound(candidate: Candidate) -> float:
    return candidate.energy - CAUTION * candidate.spread
