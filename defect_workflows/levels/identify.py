"""Which defect a finished calculation holds: from the structures, by doped."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pymatgen.core import PeriodicSite, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from defect_workflows.calculations import state_name
from defect_workflows.documents.base import Vector3D
from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.levels import LevelCalculation
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import IdentificationError
from defect_workflows.levels.align import in_frame
from defect_workflows.levels.entries import CELL_TOLERANCE, bare, cell_difference
from defect_workflows.levels.names import Changes, contradicts, describe

if TYPE_CHECKING:
    from doped.core import Defect


def identify(
    name: str, calculation: LevelCalculation, bulk: LevelCalculation
) -> tuple[DefectState, LevelCalculation, list[LevelWarning]]:
    """Find out which defect a calculation holds.

    Parameters
    ----------
    name
        Name that the user gave it, without charge; it is kept.
    calculation
        Relaxed defect supercell with its charge. Atoms may be in another order than the bulk's,
        and the cell may be shifted against it.
    bulk
        The pristine supercell.

    Returns
    -------
    DefectState
        The state, with doped's defect.
    LevelCalculation
        The calculation in the frame of the bulk, with the site of the defect.
    list of LevelWarning
        What is odd about it.

    Raises
    ------
    IdentificationError
        If the two cells do not differ by one point defect, or the name says another one.
    """
    from doped.core import DefectEntry

    state = state_name(name, calculation.charge)
    changes = changed_atoms(state, calculation.structure, bulk.structure)
    if contradicts(name, changes):
        raise IdentificationError(
            f"{state}: found {describe(changes)} in the structure, "
            f"expected what the name says ({name})"
        )
    difference = cell_difference(calculation.structure, bulk.structure)
    if difference > CELL_TOLERANCE * max(bulk.structure.lattice.abc):
        raise IdentificationError(
            f"{state}: lattice vectors differ from the bulk's by {difference:.3f} Å, "
            "expected the same cell"
        )
    calculation, found = in_frame(state, calculation, bulk)
    structure, perfect = bare(calculation.structure), bare(bulk.structure)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what doped warns of is checked here
            try:
                defect, site, origin = _in_primitive_cell(structure, perfect)
            except Exception as problem:
                defect, site, origin = _in_supercell(structure, perfect)
                found.append(
                    LevelWarning(
                        code="multiplicity_unknown",
                        message=f"{state}: equivalent sites of the defect could not be counted "
                        f"({type(problem).__name__}): concentrations are per supercell site",
                    )
                )
    except Exception as problem:  # doped and pymatgen raise whatever comes up
        reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        raise IdentificationError(
            f"{state}: the defect could not be identified ({reason}), "
            "expected the bulk's supercell with one point defect"
        ) from problem
    entry = DefectEntry(
        defect=defect,
        charge_state=calculation.charge,
        sc_entry=ComputedStructureEntry(structure, calculation.energy),
        name=state,
    )
    document = DefectState(
        name=state,
        defect=name,
        charge=calculation.charge,
        structure=calculation.structure,
        site=_coordinates(origin),
        entry=entry,
    )
    return document, calculation.model_copy(update={"defect_site": _coordinates(site)}), found


def _in_primitive_cell(
    structure: Structure, perfect: Structure
) -> tuple[Defect, PeriodicSite, PeriodicSite]:
    """Return doped's defect in the primitive cell, its relaxed site and its site in the bulk."""
    from doped.analysis import defect_and_info_from_structures

    defect, site, info = defect_and_info_from_structures(
        perfect, structure, skip_atom_mapping_check=True, oxi_state="N/A"
    )
    return defect, site, info["bulk_site"]


def _in_supercell(
    structure: Structure, perfect: Structure
) -> tuple[Defect, PeriodicSite, PeriodicSite]:
    """Return the same with the supercell in place of the primitive cell."""
    from doped import core
    from doped.utils.parsing import get_defect_type_site_idxs_and_unrelaxed_structure

    kind: Any
    bulk_index: Any
    index: Any
    kind, bulk_index, index, _ = get_defect_type_site_idxs_and_unrelaxed_structure(
        perfect, structure
    )
    # a vacancy is no atom of the defect cell, an interstitial none of the bulk
    site = perfect[bulk_index] if index is None else structure[index]
    origin = site if bulk_index is None else perfect[bulk_index]
    made = PeriodicSite(site.species, origin.frac_coords, perfect.lattice)
    defect = getattr(core, kind.capitalize())(perfect, made, multiplicity=1, oxi_state="N/A")
    return defect, site, origin


def changed_atoms(state: str, structure: Structure, bulk: Structure) -> Changes:
    """Return atoms added and removed against the bulk, which must make one point defect.

    Raises
    ------
    IdentificationError
        If they do not.
    """
    mine, theirs = (item.composition.get_el_amt_dict() for item in (structure, bulk))
    changes = {
        symbol: int(mine.get(symbol, 0) - theirs.get(symbol, 0))
        for symbol in sorted({*mine, *theirs})
        if mine.get(symbol, 0) != theirs.get(symbol, 0)
    }
    if sorted(changes.values()) not in ([-1], [1], [-1, 1]):
        raise IdentificationError(
            f"{state}: found {describe(changes)} against the bulk "
            f"({bulk.composition.formula.replace(' ', '')}), expected one vacancy, substitution or "
            "interstitial of the same host and supercell"
        )
    return changes


def _coordinates(site: PeriodicSite) -> Vector3D:
    x, y, z = (float(value) for value in site.frac_coords)
    return x, y, z
