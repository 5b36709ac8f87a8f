"""What is known of each defect state before levels are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.levels import Correction, LevelCalculation
from defect_workflows.documents.search import Candidate, VerifiedCandidate

FORCE_CONSTANT = 3.0
"""Force constant that turns remaining forces into energy, eV/Å^2: soft, so that the estimate is
high (a transverse optical phonon of 4 THz in CdTe is 4 eV/Å^2)."""


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
        Potential minus calculation at the candidate's structure in eV.
    candidates
        All minima that the search found for the state.
    """

    state: DefectState
    calculation: LevelCalculation | None = None
    candidate: Candidate | None = None
    energy_error: float | None = None
    candidates: Sequence[Candidate] = ()

    @property
    def lowest(self) -> Candidate | None:
        """Lowest minimum on the potential alone."""
        return min(self.candidates, key=lambda item: item.energy, default=self.candidate)


def choose_winners(
    states: Sequence[DefectState],
    verified: Sequence[VerifiedCandidate],
    candidates: Sequence[Candidate] = (),
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
    """
    calculations = []
    for state in states:
        found = [item for item in candidates if item.state == state.name]
        mine = [item for item in verified if item.candidate.state == state.name and item.labels]
        if not mine:
            calculations.append(StateCalculation(state, candidates=found))
            continue
        winner = min(mine, key=lambda item: item.energy)
        calculations.append(
            StateCalculation(
                state,
                calculation=LevelCalculation.from_label(winner.label),
                candidate=winner.candidate,
                energy_error=winner.energy_error,
                candidates=found or [item.candidate for item in mine],
            )
        )
    return calculations


def state_error(item: StateCalculation, correction: Correction) -> float:
    """Return what is not known of a state's energy in eV, see `TransitionLevel.error`.

    Remaining forces F could still gain about sum(F^2) / (2 k) by relaxation.
    """
    parts = [correction.error or 0.0]
    if item.calculation is not None:
        forces = item.calculation.forces or 0.0
        parts.append(float(np.sum(np.square(forces))) / (2 * FORCE_CONSTANT))
    elif item.lowest is not None:
        parts.append(item.lowest.spread)
    return float(np.linalg.norm(parts))
