"""The potential against HSE06 at what the search found, and whether the rounds may end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.labels import Label, RefusedLabel
from defect_workflows.documents.search import (
    REFUSED,
    Candidate,
    RelaxationRecord,
    StateRisk,
    VerifiedCandidate,
)
from defect_workflows.documents.verification import (
    LEFT_DOMAIN,
    NOT_RELAXED,
    RoundRecord,
    StateCheck,
)
from defect_workflows.search.contenders import winners
from defect_workflows.search.risks import risks

if TYPE_CHECKING:
    from defect_workflows.mlip.predict import Potential, Prediction


def verify(
    potential: Potential, pairs: Iterable[tuple[Candidate, Label]]
) -> list[VerifiedCandidate]:
    """Compare the potential with the HSE06 label at, or next to, each candidate."""
    pairs = list(pairs)
    predictions = potential.predict([label.configuration.structure for _, label in pairs], "hse06")
    return [_compared(*pair, there) for pair, there in zip(pairs, predictions, strict=True)]


def verify_starts(potential: Potential, labels: Sequence[Label]) -> list[VerifiedCandidate]:
    """Make starts that have an HSE06 label verified candidates, named by their families."""
    predictions = potential.predict([label.configuration.structure for label in labels], "hse06")
    return [
        _compared(_start(potential, label, there), label, there)
        for label, there in zip(labels, predictions, strict=True)
    ]


def _compared(candidate: Candidate, label: Label, prediction: Prediction) -> VerifiedCandidate:
    errors = prediction.forces - np.array(label.forces)
    return VerifiedCandidate(
        candidate=candidate,
        labels=[label],
        energy_error=prediction.energy - label.energy,
        force_error=float(np.sqrt(np.mean(errors**2))),
        max_force=largest_force(label),
    )


def _start(potential: Potential, label: Label, prediction: Prediction) -> Candidate:
    """Return a start as the candidate that no relaxation has made of it."""
    origin = label.configuration.origin
    return Candidate(
        state=origin.state,
        structure=label.configuration.structure,
        energy=prediction.energy,
        spread=prediction.spread,
        distance=prediction.distance,
        uncertainty=potential.difference_sigma(prediction),
        energy_uncertainty=potential.energy_sigma(prediction),
        max_force=float(np.linalg.norm(prediction.forces, axis=1).max()),
        starts=[origin.family.rsplit("/", 1)[-1]],
        rank=0,
    )


def largest_force(label: Label) -> float:
    """Return the largest force on an atom in eV/Å."""
    return float(np.linalg.norm(label.forces, axis=1).max())


def extended(verified: VerifiedCandidate, point: Label | RefusedLabel) -> VerifiedCandidate:
    """Return a candidate with one more single point; a refused one ends its refinement."""
    if isinstance(point, RefusedLabel):
        return verified.model_copy(update={"refinement_ended": f"{REFUSED}{point.reason}"})
    longer = verified.model_copy(update={"labels": [*verified.labels, point]})
    return longer.model_copy(update={"max_force": largest_force(longer.label)})


def assess(
    candidates: Sequence[Candidate],
    found: Sequence[VerifiedCandidate],
    settled: Sequence[VerifiedCandidate],
    states: Mapping[str, str],
    history: Sequence[RoundRecord],
    settings: ConvergenceSettings,
    relaxations: Sequence[RelaxationRecord] = (),
) -> RoundRecord:
    """Return the record of a round: errors at the winners, change of levels, and the verdict.

    The rounds may end when no level changed any more, and nothing is known that may be lower: no
    minimum without a single point, no start whose end is not known. A level comes from single
    points: the errors of the potential at the winners are recorded, and are no criterion.

    Parameters
    ----------
    candidates
        Minima of this round's search.
    found
        Those with their HSE06 labels: the errors are those of the lowest. Starts that left the
        domain of the potential are none of its findings.
    settled
        Candidates of all rounds, refined: the levels are those of the lowest.
    states
        Name of the defect of every state asked for.
    history
        Records of the rounds before.
    settings
        Criteria.
    relaxations
        Every start of this round's search.
    """
    found = [item for item in found if not item.unresolved]
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
    earlier = {check.state: check.energy for check in history[-1].checks} if history else {}
    missed = [
        risk.model_copy(
            update={"lowered": max(0.0, earlier[risk.state] - lowest[risk.state].energy)}
        )
        if risk.state in earlier and risk.state in lowest
        else risk
        for risk in risks(candidates, found, settled, states, relaxations)
    ]
    change = _level_change(checks, history[-1].checks, states) if history else None
    unmet = {
        **_unmet([name for name in states if name not in best], missed),
        **_unmet_by_levels(checks, earlier, change, settings.level_change),
    }
    concerned = {name for names in unmet.values() for name in names}
    return RoundRecord(
        round=len(history),
        checks=checks,
        level_change=change,
        risks=missed,
        converged=not unmet,
        reasons=list(unmet),
        unconverged=[name for name in states if name in concerned],
    )


def _unmet(not_verified: Sequence[str], missed: Sequence[StateRisk]) -> dict[str, list[str]]:
    """Return what speaks against the states themselves, with the names of these states."""
    rivals = [risk for risk in missed if risk.competitors]
    lost = [risk for risk in missed if risk.unresolved]
    unfinished = [risk for risk in missed if risk.unfinished]
    found = {
        f"{', '.join(not_verified)}: no verified candidate": list(not_verified),
        "unverified minima may be lower: "
        + _listed(
            (risk.state, f"{risk.competitors}, by {risk.energy:.3f} eV to be expected")
            for risk in rivals
        ): [risk.state for risk in rivals],
        f"{LEFT_DOMAIN}: "
        + _listed((risk.state, f"{risk.unresolved} of {risk.starts}") for risk in lost): [
            risk.state for risk in lost
        ],
        f"{NOT_RELAXED}: "
        + _listed((risk.state, f"{risk.unfinished} of {risk.starts}") for risk in unfinished): [
            risk.state for risk in unfinished
        ],
    }
    return {reason: names for reason, names in found.items() if names}


def _unmet_by_levels(
    checks: Sequence[StateCheck], earlier: Mapping[str, float], change: float | None, limit: float
) -> dict[str, list[str]]:
    """Return what speaks against the levels, with the names of the states that changed.

    Where a level changed by more than the limit, one of its states did by more than half of it.
    """
    if change is None:
        return {"levels: no earlier round to compare with": [check.state for check in checks]}
    if change <= limit:
        return {}
    return {
        f"levels: changed by {change:.3f} eV since the round before, expected at most {limit:g}": [
            check.state
            for check in checks
            if abs(check.energy - earlier.get(check.state, np.inf)) > limit / 2
        ]
    }


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names with what is said of each in brackets: a (1), b (2)."""
    return ", ".join(f"{name} ({text})" for name, text in pairs)


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
