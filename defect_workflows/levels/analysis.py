"""What is computed of one state against the bulk: correction, degeneracies, host states."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, Literal

from monty.json import MontyDecoder

from defect_workflows.charge import NELECT_TOLERANCE
from defect_workflows.documents.base import Matrix3D, Vector3D
from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.levels import (
    Degeneracy,
    HostStates,
    LevelCalculation,
    Scheme,
    StateAnalysis,
)
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.levels.corrections import correct
from defect_workflows.levels.entries import calculated_entry

if TYPE_CHECKING:
    from doped.core import DefectEntry
    from pydefect.analyzer.band_edge_states import BandEdgeOrbitalInfos, EdgeInfo

OCCUPIED = 0.5
"""A one-electron state with more electrons than this counts as occupied."""


def analyse(
    state: DefectState,
    calculation: LevelCalculation,
    bulk: LevelCalculation,
    dielectric: float | Vector3D | Matrix3D | None,
    scheme: Scheme | Literal["auto"],
) -> StateAnalysis:
    """Return correction, degeneracies and band-edge analysis of a state.

    Parameters as in `correct`.

    Raises
    ------
    CorrectionError
        If a charged state cannot be corrected. What else cannot be found out is left out, with a
        warning: it concerns concentrations and hints, not levels.
    """
    entry = calculated_entry(state, calculation, bulk)
    correction, profile = correct(entry, calculation, bulk, dielectric, scheme)
    found: list[LevelWarning] = []
    degeneracy = host_states = None
    try:
        if not far_atoms_stay(entry):
            found.append(_far_atoms_moved(state.name))
    except Exception as problem:  # as below
        found.append(_unknown("far_atoms_unknown", state.name, "atoms far away", problem))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            degeneracy = degeneracies(entry, calculation, bulk)
    except Exception as problem:  # spglib and doped raise whatever comes up
        found.append(_unknown("degeneracy_unknown", state.name, "degeneracies", problem))
    if calculation.projected is not None and bulk.projected is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                host_states = find_host_states(entry, calculation, bulk)
        except Exception as problem:  # pydefect raises where no state resembles the bulk's edges
            found.append(_unknown("host_states_unknown", state.name, "band edges", problem))
    return StateAnalysis(
        correction=correction,
        profile=profile,
        degeneracy=degeneracy,
        host_states=host_states,
        warnings=found,
    )


def far_atoms_stay(entry: DefectEntry) -> bool:
    """Tell whether the atoms far from the defect lie where the bulk has them, to doped's 0.5 Å."""
    from doped.utils.parsing import check_atom_mapping_far_from_defect

    bulk: Any = entry.bulk_supercell
    defect: Any = entry.defect_supercell
    site = entry.calculation_metadata["bulk_site"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(
            check_atom_mapping_far_from_defect(bulk, defect, site.frac_coords, warning=False)
        )


def degeneracies(
    entry: DefectEntry, calculation: LevelCalculation, bulk: LevelCalculation
) -> Degeneracy:
    """Return spin multiplicity and orientations of a state, both relative to the bulk's.

    The spin is the calculation's moment, rounded to what the number of electrons allows; without a
    moment the smallest spin is taken (doped's rules).
    """
    from doped.utils.symmetry import get_orientational_degeneracy, point_symmetry_from_defect_entry

    relaxed = str(point_symmetry_from_defect_entry(entry, relaxed=True))
    site = str(point_symmetry_from_defect_entry(entry, relaxed=False))
    orientation = None
    # doped knows no order of some point groups
    with contextlib.suppress(ValueError):
        orientation = float(
            get_orientational_degeneracy(relaxed_point_group=relaxed, bulk_site_point_group=site)
        )
    return Degeneracy(
        spin=round(spin_multiplicity(calculation) / spin_multiplicity(bulk)),
        orientation=orientation,
        point_group=relaxed,
        site_point_group=site,
    )


def spin_multiplicity(calculation: LevelCalculation) -> int:
    """Return 2S+1 of a calculation: its moment rounded to what its electrons allow.

    Its electrons are NELECT: a core may hold an odd number of them (4f), and pseudo-hydrogens have
    fractions of one. Without NELECT they are those of the atoms.
    """
    structure = calculation.structure
    electrons = calculation.nelect
    if electrons is None:
        electrons = sum(site.specie.Z for site in structure) - calculation.charge
    moment = abs(calculation.magnetization or 0.0)
    if abs(electrons - round(electrons)) > NELECT_TOLERANCE:  # no parity
        return round(moment) + 1
    odd = round(electrons) % 2
    return 2 * max(round((moment - odd) / 2), 0) + odd + 1


def find_host_states(
    entry: DefectEntry, calculation: LevelCalculation, bulk: LevelCalculation
) -> HostStates:
    """Compare the one-electron states of defect and bulk (pydefect's analysis, through doped)."""
    decode = MontyDecoder().process_decoded
    vbm, cbm = _edges(decode(bulk.projected))
    entry.calculation_metadata["eigenvalue_data"] = {
        "band_orb": decode(calculation.projected),
        "vbm_info": vbm,
        "cbm_info": cbm,
    }
    states: Any = entry.get_eigenvalue_analysis(plot=False)
    return HostStates(
        shallow_donor=bool(states.has_donor_phs),
        shallow_acceptor=bool(states.has_acceptor_phs),
        cbm_electrons=float(sum(state.cbm_electron_occupation for state in states.states)),
        vbm_holes=float(sum(state.vbm_hole_occupation for state in states.states)),
        localised_states=sum(len(state.localized_orbitals) for state in states.states),
    )


def _edges(infos: BandEdgeOrbitalInfos) -> tuple[EdgeInfo, EdgeInfo]:
    """Return the band edges of the bulk among its one-electron states."""
    from pydefect.analyzer.band_edge_states import EdgeInfo

    states = [
        EdgeInfo(infos.lowest_band_index + band, tuple(infos.kpt_coords[k]), state)
        for spin in infos.orbital_infos
        for k, bands in enumerate(spin)
        for band, state in enumerate(bands)
    ]
    occupied = [state for state in states if state.occupation > OCCUPIED]
    empty = [state for state in states if state.occupation <= OCCUPIED]
    return (
        max(occupied, key=lambda state: state.energy),
        min(empty, key=lambda state: state.energy),
    )


def _far_atoms_moved(state: str) -> LevelWarning:
    return LevelWarning(
        code="atoms_moved_far_away",
        message=f"{state}: atoms far from the defect do not lie where the bulk has them: another "
        "cell than the bulk's, one that is too small, or a host that is not at its own minimum",
    )


def _unknown(code: str, state: str, what: str, problem: Exception) -> LevelWarning:
    reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:120]}"
    return LevelWarning(code=code, message=f"{state}: {what} could not be analysed ({reason})")
