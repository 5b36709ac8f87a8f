"""From a distance to a standard deviation that holds on labels that were not trained on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.documents.defects import BULK
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.calibration import (
    LATER,
    Residual,
    calibrate,
    difference_errors,
    energy_errors,
    growth,
    with_sigmas,
)


def point(error, distance, split="test", state="v_Cd_0", family="v_Cd/x", fidelity="hse06"):
    return ParityPoint(
        split=split,
        fidelity=fidelity,
        charge=0,
        state=state,
        family=family,
        atoms=10,
        energy=-100.0,
        predicted=-100.0 + error,
        spread=0.01,
        distance=distance,
        force_rmse=0.1,
    )


def trained(size=0.1, number=50):
    """Labels trained on whose errors are as large, to one standard deviation."""
    errors = np.random.default_rng(9).normal(0, size, number)
    return [point(float(error), 0.0, split="train") for error in errors]


def drawn(number, growth, floor, seed, tails=None):
    """Labels whose sigma is known; errors of Student's t where tails are given."""
    random = np.random.default_rng(seed)
    distances = random.lognormal(1, 1.0, number)
    shape = random.standard_t(tails, number) if tails else random.normal(size=number)
    errors = shape * floor * np.hypot(1, growth * distances)
    return [
        Residual(point(float(e), float(d), family=f"v_Cd/{i}"), float(e), floor)
        for i, (e, d) in enumerate(zip(errors, distances, strict=True))
    ]


@pytest.mark.parametrize(("true", "floor"), [(0.3, 0.01), (0.7, 0.2), (3.0, 0.1)])
def test_the_growth_is_found(true, floor):
    assert growth(drawn(4000, true, floor, 0)) == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("tails", [None, 2])
@pytest.mark.parametrize("number", [12, 40])
def test_one_sigma_holds_two_thirds_of_unseen_errors(number, tails):
    shares = []
    for seed in range(40):
        found = calibrate(drawn(number, 0.5, 0.1, seed, tails))
        unseen = drawn(2000, 0.5, 0.1, 1000 + seed, tails)
        shares.append(np.mean([abs(r.error) <= found.sigma(r.point.distance) for r in unseen]))
    assert 0.60 < np.mean(shares) < 0.76


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 30)), min_size=2, max_size=40),
    st.floats(1e-3, 1),
)
def test_of_the_calibration_s_own_labels_two_thirds_are_within(pairs, floor):
    found = [Residual(point(e, d, family=str(i)), e, floor) for i, (e, d) in enumerate(pairs)]
    made = calibrate(found)
    within = np.mean([abs(r.error) <= 1.0001 * made.sigma(r.point.distance) for r in found])
    assert within >= 0.68 - 1 / len(found)
    assert made.sigma(0.0) == pytest.approx(floor)


def test_the_floor_is_what_holds_two_thirds_of_the_errors_where_it_was_trained():
    known = trained(0.2, 4000)
    found = calibrate(energy_errors([*known, point(0.1, 1.0)]))
    assert found.floor == pytest.approx(0.2, rel=0.05)
    assert found.within == 0  # of the committee's spread of 0.01 eV


def test_errors_of_a_worse_potential_count_in_its_own_units():
    """The round before was ten times worse everywhere: the calibration of this one is the same."""
    now, before = (drawn(2000, 0.5, floor, seed) for floor, seed in ((0.1, 0), (1.0, 1)))
    for residuals in (now, [*now, *before]):
        found = calibrate(residuals)
        assert (found.floor, found.slope) == pytest.approx((0.1, 0.05), rel=0.1)


def test_each_family_is_judged_by_the_others():
    # one family is wrong by far more than its distance says: the others cannot know that
    points = [
        point(r.error, r.point.distance, family=f"v_Cd/{i % 6}")
        for i, r in enumerate(drawn(60, 0.5, 0.1, 3))
    ]
    strange = [point(50.0, 1.0, family="v_Cd/strange") for _ in range(6)]
    residuals = energy_errors([*trained(), *points, *strange])
    found = calibrate(residuals)
    assert (found.labels, found.families, found.enough) == (66, 7, True)
    assert found.within_sigma == pytest.approx(0.69 * 60 / 66, abs=0.1)
    judged = with_sigmas([*points, *strange], residuals, found)
    assert max(p.sigma for p in judged[-6:]) < 1.0
    assert found.heads[0].within_sigma == pytest.approx(
        np.mean([abs(p.predicted - p.energy) <= p.sigma for p in judged])
    )


def test_a_family_has_no_part_in_its_own_judgement():
    small = [point(e, 1.0, family="v_Cd/small") for e in (0.2, -0.2, 0.2)]
    large = [point(e, 1.0, family="v_Cd/large") for e in (2.0, -2.0, 2.0)]
    known = [point(0.1, 0.0, split="train")]
    residuals = energy_errors([*known, *small, *large])
    found = calibrate(residuals)
    assert found.within_sigma == 0.5
    judged = with_sigmas([*known, *small, *large], residuals, found)
    assert [p.sigma for p in judged] == pytest.approx([0.1] + [2.0] * 3 + [0.2] * 3)


def test_what_was_trained_on_and_the_bulk_say_nothing():
    assert calibrate(energy_errors([point(0.1, 1.0, split="train")])) is None
    assert calibrate(energy_errors([point(0.1, 1.0, state=BULK)])) is None
    few = calibrate(energy_errors([*trained(), point(0.005, 1.0), point(0.3, 0.1)]))
    assert (few.labels, few.within, few.within_sigma, few.enough) == (2, 0.5, None, False)


def test_errors_common_to_a_state_drop_out_of_differences():
    points = [
        *(point(2.0 + e, 0.0, split="train") for e in (-0.01, 0.01)),
        point(2.03, 0.5),
        point(1.98, 0.5, family="v_Cd/y"),
        point(0.3, 0.5, state="v_Cd_-1"),  # nothing trained on to compare with
    ]
    found = difference_errors(points)
    assert [item.error for item in found] == pytest.approx([0.03, -0.02])
    assert [item.floor for item in found] == pytest.approx([0.01, 0.01])
    assert calibrate(found).sigma(0.5) < 0.1 < calibrate(energy_errors(points)).sigma(0.5)


def test_what_a_round_adds_is_counted():
    points = [point(0.1, 1.0), point(0.1, 1.0, split=LATER, family="v_Cd/search/0/Dimer")]
    found = calibrate(energy_errors(points))
    assert (found.labels, found.later, found.families) == (2, 1, 2)


def test_every_head_is_counted():
    heads = ["pbe"] * 8 + ["hse06"] * 4
    points = [point(0.1, 0.1, fidelity=h, family=str(i)) for i, h in enumerate(heads)]
    found = calibrate(energy_errors(points))
    assert {head.fidelity: head.labels for head in found.heads} == {"pbe": 8, "hse06": 4}
