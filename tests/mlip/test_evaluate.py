"""Errors from labels beside predictions."""

import numpy as np
import pytest

from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.evaluate import error_table


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
        distance=0.0,
        force_rmse=0.1,
    )


def test_errors_per_charge_and_of_all():
    table = error_table([point(0.1, 1.0), point(-0.3, 1.0, charge=-1)])
    rmse = {record.charge: record.energy_rmse for record in table}
    assert rmse[0] == pytest.approx(0.01)
    assert rmse[-1] == pytest.approx(0.03)
    assert rmse[None] == pytest.approx(np.sqrt((0.01**2 + 0.03**2) / 2))
