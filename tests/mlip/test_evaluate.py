"""Errors from labels beside predictions."""

from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.evaluate import compared, error_table


def point(error, spread, split="test", charge=0, atoms=10, force=0.1):
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
        force_rmse=force,
    )


def test_errors_per_charge_and_of_all():
    table = error_table([point(0.1, 1.0), point(-0.3, 1.0, charge=-1)])
    rmse = {record.charge: record.energy_rmse for record in table}
    assert rmse[0] == pytest.approx(0.01)
    assert rmse[-1] == pytest.approx(0.03)
    assert rmse[None] == pytest.approx(np.sqrt((0.01**2 + 0.03**2) / 2))


def test_every_force_component_counts_the_same():
    small = point(0.0, 1.0, atoms=2, force=0.3)
    large = point(0.0, 1.0, atoms=8, force=0.1, charge=-1)
    table = error_table([small, large, point(0.0, 1.0, split="train", force=9.0)])
    rmse = {(record.split, record.charge): record.force_rmse for record in table}
    assert rmse["test", 0] == pytest.approx(0.3)
    assert rmse["test", -1] == pytest.approx(0.1)
    assert rmse["test", None] == pytest.approx(np.sqrt((2 * 0.3**2 + 8 * 0.1**2) / 10))
    assert rmse["train", None] == pytest.approx(9.0)


class Guess:
    """A potential that is off by known amounts, in energy and in one component of the forces."""

    heads = ("pbe", "hse06")

    def predict(self, structures, head):
        energy, force = {"pbe": (0.5, 0.6), "hse06": (-0.2, 0.3)}[head]
        forces = np.array([[0.1, 0.2, 0.3], [-0.1 + force, -0.2, -0.3]])
        return [
            SimpleNamespace(
                energy=-5.0 + energy, forces=forces, spread=0.1, distance=0.7,
                members=np.array([-5.0, -5.0 + 2 * energy]),
            )
            for _ in structures
        ]  # fmt: skip


def label(fidelity):
    structure = with_charge(Structure(Lattice.cubic(4), ["Mg", "O"], [[0] * 3, [0.5] * 3]), -1)
    origin = Origin(state="v_Mg_-1", family="v_Mg/x", kind="search")
    return Label(
        fingerprint=fidelity, configuration=ChargedConfiguration.of(structure, origin),
        fidelity=fidelity, energy=-5.0, forces=[(0.1, 0.2, 0.3), (-0.1, -0.2, -0.3)],
        stress=np.zeros((3, 3)).tolist(), nelect=1, rehearsal=True,
        level_of_theory=LevelOfTheory(
            functional="PE", exact_exchange=0.25, screening=0.2, encut=300, precision="Accurate",
            spin_polarized=False, dispersion=0, kpoints=[(0, 0, 0)], potcars=[],
        ),
    )  # fmt: skip


def test_labels_are_compared_with_their_own_head_in_energy_and_forces():
    points = compared(Guess(), "valid", [label("hse06"), label("pbe")])
    found = {one.fidelity: (one.predicted - one.energy, one.force_rmse) for one in points}
    # one of the six components is off
    assert found["pbe"] == (pytest.approx(0.5), pytest.approx(0.6 / np.sqrt(6)))
    assert found["hse06"] == (pytest.approx(-0.2), pytest.approx(0.3 / np.sqrt(6)))
    assert {(one.split, one.charge, one.atoms) for one in points} == {("valid", -1, 2)}
