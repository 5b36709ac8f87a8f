"""The potential against HSE06 at what the search found, and whether the rounds may end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.labels import Label, RefusedLabel
from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.documents.verification import RoundRecord, StateCheck
from defect_workflows.search.cluster import SAME_DISTANCE, difference

if TYPE_CHECKING:
    from defect_workflows.mlip.predict import Potential


def verify(
    potential: Potential, pairs: Iterable[tuple[Candidate, Label]]
) -> list[VerifiedCandidate]:
    """Compare the potential with the HSE06 label at each candidate."""
    pairs = list(pairs)
    predictions = potential.predict([candidate.structure for candidate, _ in pairs], "hse06")
    verified = []
    for (candidate, label), prediction in zip(pairs, predictions, strict=True):
        forces = np.array(label.forces)
        verified.append(
            VerifiedCandidate(
                candidate=candidate,
                labels=[label],
                energy_error=prediction.energy - label.energy,
                force_error=float(np.sqrt(np.mean((prediction.forces - forces) ** 2))),
                max_force=largest_force(label),
            )
        )
    return verified


def largest_force(label: Label) -> float:
    """Return the largest force on an atom in eV/Å."""
    return float(np.linalg.norm(label.forces, axis=1).max())


def extended(verified: VerifiedCandidate, point: Label | RefusedLabel) -> VerifiedCandidate:
    """Return a candidate with one more single point; a refused one ends its refinement."""
    if isinstance(point, RefusedLabel):
        return verified.model_copy(update={"refinement_ended": f"refused: {point.reason}"})
    longer = verified.model_copy(update={"labels": [*verified.labels, point]})
    return longer.model_copy(update={"max_force": largest_force(longer.label)})


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
            and all(
                difference(other.label.configuration.structure, structure) >= SAME_DISTANCE
                for other in mine
            )
        ):
            chosen.append(item)
    return chosen


def assess(
    found: Sequence[VerifiedCandidate],
    settled: Sequence[VerifiedCandidate],
    states: Mapping[str, str],
    history: Sequence[RoundRecord],
    settings: ConvergenceSettings,
) -> RoundRecord:
    """Return the record of a round: errors at the winners, change of levels, and the verdict.

    Parameters
    ----------
    found
        Candidates of this round with their HSE06 labels: the errors are those of the lowest.
    settled
        Candidates of all rounds, refined: the levels are those of the lowest.
    states
        Name of the defect of every state asked for.
    history
        Records of the rounds before.
    settings
        Criteria.
    """
    lowest = winners(settled)
    best = winners(found)
    checks = [
        StateCheck(
            state=name,
            charge=item.candidate.charge,
            energy=lowest[name].energy,
            energy_error=item.energy_error,
            force_error=item.force_error,
        )
        for name, item in best.items()
    ]
    reasons = [f"{name}: no verified candidate" for name in states if name not in best]
    for check in checks:
        if abs(check.energy_error) > settings.energy_error:
            reasons.append(
                f"{check.state}: energy error {check.energy_error:+.3f} eV, "
                f"expected at most {settings.energy_error:g}"
            )
        if check.force_error > settings.force_error:
            reasons.append(
                f"{check.state}: force error {check.force_error:.3f} eV/Å, "
                f"expected at most {settings.force_error:g}"
            )
    change = _level_change(checks, history[-1].checks, states) if history else None
    if change is None:
        reasons.append("levels: no earlier round to compare with")
    elif change > settings.level_change:
        reasons.append(
            f"levels: changed by {change:.3f} eV since the round before, "
            f"expected at most {settings.level_change:g}"
        )
    return RoundRecord(
        round=len(history),
        checks=checks,
        level_change=change,
        converged=not reasons,
        reasons=reasons,
    )


def _level_change(
    now: Sequence[StateCheck], before: Sequence[StateCheck], states: Mapping[str, str]
) -> float | None:
    """Return the largest change of a level between two charge states of one defect, in eV.

    Bulk energy, band edges and corrections are the same in both rounds and drop out.
    """
    earlier = {check.state: check.energy for check in before}
    changed = [
        (states[check.state], check.charge, check.energy - earlier[check.state])
        for check in now
        if check.state in earlier
    ]
    changes = [
        abs((one[2] - other[2]) / (one[1] - other[1]))
        for one, other in combinations(changed, 2)
        if one[0] == other[0] and one[1] != other[1]
    ]
    return max(changes, default=None)
