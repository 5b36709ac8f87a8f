"""doped's DefectEntry of a calculated state, from documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from monty.json import MontyDecoder
from pymatgen.core import PeriodicSite
from pymatgen.entries.computed_entries import ComputedStructureEntry

from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.levels import LevelCalculation
from defect_workflows.errors import CorrectionError

if TYPE_CHECKING:
    from doped.core import DefectEntry
    from pymatgen.core import Structure

CELL_TOLERANCE = 0.005
"""Lattice vectors of bulk and defect may differ by this share of their length: beyond it the strain
energy of the supercell is larger than what levels are asked for."""


def calculated_entry(
    state: DefectState, calculation: LevelCalculation, bulk: LevelCalculation
) -> DefectEntry:
    """Return doped's DefectEntry of a calculated state: relaxed structure and raw energies.

    Parameters
    ----------
    state
        The defect state; says which defect it is and where it sits in the bulk.
    calculation
        Relaxed supercell with its charge, raw energy on the scale of the bulk's.
    bulk
        The pristine supercell.

    Raises
    ------
    CorrectionError
        If functional, charge or cell are not what state and bulk say.
    """
    _check(state, calculation, bulk)
    structure = bare(calculation.structure)
    bulk_structure = bare(bulk.structure)
    entry: DefectEntry = MontyDecoder().process_decoded(state.entry)
    site = defect_site(state, calculation, entry)
    entry.name = state.name
    entry.charge_state = state.charge
    entry.sc_entry = ComputedStructureEntry(structure, calculation.energy)
    entry.bulk_entry = ComputedStructureEntry(bulk_structure, bulk.energy)
    entry.sc_defect_frac_coords = tuple(site.frac_coords)
    entry.defect_supercell = structure
    entry.defect_supercell_site = site
    entry.bulk_supercell = bulk_structure
    entry.corrections = {}
    entry.corrections_metadata = {}
    entry.calculation_metadata = {
        "bulk_site": PeriodicSite(site.species, state.site, structure.lattice)
    }
    return entry


def defect_site(
    state: DefectState, calculation: LevelCalculation, entry: DefectEntry
) -> PeriodicSite:
    """Return where the defect sits in a relaxed supercell.

    Where it was not identified before: for a vacancy that is the empty site of the bulk; for the
    others the atom of the added element that is nearest to the defect's unrelaxed site.

    Raises
    ------
    CorrectionError
        If the structure has no atom of the added element.
    """
    structure = calculation.structure
    if calculation.defect_site is not None:
        return PeriodicSite(entry.defect.site.species, calculation.defect_site, structure.lattice)
    added = [element.symbol for element, n in entry.defect.element_changes.items() if n > 0]
    if not added:
        return PeriodicSite(entry.defect.site.species, state.site, structure.lattice)
    atoms = [site for site in bare(structure) if site.specie.symbol in added]
    if not atoms:
        raise CorrectionError(f"{state.name}: found no {added[0]} atom in its calculation")
    return min(atoms, key=lambda site: site.distance_and_image_from_frac_coords(state.site)[0])


def bare(structure: Structure) -> Structure:
    """Return a copy as doped and pydefect expect it: bare elements; the entry has the charge."""
    copy = structure.copy()
    copy.properties = {}  # pymatgen's copies share the properties, so the dict must not be changed
    copy.remove_oxidation_states()
    copy.unset_charge()
    return copy


def cell_difference(structure: Structure, bulk: Structure) -> float:
    """Return the largest difference of two cells' lattice vectors in Å."""
    return float(np.abs(structure.lattice.matrix - bulk.lattice.matrix).max())


def _check(state: DefectState, calculation: LevelCalculation, bulk: LevelCalculation) -> None:
    if calculation.charge != state.charge:
        raise CorrectionError(
            f"{state.name}: found a calculation of charge {calculation.charge:+d}, "
            f"expected {state.charge:+d}"
        )
    if bulk.charge != 0:
        raise CorrectionError(f"bulk: found charge {bulk.charge:+d}, expected 0")
    difference = cell_difference(calculation.structure, bulk.structure)
    if difference > CELL_TOLERANCE * max(bulk.structure.lattice.abc):
        raise CorrectionError(
            f"{state.name}: lattice vectors differ from the bulk's by {difference:.3f} Å, "
            "expected the same cell"
        )
