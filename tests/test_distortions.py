from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from states import cdte

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.distortions import (
    DIMER,
    RATTLED,
    UNPERTURBED,
    Distorter,
    bond_distortion,
    closest_contact,
    in_charge_state,
    rattled,
    seed_of,
)
from defect_workflows.errors import CampaignError


@pytest.fixture(scope="module")
def states():
    return {state.name: state for state in cdte().states}


@pytest.fixture(scope="module")
def neutral(states):
    return Distorter.from_state(states["v_Cd_0"])


def moved_atoms(structure, other):
    way = other.frac_coords - structure.frac_coords
    way = structure.lattice.get_cartesian_coords(way - np.round(way))
    return set(np.flatnonzero(np.linalg.norm(way, axis=1) > 1e-6).tolist())


def site_distances(distorter, structure):
    lattice = structure.lattice
    return np.sort(lattice.get_all_distances([distorter.site], structure.frac_coords)[0])


@pytest.mark.parametrize(
    ("state", "neighbours"),
    [("v_Cd_0", 2), ("v_Cd_-1", 1), ("v_Cd_-2", 0), ("Te_Cd_0", 4), ("Te_Cd_+2", 2)],
)
def test_the_charge_decides_how_many_neighbours_are_distorted(states, state, neighbours):
    distorter = Distorter.from_state(states[state])
    assert distorter.neighbours == neighbours
    distorted = distorter.shape(bond_distortion(-0.4)) if neighbours else distorter.shape(RATTLED)
    assert len(moved_atoms(distorter.structure, distorted)) == neighbours


def test_bond_lengths_are_what_the_name_says(neutral):
    before = site_distances(neutral, neutral.structure)
    after = site_distances(neutral, neutral.shape("Bond_Distortion_-40.0%"))
    assert after[:2] == pytest.approx(0.6 * before[:2])
    assert after[2:4] == pytest.approx(before[2:4])


def test_a_dimer_is_shorter_than_the_distance_of_the_neighbours(neutral):
    dimer = neutral.shape(DIMER)
    one, other = moved_atoms(neutral.structure, dimer)
    assert neutral.structure.get_distance(one, other) == pytest.approx(6.48 / np.sqrt(2), abs=1e-3)
    assert dimer.get_distance(one, other) == pytest.approx(2.76, abs=0.05)


def test_names(states, neutral):
    bonds = ["Bond_Distortion_-40.0%", "Bond_Distortion_12.5%"]
    assert neutral.names([-0.4, 0.125], dimer=True, antisites=False) == [
        UNPERTURBED,
        RATTLED,
        *bonds,
        DIMER,
    ]
    assert neutral.names([-0.4, 0.125], dimer=False, antisites=False) == [
        UNPERTURBED,
        RATTLED,
        *bonds,
    ]
    ionised = Distorter.from_state(states["v_Cd_-2"])
    assert ionised.names([-0.4], dimer=True, antisites=False) == [UNPERTURBED, RATTLED, DIMER]
    antisite = Distorter.from_state(states["Te_Cd_0"])
    assert antisite.names([-0.4], dimer=True, antisites=True) == [UNPERTURBED, RATTLED, bonds[0]]
    hop = "Antisite_Te"
    assert neutral.names([], dimer=True, antisites=True) == [UNPERTURBED, RATTLED, DIMER, hop]


def test_a_neighbour_of_another_element_moves_into_the_vacancy(neutral):
    moved = neutral.shape("Antisite_Te")
    (index,) = moved_atoms(neutral.structure, moved)
    assert moved[index].specie.symbol == "Te"
    assert site_distances(neutral, neutral.structure)[0] == pytest.approx(2.81, abs=0.01)
    assert site_distances(neutral, moved)[:4] == pytest.approx([0, 2.81, 2.81, 2.81], abs=0.01)
    assert charge_of(moved) == neutral.charge
    # a rattle leaves it where it is
    assert site_distances(neutral, neutral.distorted("Antisite_Te", 1))[0] == pytest.approx(0)


def vacancy(lattice, species, coords, missing):
    """A distorter of a vacancy in a 2x2x2 supercell, which lacks the atom at the origin."""
    cell = Structure(lattice, species, coords).make_supercell([2, 2, 2], in_place=False)
    (index,) = np.flatnonzero(np.all(np.isclose(cell.frac_coords, 0), axis=1))
    assert cell[index].specie.symbol == missing
    cell.remove_sites([index])
    return Distorter(cell, 0, 2, (0.0, 0.0, 0.0), None, missing, 0.2)


