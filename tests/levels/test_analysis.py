"""What is computed of one state without its correction."""

import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.documents.levels import LevelCalculation
from defect_workflows.levels.analysis import spin_multiplicity


@pytest.mark.parametrize(
    ("element", "charge", "nelect", "moment", "multiplicity"),
    [
        ("Mg", 0, 2, 0.0, 1),
        ("Mg", 0, None, 2.0, 3),  # atomic number 12
        ("Mg", 1, None, None, 2),
        ("Yb", 1, 7, 1.0, 2),  # Yb_3: 13 electrons 4f in the core
        ("Yb", 0, 9, 0.0, 2),  # the same, neutral: 70 electrons of the atom are even
        ("Er", 0, 9, 1.0, 2),  # Er_3: 68 - 9 electrons in the core
        ("H", 0, 2, 0.0, 1),  # pseudo-hydrogens H1.25 and H.75
        ("H", 0, 1.25, 0.25, 1),
    ],
)
def test_spin_follows_from_the_electrons_of_the_calculation(
    element, charge, nelect, moment, multiplicity
):
    calculation = LevelCalculation(
        structure=with_charge(Structure(Lattice.cubic(4), [element], [[0, 0, 0]]), charge),
        energy=-1.0,
        magnetization=moment,
        nelect=nelect,
        functional="PE",
    )
    assert spin_multiplicity(calculation) == multiplicity
