"""Which minima of the potential deserve an HSE06 single point."""

from __future__ import annotations

from collections.abc import Sequence

from defect_workflows.campaign import SearchSettings
from defect_workflows.documents.search import Candidate

CAUTION = 2.0
"""Standard deviations by which the committee's mean may be wrong."""


def shortlist(candidates: Sequence[Candidate], settings: SearchSettings) -> list[Candidate]:
    """Return the candidates to verify: per state at most `settings.shortlist`, surest first.

    The first is the one that is lowest even if the committee is too optimistic (mean plus
    `CAUTION` times its spread): a hole of the potential cannot displace it. The others follow by
    how low they may be (mean minus `CAUTION` times spread), up to `settings.energy_window` above
    the first: what the committee is unsure of is verified rather than dismissed.
    """
    chosen: list[Candidate] = []
    for state in dict.fromkeys(candidate.state for candidate in candidates):
        of_state = [candidate for candidate in candidates if candidate.state == state]
        surest = min(of_state, key=lambda c: c.energy + CAUTION * c.spread)
        others = [
            candidate
            for candidate in of_state
            if candidate is not surest
            and _lower_bound(candidate) - surest.energy <= settings.energy_window
        ]
        chosen += [surest, *sorted(others, key=_lower_bound)[: settings.shortlist - 1]]
    return chosen


def _lower_bound(candidate: Candidate) -> float:
    return candidate.energy - CAUTION * candidate.spread
