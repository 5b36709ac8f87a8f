import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import LevelSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.labels import PlanarPotential
from defect_workflows.documents.levels import LevelCalculation
from defect_workflows.levels.align import DRIFT, rigid_shift, shifted
from defect_workflows.levels.analysis import analyse
from defect_workflows.levels.identify import identify
from defect_workflows.levels.states import StateCalculation
from defect_workflows.levels.thermodynamics import defect_levels

SHIFT = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


def crystal():
    cell = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.48), ["Cd", "Te"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    return cell.make_supercell([[2, 0, 0], [0, 1, 1], [0, -1, 1]], in_place=False)


@given(shift=SHIFT, seed=st.integers(0, 100), removed=st.integers(0, 31))
@settings(max_examples=25, deadline=None)
def test_shift_is_found_through_a_relaxation(shift, seed, removed):
    """The atoms come back to those of the bulk, up to a lattice translation of the host."""
    bulk = crystal()
    random = np.random.default_rng(seed)
    defect = bulk.copy()
    defect.remove_sites([removed])
    moves = random.normal(0, 0.04, (len(defect), 3))
    for index, move in enumerate(moves):
        defect.translate_sites([index], move, frac_coords=False)
    defect.translate_sites(range(len(defect)), shift)
    defect = Structure.from_sites([defect[i] for i in random.permutation(len(defect))])
    defect.translate_sites(range(len(defect)), rigid_shift(defect, bulk))
    distances = bulk.lattice.get_all_distances(defect.frac_coords, bulk.frac_coords)
    for site, row in zip(defect, distances, strict=True):
        assert row.min() < 0.35
        assert bulk[int(row.argmin())].specie == site.specie


def test_a_relaxation_is_not_a_shift():
    bulk = crystal()
    defect = bulk.copy()
    centre = bulk[0]
    defect.remove_sites([0])
    for index, site in enumerate(defect):
        distance, image = centre.distance_and_image(site)
        if distance < 3:  # the neighbours of the vacancy move outwards
            way = bulk.lattice.get_cartesian_coords(site.frac_coords + image - centre.frac_coords)
            defect.translate_sites([index], 0.2 * way / distance, frac_coords=False)
    assert not rigid_shift(defect, bulk).any()


@pytest.mark.parametrize("slide", [1.2, 1.6])
def test_the_larger_part_says_where_the_bulk_is(slide):
    """Some atoms slide one way, so that without a force on the whole the others slide back."""
    bulk = crystal()
    defect = bulk.copy()
    defect.remove_sites([0])
    slid = [i for i, site in enumerate(defect) if (site.frac_coords[0] + 0.01) % 1 < 0.45]
    assert (len(slid), len(defect)) == (15, 31)
    defect.translate_sites(slid, [0, slide, 0], frac_coords=False)
    back = len(slid) / len(defect) * slide
    for i, move in enumerate(np.random.default_rng(0).normal(0, 0.05, (31, 3))):
        defect.translate_sites([i], move - [0, back, 0], frac_coords=False)
    shift = bulk.lattice.get_cartesian_coords(rigid_shift(defect, bulk))
    assert shift == pytest.approx([0, back, 0], abs=0.04)


@given(shift=SHIFT)
@settings(max_examples=25, deadline=None)
def test_planar_averages_move_along(shift):
    points = np.arange(48) / 48
    lines = [np.cos(2 * np.pi * (points - 0.3)) + 0.2 * np.sin(6 * np.pi * points)] * 3
    cell = with_charge(crystal(), 0)
    calculation = LevelCalculation(
        structure=cell,
        energy=0.0,
        functional="PE",
        planar_potential=PlanarPotential(averages=[line.tolist() for line in lines], content="x"),
    )
    moved = shifted(calculation, np.array(shift)).planar_potential
    for part, line in zip(shift, moved.averages, strict=True):
        expected = np.cos(2 * np.pi * (points - part - 0.3)) + 0.2 * np.sin(
            6 * np.pi * (points - part)
        )
        assert np.allclose(line, expected, atol=1e-9)


def test_levels_do_not_depend_on_the_origin(vacancy, published):
    """Real V_Cd -2, drifted as relaxations do: the same correction, and a note."""
    state, calculation, bulk = vacancy
    host = published[0].model_copy(update={"dielectric": (9.13 * np.eye(3)).tolist()})

    def levels(one):
        return defect_levels(
            host, bulk, [StateCalculation(state, one)], LevelSettings(dielectric=9.13)
        ).levels

    there = levels(calculation)
    moved = shifted(calculation, np.array([0.07, -0.03, 0.0]))
    here = levels(moved.model_copy(update={"defect_site": None}))
    assert here.states[0].correction.energy == pytest.approx(
        there.states[0].correction.energy, abs=1e-3
    )
    assert "cell_shifted" in here.states[0].warnings
    assert "cell_shifted" not in there.states[0].warnings


def test_a_host_that_leaves_its_own_structure_is_noted(vacancy):
    """Half of the cell, far from the defect as well as near to it, slides by 1 Å."""
    state, calculation, bulk = vacancy
    slid = calculation.structure.copy()
    far = [index for index, site in enumerate(slid) if site.frac_coords[0] < 0.5]
    slid.translate_sites(far, [0, 1.0, 0], frac_coords=False)
    for one, noted in ((calculation, False), (with_structure(calculation, slid), True)):
        found = analyse(state, one, bulk, 9.13, "eFNV").warnings
        assert ("atoms_moved_far_away" in [warning.code for warning in found]) == noted


def with_structure(calculation, structure):
    return calculation.model_copy(update={"structure": structure})


@pytest.mark.parametrize("scheme", ["eFNV", "FNV"])
def test_shifted_and_shuffled_cells_have_the_same_correction(vacancy, scheme):
    """Real V_Cd -2: the defect cell moved as a whole and its atoms in another order."""
    state, calculation, bulk = vacancy
    expected = analyse(state, calculation, bulk, 9.13, scheme).correction

    @given(shift=SHIFT, seed=st.integers(0, 100))
    @settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
    @example(shift=(0.0, 0.0, 0.25), seed=0)
    @example(shift=(0.002, 0.0, 0.0), seed=1)
    def check(shift, seed):
        order = np.random.default_rng(seed).permutation(len(calculation.structure))
        sites = [calculation.structure[i] for i in order]
        changes = {
            "structure": with_charge(Structure.from_sites(sites), -2),
            "site_potentials": [calculation.site_potentials[i] for i in order],
            "defect_site": None,
        }
        moved = shifted(calculation.model_copy(update=changes), np.array(shift))
        found, back, _ = identify("v_Cd", moved, bulk)
        correction = analyse(found, back, bulk, 9.13, scheme).correction
        # a small drift is not undone
        drifted = np.linalg.norm(bulk.structure.lattice.get_cartesian_coords(shift)) < DRIFT
        tolerance = expected.error if drifted else 1e-3
        assert correction.energy == pytest.approx(expected.energy, abs=tolerance)

    check()
