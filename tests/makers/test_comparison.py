"""Bulk and states: which of them can be used together."""

import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.calculations import DefectCalculation
from defect_workflows.charge import with_charge
from defect_workflows.dft.differences import Difference
from defect_workflows.dft.finished import read_calculation
from defect_workflows.levels.checks import Notes
from defect_workflows.makers.comparison import note_host_run, note_vacuum, without_edges
from defect_workflows.makers.finished import ReadState, choose_lowest, excited

GRAPHENE = Structure(Lattice.hexagonal(2.46, 15), ["C"] * 2, [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]])


@pytest.fixture(scope="module")
def bulk(data_dir):
    folder = data_dir / "04_mgo_pbesol_full/Defects/Pre_Calculated_Results/MgO_bulk/vasp_std"
    return read_calculation(folder, planes=False)


def with_edges(bulk, **update):
    return bulk.model_copy(update={"band_edges": bulk.band_edges.model_copy(update=update)})


def test_an_insulator_shows_its_band_edges(bulk):
    assert without_edges(bulk) is None
    assert excited(bulk) is None


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"cbm": 3.0}, "below an occupied one"),
        ({"partial": 0.45}, "occupied by 0.45 or 0.55"),
    ],
)
def test_a_metal_or_an_excited_bulk_shows_none(bulk, update, message):
    assert message in without_edges(with_edges(bulk, **update))


@pytest.mark.parametrize(
    ("update", "found"),
    [
        ({"nupdown": 2.0}, True),  # a triplet in 108 primitive cells
        ({"nupdown": None, "magnetization": 2.0}, True),
        ({"nupdown": 0.0, "magnetization": 0.0}, False),
        ({"nupdown": None, "magnetization": None}, False),
        ({"nupdown": 216.0, "magnetization": 216.0}, False),  # a ferromagnet, 2 per cell
    ],
)
def test_excited_bulk(bulk, update, found):
    assert (excited(bulk.model_copy(update=update)) is not None) is found


def state(bulk, energy, folder, **theory):
    level = bulk.level_of_theory.model_copy(update=theory)
    finished = bulk.model_copy(update={"energy": energy, "level_of_theory": level})
    return ReadState(DefectCalculation(name="v_O", charge=0, dir=folder), finished)


def test_only_the_bulks_level_of_theory_competes(bulk):
    right, higher = state(bulk, -10.0, "right"), state(bulk, -9.0, "higher")
    lower = state(bulk, -12.0, "lower", encut=300.0, functional="PE")
    used, others = choose_lowest([lower, higher, right], bulk)
    assert used == [right]
    found = {item.directory: item for item in others}
    assert found["higher"].above == pytest.approx(1.0)
    assert found["lower"].above is None
    assert found["lower"].differs == [
        "functional: found PE, the bulk has PS",
        "encut: found 300.0, the bulk has 450.0",
    ]


def test_where_all_differ_the_one_that_differs_least(bulk):
    least = state(bulk, -10.0, "least", encut=400.0)
    most = state(bulk, -12.0, "most", encut=300.0, functional="PE")
    unconverged = state(bulk, -13.0, "unconverged", encut=400.0)
    unconverged = ReadState(
        unconverged.asked, unconverged.finished.model_copy(update={"scf_converged": False})
    )
    used, _ = choose_lowest([most, unconverged, least], bulk)
    assert used == [least]


def test_spin_only_lowers_an_energy(bulk):
    without = state(bulk, -10.0, "without")
    polarized = state(bulk, -12.0, "with", spin_polarized=not bulk.level_of_theory.spin_polarized)
    used, _ = choose_lowest([without, polarized], bulk)
    assert used == [polarized]


@pytest.mark.parametrize(("charges", "count"), [([0, 1, 2], 1), ([0], 0)])
def test_vacuum_is_said_once(bulk, charges, count):
    notes = Notes()
    slab = bulk.model_copy(update={"structure": with_charge(GRAPHENE * [4, 4, 1], 0)})
    note_vacuum(notes, slab, charges)
    note_vacuum(notes, bulk, charges)
    assert [item.code for item in notes.all] == ["charged_in_vacuum"] * count


def test_runs_of_the_host_are_told_apart(tmp_path):
    notes = Notes()
    found = [Difference("functional", "PE", "PS"), Difference("encut", "600.0", "450.0")]
    note_host_run(notes, "dielectric", tmp_path, found)
    note_host_run(notes, "dos", tmp_path, found)
    assert [item.code for item in notes.all] == [
        "dielectric_mismatch", "dielectric_settings", "dos_mismatch", "dos_settings",
    ]  # fmt: skip
    assert all(str(tmp_path) in item.message for item in notes.all)
