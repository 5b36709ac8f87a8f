import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import DftSettings
from defect_workflows.charge import charge_of, with_charge
from defect_workflows.dft.inputs import (
    SinglePointSet,
    incar_settings,
    potcar_symbol,
    reordered,
    vasp_order,
)
from defect_workflows.errors import UnknownFidelityError


def test_the_fidelities_differ_in_the_functional_alone():
    settings = DftSettings(encut=420, hybrid_fraction=0.3, hybrid_screening=0.2, dispersion=12)
    low, high = (incar_settings(settings, fidelity) for fidelity in ("pbe", "hse06"))
    different = {key for key in low.keys() | high.keys() if low.get(key) != high.get(key)}
    assert different == {"LHFCALC", "AEXX", "HFSCREEN", "PRECFOCK", "LWAVE"}
    assert (high["AEXX"], high["HFSCREEN"]) == (0.3, 0.2)
    assert low["ENCUT"] == 420
    assert low["IVDW"] == 12


def test_free_settings_reach_both_fidelities():
    settings = DftSettings(incar={"nkred": 2}, kpoints=(2, 2, 2))
    for fidelity in ("pbe", "hse06"):
        assert incar_settings(settings, fidelity)["NKRED"] == 2


def test_an_unknown_fidelity_is_refused():
    with pytest.raises(UnknownFidelityError):
        incar_settings(DftSettings(), "hse")


@pytest.mark.parametrize("charge", [-2, 0, 1])
def test_nelect_follows_the_charge(rehearsal, rehearsal_variables, mgo, charge):
    from pymatgen.core import SETTINGS

    folder = rehearsal_variables["DEFECT_WORKFLOWS_POTCAR_DIRECTORY"]
    rehearsal.setitem(SETTINGS, "PMG_VASP_PSP_DIR", folder)
    inputs = SinglePointSet.from_settings(DftSettings(kpoints=(2, 2, 1)), "hse06")
    written = inputs.get_input_set(with_charge(mgo, charge))
    assert written.incar["NELECT"] == 8 * (2 + 6) - charge
    assert written.kpoints.kpts[0] == (2, 2, 1)
    assert [potcar.symbol for potcar in written.potcar] == ["Mg", "O"]


def test_potcar_of_the_campaign_or_doped():
    assert potcar_symbol(DftSettings(), "O") == "O"
    assert potcar_symbol(DftSettings(potcars={"O": "O_s"}), "O") == "O_s"


@given(st.permutations(["Mg", "O", "Mg", "O", "Cl"]), st.integers(-3, 3))
def test_the_order_of_the_poscar_groups_species_and_keeps_the_charge(species, charge):
    coordinates = [[i / 5, 0, 0] for i in range(5)]
    structure = with_charge(Structure(Lattice.cubic(20), species, coordinates), charge)
    order = vasp_order(structure)
    sorted_structure = reordered(structure, order)
    symbols = [site.specie.symbol for site in sorted_structure]
    assert len(list(dict.fromkeys(symbols))) == sum(
        one != other for one, other in zip([None, *symbols], symbols, strict=False)
    )
    assert charge_of(sorted_structure) == charge
    assert [structure[i] for i in order] == list(sorted_structure)


@pytest.fixture
def written(rehearsal, rehearsal_variables):
    """The INCAR that a single point of a configuration gets, in the order of its POSCAR."""
    from pymatgen.core import SETTINGS

    folder = rehearsal_variables["DEFECT_WORKFLOWS_POTCAR_DIRECTORY"]
    rehearsal.setitem(SETTINGS, "PMG_VASP_PSP_DIR", folder)

    def write(structure, settings, fidelity="pbe"):
        structure = reordered(structure, vasp_order(structure))
        return SinglePointSet.from_settings(settings, fidelity).get_input_set(structure)

    return write


@pytest.mark.parametrize("fidelity", ["pbe", "hse06"])
def test_the_magnetic_order_of_the_host_reaches_the_incar(written, magnetic_defects, fidelity):
    settings = DftSettings()
    host = magnetic_defects.pristine.structure
    for structure in (host, *(state.structure for state in magnetic_defects.states)):
        inputs = written(structure, settings, fidelity)
        assert inputs.incar["ISPIN"] == 2
        assert len(inputs.incar["MAGMOM"]) == len(structure)
        for site, moment in zip(inputs.poscar.structure, inputs.incar["MAGMOM"], strict=True):
            nearest = min(host, key=lambda other: other.distance(site))
            own = site.specie.symbol == nearest.specie.symbol
            assert moment == (nearest.properties["magmom"] if own else 0)
    assert "MAGMOM =" in str(inputs.incar)


@pytest.mark.parametrize("kind", ["rattle", "distortion", "path", "bulk"])
def test_so_do_the_moments_of_what_is_sampled(written, magnetic_defects, kind):
    from defect_workflows.campaign import SamplingSettings
    from defect_workflows.defects.sample import sample

    settings = SamplingSettings(per_state=12, bulk=1, distortions=[-0.3], rattle_amplitudes=[0.05])
    found = sample(magnetic_defects.states, magnetic_defects.host.supercell, settings)
    item = next(item for item in found if item.origin.kind == kind)
    moments = written(item.structure, DftSettings(), "hse06").incar["MAGMOM"]
    assert sorted(moments) == sorted(site.properties["magmom"] for site in item.structure)
    assert set(moments) == {-2, 0, 2}


def test_new_elements_get_the_moment_that_the_user_gives(written, magnetic_defects):
    doped = next(state for state in magnetic_defects.states if state.name == "Mn_Ni_0")
    settings = DftSettings(incar={"MAGMOM": {"Mn": 5}})
    inputs = written(doped.structure, settings)
    by_element = {}
    for site, moment in zip(inputs.poscar.structure, inputs.incar["MAGMOM"], strict=True):
        by_element.setdefault(site.specie.symbol, set()).add(moment)
    assert by_element == {"Ni": {-2, 2}, "Mn": {5}, "O": {0}}


def test_without_an_order_magmom_is_the_users_or_that_of_vasp(written, mgo):
    structure = with_charge(mgo, 0)
    assert "MAGMOM" not in written(structure, DftSettings()).incar
    found = written(structure, DftSettings(incar={"MAGMOM": {"Mg": 1, "O": -1}})).incar
    assert found["MAGMOM"] == [1] * 8 + [-1] * 8


def test_hubbard_terms_reach_one_fidelity_alone(written, magnetic_defects):
    terms = {"LDAU": True, "LDAUL": {"Ni": 2}, "LDAUU": {"Ni": 6.3}, "LDAUJ": {"Ni": 0}}
    settings = DftSettings(pbe_incar=terms)
    for state in magnetic_defects.states:
        inputs = written(state.structure, settings)
        columns = zip(inputs.poscar.site_symbols, inputs.incar["LDAUU"], strict=True)
        assert {symbol for symbol, u in columns if u == 6.3} == {"Ni"}
        assert inputs.incar["LDAU"] is True
        assert not any(
            tag.startswith("LDAU") for tag in written(state.structure, settings, "hse06").incar
        )
    both = DftSettings(pbe_incar=terms, hse06_incar=terms)
    assert written(state.structure, both, "hse06").incar["LDAU"] is True


def test_noble_gases_have_a_place_in_the_poscar():
    structure = Structure(
        Lattice.cubic(9), ["Si", "He", "Cu", "Si", "He"], [[i / 5] * 3 for i in range(5)]
    )
    order = vasp_order(structure)
    assert [structure[i].specie.symbol for i in order] == ["Cu", "Si", "Si", "He", "He"]
