"""From the committee's spread to a standard deviation that holds on labels nobody has seen."""

from __future__ import annotations

import numpy as np
import pytest

from defect_workflows.documents.defects import BULK
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.calibration import (
    Residual,
    calibrate,
    difference_errors,
    energy_errors,
    fit,
    with_sigmas,
)


def point(error, spread, split="test", state="v_Cd_0", family="v_Cd/x", fidelity="hse06"):
    return ParityPoint(
        split=split,
        fidelity=fidelity,
        charge=0,
        state=state,
        family=family,
        atoms=10,
        energy=-100.0,
        predicted=-100.0 + error,
        spread=spread,
        members=[-100.0 + error - spread / np.sqrt(2), -100.0 + error + spread / np.sqrt(2)],
        force_rmse=0.1,
    )


def drawn(number, scale, floor, seed, tails=None):
    """Spreads and errors whose sigma is known; errors of Student's t where tails are given."""
    random = np.random.default_rng(seed)
    spreads = random.lognormal(-3, 1.0, number)
    shape = random.standard_t(tails, number) if tails else random.normal(size=number)
    return shape * np.hypot(scale * spreads, floor), spreads


@pytest.mark.parametrize(("scale", "floor"), [(3.0, 0.001), (0.5, 0.05), (2.0, 0.1)])
def test_scale_and_floor_are_found(scale, floor):
    found = fit(*drawn(4000, scale, floor, 0))
    assert found[0] == pytest.approx(scale, rel=0.15)
    assert found[1] == pytest.approx(floor, rel=0.3, abs=0.003)


@pytest.mark.parametrize("tails", [None, 3])
@pytest.mark.parametrize("number", [12, 40])
def test_one_sigma_holds_two_thirds_of_unseen_errors(number, tails):
    shares = []
    for seed in range(40):
        scale, floor = fit(*drawn(number, 2.0, 0.1, seed, tails))
        errors, spreads = drawn(2000, 2.0, 0.1, 1000 + seed, tails)
        shares.append(np.mean(np.abs(errors) <= np.hypot(scale * spreads, floor)))
    assert 0.60 < np.mean(shares) < 0.76


def test_a_committee_that_agrees_exactly_is_not_believed():
    errors = np.random.default_rng(0).normal(0, 0.2, 100)
    found = calibrate([Residual(point(e, 0.0), e, 0.0) for e in errors])
    assert found.within == 0
    assert found.sigma(0.0) == pytest.approx(0.2, rel=0.15)


def test_each_family_is_judged_by_the_others():
    # one family is wrong by far more than its spread says: the others cannot know that
    errors, spreads = drawn(60, 1.0, 0.01, 3)
    points = [
        point(float(e), float(s), family=f"v_Cd/{i % 6}")
        for i, (e, s) in enumerate(zip(errors, spreads, strict=True))
    ]
    strange = [point(5.0, 0.01, family="v_Cd/strange") for _ in range(6)]
    found = calibrate(energy_errors([*points, *strange]))
    assert (found.labels, found.families, found.enough) == (66, 7, True)
    assert found.within_sigma == pytest.approx(0.69 * 60 / 66, abs=0.1)
    judged = with_sigmas([*points, *strange], found)
    assert max(p.sigma for p in judged[-6:]) < 1.0
    assert found.heads[0].within_sigma == pytest.approx(
        np.mean([abs(p.predicted - p.energy) <= p.sigma for p in judged])
    )


def test_a_family_has_no_part_in_its_own_judgement():
    small = [point(e, 0.1, family="v_Cd/small") for e in (0.01, -0.01, 0.01)]
    large = [point(e, 0.1, family="v_Cd/large") for e in (1.0, -1.0, 1.0)]
    found = calibrate(energy_errors([*small, *large]))
    assert found.within_sigma == 0.5
    judged = with_sigmas([*small, *large], found)
    assert [p.sigma for p in judged] == pytest.approx([1.0] * 3 + [0.01] * 3, rel=0.2)


def test_what_was_trained_on_and_the_bulk_say_nothing():
    assert calibrate(energy_errors([point(0.1, 1.0, split="train")])) is None
    assert calibrate(energy_errors([point(0.1, 1.0, state=BULK)])) is None
    few = calibrate(energy_errors([point(0.1, 1.0), point(0.3, 0.1)]))
    assert (few.labels, few.within, few.within_sigma, few.enough) == (2, 0.5, None, False)


def test_errors_common_to_a_state_drop_out_of_differences():
    points = [
        *(point(2.0 + e, 0.5, split="train") for e in (-0.01, 0.01)),
        point(2.03, 0.5),
        point(1.98, 0.5, family="v_Cd/y"),
        point(0.3, 0.5, state="v_Cd_-1"),  # nothing trained on to compare with
    ]
    found = difference_errors(points)
    assert [item.error for item in found] == pytest.approx([0.03, -0.02])
    assert [item.spread for item in found] == pytest.approx([0.0, 0.0])
    assert calibrate(found).sigma(0.0) < 0.1 < calibrate(energy_errors(points)).sigma(0.5)


def test_every_head_is_counted():
    heads = ["pbe"] * 8 + ["hse06"] * 4
    points = [point(0.1, 0.1, fidelity=h, family=str(i)) for i, h in enumerate(heads)]
    found = calibrate(energy_errors(points))
    assert {head.fidelity: head.labels for head in found.heads} == {"pbe": 8, "hse06": 4}
