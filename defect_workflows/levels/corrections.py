"""Finite-size corrections of charged supercells, from what is in the labels (no files).

doped does the science (eFNV: Kumagai & Oba, Phys. Rev. B 89, 195205; FNV: Freysoldt, Neugebauer &
Van de Walle, Phys. Rev. Lett. 102, 016402). Here its input is taken from documents, and a
correction that fails is an error, where doped itself would only warn.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from monty.json import MontyDecoder
from pymatgen.core import PeriodicSite
from pymatgen.entries.computed_entries import ComputedStructureEntry

from defect_workflows.campaign import dielectric_tensor
from defect_workflows.charge import charge_of
from defect_workflows.documents.base import Matrix3D, Vector3D
from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.labels import Label
from defect_workflows.documents.levels import Correction, Scheme
from defect_workflows.errors import CorrectionError

if TYPE_CHECKING:
    from doped.core import DefectEntry
    from pymatgen.core import Structure

CELL_TOLERANCE = 0.01
"""Largest difference of the lattice vectors of bulk and defect in Å (doped's own tolerance)."""

ENTRY_KEYS: dict[Scheme, str] = {
    "eFNV": "kumagai_charge_correction",
    "FNV": "freysoldt_charge_correction",
}
"""doped's names of the corrections in `DefectEntry.corrections`."""


def correct(
    state: DefectState,
    label: Label,
    bulk_label: Label,
    dielectric: float | Vector3D | Matrix3D,
    scheme: Scheme,
) -> Correction:
    """Return the finite-size correction of a charged state.

    Parameters
    ----------
    state
        The defect state; says which defect it is and where it sits in the bulk.
    label
        Its final single point (relaxed structure, charge, site potentials or planar averages).
    bulk_label
        The same of the pristine supercell.
    dielectric
        High-frequency + ionic dielectric constant: a number, three numbers or a 3x3 tensor, in
        the Cartesian axes of the supercell.
    scheme
        'eFNV' needs site potentials, 'FNV' planar averages of the LOCPOT; 'none' leaves a charged
        state uncorrected, visibly.

    Returns
    -------
    Correction
        Energy and error in eV. The error is doped's: for eFNV the standard error of the mean of
        the sampled site potentials times abs(q), for FNV their standard deviation times abs(q).

    Raises
    ------
    CorrectionError
        If what the scheme needs is missing, bulk and defect do not fit together, or doped fails.
    """
    if label.fidelity != bulk_label.fidelity:
        raise CorrectionError(
            f"{state.name}: found a calculation at {label.fidelity}, expected the bulk's "
            f"{bulk_label.fidelity}"
        )
    entry = calculated_entry(state, label.configuration.structure, label.energy, bulk_label)
    if state.charge == 0:
        return Correction(scheme=scheme, energy=0.0, error=0.0)
    if scheme == "none":
        return Correction(scheme="none", energy=0.0, error=None)
    tensor: np.ndarray = np.array(dielectric_tensor(dielectric))
    method = {"eFNV": _kumagai, "FNV": _freysoldt}[scheme]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages below; the outcome is checked here
            energy, error = method(entry, label, bulk_label, tensor)
    except CorrectionError:
        raise
    except Exception as problem:  # doped, pydefect and pymatgen raise whatever comes up
        reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        raise CorrectionError(f"{state.name}: {scheme} correction failed ({reason})") from problem
    if not (np.isfinite(energy) and np.isfinite(error)):
        raise CorrectionError(
            f"{state.name}: {scheme} correction is {energy} ± {error} eV, expected finite numbers "
            "(is the supercell large enough for a sampling region?)"
        )
    return Correction(scheme=scheme, energy=float(energy), error=float(error))


def calculated_entry(
    state: DefectState, structure: Structure, energy: float, bulk_label: Label
) -> DefectEntry:
    """Return doped's DefectEntry of a calculated state: relaxed structure and raw energies.

    Parameters
    ----------
    structure
        Relaxed supercell, which carries its charge.
    energy
        Its raw energy in eV, on the scale of the bulk's.

    Raises
    ------
    CorrectionError
        If charge or cell are not what state and bulk say.
    """
    _check(state, structure, bulk_label)
    structure = _uncharged(structure)
    bulk = _uncharged(bulk_label.configuration.structure)
    entry: DefectEntry = MontyDecoder().process_decoded(state.entry)
    site = defect_site(state, structure, entry)
    entry.name = state.name
    entry.charge_state = state.charge
    entry.sc_entry = ComputedStructureEntry(structure, energy)
    entry.bulk_entry = ComputedStructureEntry(bulk, bulk_label.energy)
    entry.sc_defect_frac_coords = tuple(site.frac_coords)
    entry.defect_supercell = structure
    entry.defect_supercell_site = site
    entry.bulk_supercell = bulk
    entry.corrections = {}
    entry.corrections_metadata = {}
    entry.calculation_metadata = {
        "bulk_site": PeriodicSite(site.species, state.site, structure.lattice)
    }
    return entry


def defect_site(state: DefectState, structure: Structure, entry: DefectEntry) -> PeriodicSite:
    """Return where the defect sits in a relaxed supercell.

    For a vacancy that is the empty site of the bulk; for the others the atom of the added element
    that is nearest to the defect's unrelaxed site.

    Raises
    ------
    CorrectionError
        If the structure has no atom of the added element.
    """
    added = [element.symbol for element, n in entry.defect.element_changes.items() if n > 0]
    if not added:
        return PeriodicSite(entry.defect.site.species, state.site, structure.lattice)
    atoms = [site for site in structure if site.specie.symbol in added]
    if not atoms:
        raise CorrectionError(f"{state.name}: found no {added[0]} atom in its calculation")
    return min(atoms, key=lambda site: site.distance_and_image_from_frac_coords(state.site)[0])


def _check(state: DefectState, structure: Structure, bulk_label: Label) -> None:
    if (charge := charge_of(structure)) != state.charge:
        raise CorrectionError(
            f"{state.name}: found a calculation of charge {charge:+d}, expected {state.charge:+d}"
        )
    if bulk_label.charge != 0:
        raise CorrectionError(f"bulk: found charge {bulk_label.charge:+d}, expected 0")
    bulk_cell = bulk_label.configuration.structure.lattice.matrix
    difference = np.abs(structure.lattice.matrix - bulk_cell).max()
    if difference > CELL_TOLERANCE:
        raise CorrectionError(
            f"{state.name}: lattice vectors differ from the bulk's by {difference:.3f} Å, "
            "expected the same cell"
        )


def _uncharged(structure: Structure) -> Structure:
    """Return a copy as doped and pydefect expect it: bare elements; the entry has the charge."""
    copy = structure.copy()
    copy.properties = {}  # pymatgen's copies share the properties, so the dict must not be changed
    copy.remove_oxidation_states()
    copy.unset_charge()
    return copy


def _kumagai(
    entry: DefectEntry, label: Label, bulk_label: Label, tensor: np.ndarray
) -> tuple[float, float]:
    for role, item in ((entry.name, label), ("bulk", bulk_label)):
        atoms, potentials = len(item.configuration.structure), item.site_potentials
        if potentials is None or len(potentials) != atoms:
            found = "none" if potentials is None else str(len(potentials))
            raise CorrectionError(
                f"{role}: site potentials: found {found}, expected {atoms} for eFNV"
            )
    for role, item in (("defect", label), ("bulk", bulk_label)):
        # doped's sign is minus that of VASP's OUTCAR
        entry.calculation_metadata[f"{role}_site_potentials"] = -np.array(item.site_potentials)
    outcome: Any = entry.get_kumagai_correction(tensor, return_correction_error=True, verbose=False)
    result, error = outcome
    return result.correction_energy, error


def _freysoldt(
    entry: DefectEntry, label: Label, bulk_label: Label, tensor: np.ndarray
) -> tuple[float, float]:
    planes = []
    for role, item in ((entry.name, label), ("bulk", bulk_label)):
        if item.planar_potential is None:
            raise CorrectionError(
                f"{role}: LOCPOT: found no planar averages, expected three for FNV"
            )
        planes.append(item.planar_potential)
    defect, bulk = planes
    if defect.content != bulk.content:
        raise CorrectionError(
            f"{entry.name}: LOCPOT holds {defect.content}, that of the bulk {bulk.content}, "
            "expected the same (LVHAR) in both"
        )
    grids = [tuple(len(axis) for axis in plane.averages) for plane in planes]
    if grids[0] != grids[1] or len(grids[0]) != 3:
        raise CorrectionError(
            f"{entry.name}: LOCPOT grid {grids[0]} differs from the bulk's {grids[1]}"
        )
    outcome: Any = entry.get_freysoldt_correction(
        float(3 / np.sum(1 / np.diag(tensor))),  # FNV is isotropic: doped takes the harmonic mean
        defect_locpot={axis: np.array(line) for axis, line in enumerate(defect.averages)},
        bulk_locpot={axis: np.array(line) for axis, line in enumerate(bulk.averages)},
        return_correction_error=True,
        verbose=False,
    )
    result, error = outcome
    return result.correction_energy, error
