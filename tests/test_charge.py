import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from defect_workflows import charge
from defect_workflows.errors import InvalidChargeError, MissingChargeError

charges = st.integers(-6, 6)
NACL = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
VALENCES = {"Na": 1.0, "Cl": 7.0}


@given(charges)
def test_a_charge_survives_structure_dict_and_atoms(q):
    structure = Structure.from_dict(charge.with_charge(NACL, q).as_dict())
    assert charge.charge_of(structure) == q
    atoms = charge.to_atoms(structure)
    assert charge.charge_of_atoms(atoms) == q
    assert atoms.info["charge"] == atoms.info["total_charge"] == q
    assert NACL.properties == {}, "the structure given is left as it is"


@given(charges, charges)
def test_the_charge_of_the_original_stays(q, other):
    structure = charge.with_charge(NACL, q)
    assert charge.charge_of(charge.with_charge(structure, other)) == other
    assert charge.charge_of(structure) == q


def test_a_missing_charge_is_never_zero():
    with pytest.raises(MissingChargeError, match="found no charge"):
        charge.charge_of(NACL)
    with pytest.raises(MissingChargeError):
        charge.to_atoms(NACL)
    with pytest.raises(MissingChargeError, match="expected both"):
        charge.charge_of_atoms(Atoms("H", info={"charge": 0}))


def test_two_charges_that_contradict_each_other_are_refused():
    with pytest.raises(InvalidChargeError, match="contradicts"):
        charge.charge_of_atoms(Atoms("H", info={"charge": 0, "total_charge": 1}))


@pytest.mark.parametrize("value", [0.5, "two", None, True, float("nan"), float("inf"), [1]])
def test_only_integers_are_charges(value):
    with pytest.raises(InvalidChargeError, match="expected an integer"):
        charge.as_charge(value)


@given(charges)
def test_integers_in_any_dress_are_charges(q):
    assert charge.as_charge(float(q)) == charge.as_charge(str(q)) == q


@given(charges, st.integers(1, 50))
def test_nelect_and_back(q, cells):
    composition = {"Na": cells, "Cl": cells}
    electrons = charge.nelect(q, composition, VALENCES)
    assert electrons == 8 * cells - q
    assert charge.charge_from_nelect(electrons, composition, VALENCES) == q


def test_a_fractional_number_of_electrons_is_refused():
    with pytest.raises(InvalidChargeError, match=r"gives charge \+0.500"):
        charge.charge_from_nelect(7.5, {"Na": 1, "Cl": 1}, VALENCES)


def test_an_element_without_valence_is_refused():
    with pytest.raises(InvalidChargeError, match="Cl"):
        charge.nelect(0, {"Na": 1, "Cl": 1}, {"Na": 1.0})
