from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge


@pytest.fixture
def vacancy() -> Structure:
    """A CsCl-like 2x2x2 supercell with one atom missing, neutral."""
    cell = Structure(Lattice.cubic(3.5), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    supercell = (cell * (2, 2, 2)).get_sorted_structure()
    supercell.remove_sites([0])
    return with_charge(supercell, 0)


def shaken(structure: Structure, amplitude: float, seed: int) -> Structure:
    other = structure.copy()
    rng = np.random.default_rng(seed)
    for index, vector in enumerate(rng.normal(0, amplitude, (len(other), 3))):
        other.translate_sites([index], vector, frac_coords=False, to_unit_cell=False)
    return other
