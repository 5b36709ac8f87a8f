"""Defect states that several tests distort: CdTe, 16-atom supercell, by doped."""

from __future__ import annotations

import functools

from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import DefectSettings, SupercellSettings
from defect_workflows.defects.generate import generate
from defect_workflows.documents.defects import DefectSet

ISOTROPIC = ((10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (0.0, 0.0, 10.0))


@functools.cache
def cdte() -> DefectSet:
    """v_Cd with 0, -1 and -2, and Te_Cd with 0 and +2."""
    primitive = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.48), ["Cd", "Te"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    ).get_primitive_structure()
    defects = DefectSettings.model_validate(
        {
            "include": [
                {"name": "v_Cd", "charges": [0, -1, -2]},
                {"name": "Te_Cd", "charges": [0, 2]},
            ]
        }
    )
    supercell = SupercellSettings(matrix=[2, 2, 2], min_atoms=10)
    return generate(primitive, supercell, defects, ISOTROPIC)
