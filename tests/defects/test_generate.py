import numpy as np
import pytest

from defect_workflows.campaign import DefectSettings, SupercellSettings
from defect_workflows.charge import charge_of
from defect_workflows.defects.generate import generate, supercell_matrix
from defect_workflows.errors import InputError
from defect_workflows.moments import moments_of

SMALL = SupercellSettings(matrix=[2, 2, 2], min_atoms=10)
EPSILON = ((9.8, 0, 0), (0, 9.8, 0), (0, 0, 9.8))


@pytest.fixture
def primitive(mgo):
    return mgo.get_primitive_structure()


def make(primitive, **defects):
    return generate(primitive, SMALL, DefectSettings.model_validate(defects), EPSILON)


def test_an_explicit_list_overrides_guessing(primitive):
    found = make(primitive, include=[{"name": "v_O", "charges": [0, 1, 2]}])
    assert {(s.name, s.defect, s.charge) for s in found.states} == {
        ("v_O_0", "v_O", 0),
        ("v_O_+1", "v_O", 1),
        ("v_O_+2", "v_O", 2),
    }
    for state in found.states:
        assert charge_of(state.structure) == state.charge
        assert len(state.structure) == 15
    assert charge_of(found.pristine.structure) == 0
    assert np.allclose(
        found.states[0].structure.lattice.matrix, found.host.supercell.lattice.matrix
    )


def test_charges_are_guessed_by_doped_when_none_are_given(primitive):
    found = make(primitive, include=[{"name": "v_O"}])
    assert {0, 2} <= {state.charge for state in found.states}


def test_kinds_are_chosen(primitive):
    assert {s.defect for s in make(primitive, kinds=["vacancies"]).states} == {"v_O", "v_Mg"}
    assert {s.defect for s in make(primitive, kinds=["antisites"]).states} == {"Mg_O", "O_Mg"}


def test_extrinsic_elements(primitive):
    found = make(primitive, include=[{"name": "Li_Mg", "charges": [-1]}])
    assert found.states[0].structure.composition["Li"] == 1


def test_an_unknown_defect_is_refused_with_the_nearest(primitive):
    with pytest.raises(InputError, match=r"found 'v_Q', expected one of .*v_O"):
        make(primitive, include=[{"name": "v_Q"}])


@pytest.mark.parametrize("limits", [{"min_atoms": 50}, {"min_atoms": 1, "max_atoms": 10}])
def test_a_supercell_outside_its_limits_is_refused(primitive, limits):
    settings = SupercellSettings(matrix=[2, 2, 2], **limits)
    with pytest.raises(InputError, match="found 16 atoms"):
        supercell_matrix(primitive, settings)


def test_the_supercell_is_chosen_by_doped_otherwise(primitive):
    matrix = supercell_matrix(primitive, SupercellSettings(min_image_distance=8.0, min_atoms=20))
    assert abs(np.linalg.det(matrix)) * 2 >= 20


def test_host_atoms_keep_their_moments_and_new_ones_have_none(magnetic_defects):
    host = magnetic_defects.host.supercell
    assert sorted(moments_of(host)) == [-2] * 8 + [0] * 16 + [2] * 8
    assert moments_of(magnetic_defects.pristine.structure) == moments_of(host)
    # every nickel has the moment of the host's nickel at its place
    states = {state.name: state.structure for state in magnetic_defects.states}
    for structure in states.values():
        for site, moment in zip(structure, moments_of(structure), strict=True):
            nearest = min(host, key=lambda other: other.distance(site))
            expected = nearest.properties["magmom"] if site.specie.symbol != "Mn" else 0
            assert moment == expected
    assert sum(map(abs, moments_of(states["v_O_0"]))) == 32
    assert sum(map(abs, moments_of(states["Mn_Ni_0"]))) == 30


def test_a_host_without_order_has_no_moments(primitive):
    found = make(primitive, include=[{"name": "v_O", "charges": [0]}])
    assert "magmom" not in found.pristine.structure.site_properties
    assert "magmom" not in found.states[0].structure.site_properties
