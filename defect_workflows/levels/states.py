"""What is known of each defect state before levels are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.levels import Correction, LevelCalculation
from defect_workflows.documents.search import Candidate, StateRisk, VerifiedCandidate
from defect_workflows.energies import energy_left


@dataclass(frozen=True)
class StateCalculation:
    """A defect state with what is known of it.

    Attributes
    ----------
    state
        The defect state.
    calculation
        Its final calculation; None where verification failed.
    candidate
        The candidate that it belongs to; None for levels without a search.
    energy_error
        Potential minus calculation at the candidate's structure in eV; None where no search found
        it.
    candidates
        All minima that the search found for the state.
    risk
        What the search may still have missed; None where it is not known.
    """

    state: DefectState
    calculation: LevelCalculation | None = None
    candidate: Candidate | None = None
    energy_error: float | None = None
    candidates: Sequence[Candidate] = ()
    risk: StateRisk | None = None

    @property
    def lowest(self) -> Candidate | None:
        """Lowest minimum on the potential alone, even if it is too optimistic there."""
        return min(self.candidates, key=lambda item: item.upper_bound, default=self.candidate)


def choose_winners(
    states: Sequence[DefectState],
    verified: Sequence[VerifiedCandidate],
    candidates: Sequence[Candidate] = (),
    risks: Sequence[StateRisk] = (),
) -> list[StateCalculation]:
    """Return per state the verified candidate with the lowest final energy, if it has one.

    Parameters
    ----------
    states
        All defect states asked for.
    verified
        Candidates with single points; several per state, the last label of each counts.
    candidates
        All minima of the last search, for the levels of the potential alone.
    risks
        What the last search may have missed.
    """
    missed = {risk.state: risk for risk in risks}
    calculations = []
    for state in states:
        found = [item for item in candidates if item.state == state.name]
        mine = [item for item in verified if item.candidate.state == state.name and item.labels]
        if not mine:
            calculations.append(
                StateCalculation(state, candidates=found, risk=missed.get(state.name))
            )
            continue
        winner = min(mine, key=lambda item: item.energy)
        calculations.append(
            StateCalculation(
                state,
                calculation=LevelCalculation.from_label(winner.label),
                candidate=winner.candidate,
                energy_error=winner.energy_error if winner.searched else None,
                candidates=found or [item.candidate for item in mine],
                risk=missed.get(state.name),
            )
        )
    return calculations


def state_error(item: StateCalculation, correction: Correction) -> float:
    """Return what is not known of a state's energy in eV, see `TransitionLevel.error`."""
    parts = [correction.error or 0.0]
    if item.calculation is not None:
        parts.append(energy_left(item.calculation.forces or 0.0))
        if item.risk is not None:
            parts += [item.risk.energy, item.risk.lowered]
    elif item.lowest is not None:
        parts.append(potential_error(item) or 0.0)
    return float(np.linalg.norm(parts))


def potential_error(item: StateCalculation) -> float | None:
    """Return the standard deviation of a state's energy on the potential alone in eV.

    Calibrated on held-out labels, and larger where HSE06 found this round's minima further off.
    """
    if item.lowest is None:
        return None
    return item.lowest.energy_uncertainty * (item.risk.inflation if item.risk is not None else 1.0)
