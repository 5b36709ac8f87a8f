"""Competing phases: of what lies below a folder, what counts is at the bulk's level of theory."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.dft.finished import read_calculation
from defect_workflows.documents.labels import KpointMesh
from defect_workflows.makers.phases import choose_phases, read_phase

MGO = "04_mgo_pbesol_full"
PHASES = {"O2": "O2_mmm_EaH_0", "Mg": "Mg_Fm-3m_EaH_0", "MgO": "MgO_Fm-3m_EaH_0"}


@pytest.fixture(scope="module")
def bulk(data_dir):
    folder = data_dir / MGO / "Defects/Pre_Calculated_Results/MgO_bulk/vasp_std"
    return read_calculation(folder, planes=False)


@pytest.fixture(scope="module")
def phases(data_dir):
    folder = data_dir / MGO / "CompetingPhases"
    return {name: read_phase(folder / one / "vasp_std") for name, one in PHASES.items()}


def changed(phase, theory=None, **update):
    level = phase.level_of_theory.model_copy(update=theory or {})
    return phase.model_copy(update={"level_of_theory": level, **update})


def chosen(bulk, *read):
    used, warnings = choose_phases(read, bulk, [], 0.05)
    return used, [(item.code, item.message) for item in warnings]


def test_what_agrees_is_silent(bulk, phases):
    used, warnings = chosen(bulk, *phases.values())
    assert used == list(phases.values())
    assert warnings == []


@pytest.mark.parametrize(
    ("theory", "code"),
    [
        ({"functional": "PE"}, "functional_mismatch"),
        ({"encut": 300.0}, "encut_mismatch"),
        ({"potcars": ["PAW_PBE O_h 06Feb2004"]}, "potcar_mismatch"),
        ({"aspherical": False}, "lasph_mismatch"),
        ({"dispersion": 12}, "dispersion_mismatch"),
        ({"exact_exchange": 0.25}, "exact_exchange_mismatch"),
    ],
)
def test_settings_of_a_phase_are_named(bulk, phases, theory, code):
    other = changed(phases["O2"], theory)
    used, warnings = chosen(bulk, other, phases["Mg"])
    assert used == [other, phases["Mg"]]
    ((found, message),) = warnings
    assert found == code
    assert other.directory in message
    assert "the bulk has" in message


@pytest.mark.parametrize(
    "theory",
    [
        {"spin_polarized": True},
        {"real_space_projection": False},
        {"kpoint_mesh": KpointMesh(divisions=(3, 3, 3), shift=(0.5, 0.5, 0.5))},
    ],
)
def test_what_is_a_phases_own(bulk, phases, theory):
    assert chosen(bulk, changed(phases["Mg"], theory))[1] == []


@pytest.mark.parametrize(
    ("theory", "reason"),
    [
        ({"encut": 300.0}, "encut: found 300.0"),
        ({"kpoint_mesh": KpointMesh(divisions=(3, 3, 3), shift=(0, 0, 0))}, "coarser mesh"),
    ],
)
def test_tests_of_convergence_do_not_compete(bulk, phases, theory, reason):
    """A test that lies lower, in another cell of the same phase."""
    right = phases["MgO"]
    cell = with_charge(right.structure * [1, 1, 2], 0) if "encut" in theory else right.structure
    test = changed(right, theory, energy=2 * right.energy - 3, structure=cell, directory="test")
    used, ((code, message),) = chosen(bulk, test, right)
    assert used == [right]
    assert code == "calculation_left_out"
    assert "test" in message
    assert reason in message


def test_of_tests_alone_the_one_that_differs_least(bulk, phases):
    coarse = changed(phases["MgO"], {"encut": 300.0, "functional": "PE"}, energy=-20.0)
    fine = changed(phases["MgO"], {"encut": 400.0}, directory="fine")
    used, warnings = chosen(bulk, coarse, fine)
    assert used == [fine]
    assert sorted(code for code, _ in warnings) == ["calculation_left_out", "encut_mismatch"]


def test_polymorphs_and_molecules_in_other_boxes(bulk, phases):
    """Another structure is another phase; a molecule is the same in every box."""
    positions = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    hcp = Structure(Lattice.hexagonal(3.2, 5.2), ["Mg"] * 2, positions)
    other = changed(phases["Mg"], {"encut": 300.0}, structure=with_charge(hcp, 0))
    assert chosen(bulk, phases["Mg"], other)[0] == [phases["Mg"], other]
    atoms = phases["O2"].structure.cart_coords
    box = Structure(Lattice.cubic(14), ["O", "O"], atoms, coords_are_cartesian=True)
    larger = changed(phases["O2"], {"encut": 300.0}, structure=with_charge(box, 0))
    assert chosen(bulk, phases["O2"], larger)[0] == [phases["O2"]]


def test_phases_that_are_not_relaxed(bulk, phases):
    _, warnings = chosen(bulk, changed(phases["O2"], ionic_converged=False))
    assert [code for code, _ in warnings] == ["ionic_not_converged"]
    forces = [(0.0, 0.0, 0.3), (0.0, 0.0, -0.3)]
    _, warnings = chosen(bulk, changed(phases["O2"], ionic_converged=None, forces=forces))
    assert [code for code, _ in warnings] == ["residual_force"]
    assert np.abs(phases["O2"].forces).max() < 0.05


@pytest.mark.parametrize(
    ("theory", "update"),
    [
        ({}, {"magnetization": 0.0, "nupdown": 0.0}),
        ({}, {"magnetization": None, "nupdown": 0.0}),
        ({"spin_polarized": False}, {"magnetization": None, "nupdown": None}),
    ],
)
def test_oxygen_is_a_triplet(bulk, phases, theory, update):
    _, warnings = chosen(bulk, changed(phases["O2"], theory, **update))
    assert [code for code, _ in warnings] == ["molecule_excited"]
    assert "its ground state has 2" in warnings[0][1]


def test_charged_phases_are_left_out(bulk, phases):
    charged = changed(phases["O2"], structure=with_charge(phases["O2"].structure, 1))
    used, ((code, message),) = chosen(bulk, charged)
    assert used == []
    assert code == "calculation_left_out"
    assert "charge +1" in message


def test_dipole_corrections_are_for_molecules(bulk, phases):
    settings = {"IDIPOL": "4", "LDIPOL": "T"}
    molecule = changed(phases["O2"], settings=phases["O2"].settings | settings)
    crystal = changed(phases["MgO"], settings=phases["MgO"].settings | settings)
    used, ((_, message),) = chosen(bulk, molecule, crystal)
    assert used == [molecule]
    assert "IDIPOL = 4" in message
