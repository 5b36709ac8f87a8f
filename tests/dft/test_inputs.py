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
    settings = DftSettings(incar={"nkred": 2})
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
