"""Errors and calibration from labels beside predictions."""

import numpy as np
import pytest

from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.evaluate import calibration, error_table


def point(error, spread, split="test", charge=0, atoms=10):
    return ParityPoint(
        split=split,
        fidelity="hse06",
        charge=charge,
        state="v_Cd_0",
        family="v_Cd/x",
        atoms=atoms,
        energy=-100.0,
        predicted=-100.0 + error,
        spread=spread,
        force_rmse=0.1,
    )


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_the_scale_is_what_the_spread_is_wrong_by(factor):
    errors = np.random.default_rng(0).normal(0, factor, 4000)
    found = calibration([point(error, spread=1.0) for error in errors])
    assert found.labels == 4000
    assert found.scale == pytest.approx(factor, rel=0.05)
    assert (found.within == pytest.approx(0.68, abs=0.03)) is (factor == 1.0)


def test_calibration_is_of_held_out_labels_alone():
    assert calibration([point(0.1, 1.0, split="train")]) is None
    assert calibration([point(0.1, 0.0)]) is None
    found = calibration([point(5.0, 1.0, split="train"), point(0.5, 1.0), point(2.0, 1.0)])
    assert (found.labels, found.within) == (2, 0.5)


def test_errors_per_charge_and_of_all():
    table = error_table([point(0.1, 1.0), point(-0.3, 1.0, charge=-1)])
    rmse = {record.charge: record.energy_rmse for record in table}
    assert rmse[0] == pytest.approx(0.01)
    assert rmse[-1] == pytest.approx(0.03)
    assert rmse[None] == pytest.approx(np.sqrt((0.01**2 + 0.03**2) / 2))
