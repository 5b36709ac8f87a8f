from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.search.cluster import displacements
from defect_workflows.search.copies import copy_within

from .conftest import copied, shaken, symmetric_copies


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(number=st.integers(0, 47), seed=st.integers(0, 1000))
def test_the_nearest_copy_is_found_with_its_vectors(vacancy, number, seed):
    distorted = with_charge(shaken(vacancy, 0.15, seed), -2)
    nearby = shaken(distorted, 0.03, seed + 1)
    operation = symmetric_copies(vacancy)[number]
    turned = copied(distorted, operation)
    copy = copy_within(turned, nearby, 0.3)
    assert copy is not None
    found, original = (displacements(s, nearby) for s in (copy.structure, distorted))
    # but for a shift of the whole
    assert np.allclose(found - found.mean(axis=0), original - original.mean(axis=0), atol=1e-6)
    assert charge_of(copy.structure) == -2
    # vectors turn with it: forces that point back to where the vacancy was not distorted
    back = displacements(distorted, vacancy)
    turned_back = back @ operation.rotation_matrix.T
    assert np.allclose(copy.vectors(turned_back), back, atol=1e-6)


def test_what_is_near_stays_as_it_is(vacancy):
    near = shaken(vacancy, 0.05, 1)
    copy = copy_within(near, vacancy, 0.5)
    assert copy is not None
    assert copy.structure is near
    assert np.array_equal(copy.vectors(near.cart_coords), near.cart_coords)


@pytest.mark.parametrize("amplitude", [0.2, 0.6])
def test_what_is_no_copy_is_none(vacancy, amplitude):
    assert copy_within(shaken(vacancy, amplitude, 1), shaken(vacancy, amplitude, 2), 0.1) is None