def test_neighbours_that_are_no_copies_each_move_into_the_vacancy():
    rock_salt = [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    stretched = vacancy(Lattice.orthorhombic(5.0, 5.0, 5.8), ["O", *3 * ["Mg"]], rock_salt, "O")
    assert list(stretched.hops) == ["Antisite_Mg", "Antisite_Mg_2"]
    distances = [site_distances(stretched, stretched.structure)[n] for n in (0, 4)]
    assert distances == pytest.approx([2.5, 2.9])
    for name, distance in zip(stretched.hops, distances, strict=True):
        (index,) = moved_atoms(stretched.structure, stretched.shape(name))
        lattice = stretched.structure.lattice
        start = stretched.structure.frac_coords[index]
        assert lattice.get_all_distances([[0, 0, 0]], [start])[0, 0] == pytest.approx(distance)
    far = vacancy(Lattice.orthorhombic(5.0, 5.0, 6.2), ["O", *3 * ["Mg"]], rock_salt, "O")
    assert list(far.hops) == ["Antisite_Mg"]


def test_atoms_of_the_missing_element_leave_nothing_new():
    element = vacancy(Lattice.cubic(3.0), ["Si", "Si"], [[0, 0, 0], [0.5, 0.5, 0.5]], "Si")
    assert element.hops == {}


@pytest.mark.parametrize("name", [UNPERTURBED, RATTLED, DIMER, "Bond_Distortion_-60.0%"])
def test_structures_follow_from_name_and_seed_and_carry_the_charge(states, name):
    state = states["v_Cd_-1"]
    structures = [Distorter.from_state(state).distorted(name, seed) for seed in (7, 7, 8)]
    assert [charge_of(structure) for structure in structures] == [-1, -1, -1]
    assert structures[0].charge == -1
    assert np.array_equal(structures[0].frac_coords, structures[1].frac_coords)
    other = np.abs(structures[0].frac_coords - structures[2].frac_coords).max()
    assert (other == 0) == (name == UNPERTURBED)


def test_the_order_of_making_does_not_matter(neutral):
    first = neutral.distorted(bond_distortion(0.2), 3)
    neutral.distorted(bond_distortion(-0.2), 3)
    assert np.array_equal(first.frac_coords, neutral.distorted(bond_distortion(0.2), 3).frac_coords)


def test_the_rattle_leaves_the_defect_and_its_distorted_neighbours(states, neutral):
    shape = neutral.shape(DIMER)
    rattled_dimer = neutral.distorted(DIMER, 1)
    dimer = moved_atoms(neutral.structure, shape)
    assert moved_atoms(shape, rattled_dimer) == set(range(len(shape))) - dimer
    antisite = Distorter.from_state(states["Te_Cd_0"])
    shape = antisite.shape(bond_distortion(0.2))
    moved = moved_atoms(shape, antisite.distorted(bond_distortion(0.2), 1))
    assert antisite.site_index not in moved
    assert len(moved) == len(shape) - 5


def test_the_default_amplitude_is_a_tenth_of_the_bond(neutral):
    assert neutral.amplitude == pytest.approx(0.1 * 6.48 * np.sqrt(3) / 4, abs=1e-3)


def test_the_amplitude_sets_how_far_atoms_go(neutral):
    def spread(amplitude):
        way = neutral.distorted(RATTLED, 1, amplitude).cart_coords - neutral.structure.cart_coords
        return np.sqrt(np.mean(way**2))

    assert spread(0.1) == pytest.approx(0.1, rel=0.4)
    assert spread(0.2) > 1.5 * spread(0.1)


def test_the_control_distorts_the_pristine_supercell():
    bulk = cdte().host.supercell
    control = Distorter.from_bulk(bulk)
    assert control.names([-0.4], dimer=True, antisites=False) == [
        UNPERTURBED,
        RATTLED,
        "Bond_Distortion_-40.0%",
    ]
    assert len(moved_atoms(bulk, control.shape(bond_distortion(-0.4)))) == 2
    assert charge_of(control.distorted(RATTLED, 1)) == 0


def test_nothing_is_printed_and_nothing_is_changed(states, capfd):
    state = states["v_Cd_0"]
    before = state.structure.as_dict()
    distorter = Distorter.from_state(state)
    distorter.distorted(DIMER, 1)
    distorter.distorted(bond_distortion(-0.6), 1)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert state.structure.as_dict() == before


def test_an_entry_of_another_charge_is_refused(states):
    wrong = states["v_Cd_0"].model_copy(update={"entry": states["v_Cd_-1"].entry})
    with pytest.raises(CampaignError, match="v_Cd_0: ShakeNBreak cannot count"):
        Distorter.from_state(wrong)


def test_a_geometry_in_another_charge_state_leaves_the_first_alone(states):
    structure = states["v_Cd_0"].structure
    other = in_charge_state(structure, -2)
    assert (charge_of(other), charge_of(structure)) == (-2, 0)


def test_rattled_leaves_the_still_atoms(states):
    structure = with_charge(states["v_Cd_0"].structure, 0)
    moved = moved_atoms(structure, rattled(structure, 0.05, 1, still=[0, 3]))
    assert moved == set(range(len(structure))) - {0, 3}


def test_contacts_are_in_units_of_covalent_radii(states):
    # Cd 1.44 Å and Te 1.38 Å at 2.806 Å
    contact = closest_contact(states["v_Cd_0"].structure)
    assert contact == pytest.approx(6.48 * np.sqrt(3) / 4 / 2.82, abs=1e-3)


def test_seeds_differ_and_stay():
    assert seed_of(1, "v_Cd", 0) == seed_of(1, "v_Cd", 0)
    seeds = {seed_of(1, "v_Cd", 0), seed_of(2, "v_Cd", 0), seed_of(1, "v_Cd", 1)}
    assert len(seeds) == 3
    # Recorded once: a seed must not change between versions of Python or of this package.
    assert seed_of(1, "v_Cd", 0) == 833173013
