"""Estimates of energies from forces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defect_workflows.energies import FORCE_CONSTANT, REACH, energy_in_reach, energy_left

SPRING = FORCE_CONSTANT * REACH
"""Force in eV/Å that a harmonic atom has at the end of its reach."""


def test_a_harmonic_atom_in_reach_gains_its_energy():
    force = [[0.0, SPRING, 0.0]]
    gain = FORCE_CONSTANT * REACH**2 / 2
    assert energy_left(force) == pytest.approx(gain)
    assert energy_in_reach(force) == pytest.approx(gain)
    # beyond it, the force times the further way
    assert energy_in_reach([[0.0, 3 * SPRING, 0.0]]) == pytest.approx(gain + 2 * SPRING * REACH)


@given(arrays(float, (4, 3), elements=st.floats(-9, 9)))
def test_no_atom_is_credited_with_more_than_a_harmonic_one(forces):
    most = np.linalg.norm(forces, axis=1).sum() * REACH
    assert 0 <= energy_in_reach(forces) <= min(most, energy_left(forces)) + 1e-12
