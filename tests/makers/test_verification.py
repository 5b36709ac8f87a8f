"""What a round spends HSE06 single points on."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.makers.verification import (
    LEAST_GAIN,
    NEARLY,
    RefinementMaker,
)

ATOM = with_charge(Structure(Lattice.cubic(3), ["Mg"], [[0, 0, 0]]), 0)


def candidate(state):
    return Candidate(
        state=state,
        structure=ATOM,
        energy=0.0,
        spread=0.0,
        uncertainty=0.0,
        energy_uncertainty=0.0,
        max_force=0.0,
        starts=[],
        rank=0,
    )


@pytest.mark.parametrize(
    ("force", "gain", "ends"),
    [(1.9, 0.5, True), (1.9, 2.0, False), (2.1, 0.5, False), (np.inf, 0.0, False)],
)
def test_a_refinement_ends_where_neither_forces_nor_gain_are_left(force, gain, ends):
    maker = RefinementMaker(convergence=ConvergenceSettings(final_force=0.03))
    item = VerifiedCandidate.model_construct(
        candidate=candidate("v_O_0"),
        labels=[],
        max_force=force * NEARLY * 0.03 / 2,
        refinement_ended=None,
    )
    reason = maker.not_worth_it(item, gain * LEAST_GAIN)
    assert (reason is not None) is ends
