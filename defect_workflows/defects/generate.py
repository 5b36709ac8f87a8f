"""The host's supercell and its defects, by doped."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import warnings
from typing import Any

import numpy as np
from doped.core import DefectEntry
from doped.generation import DefectsGenerator, get_ideal_supercell_matrix
from pymatgen.core import Structure

from defect_workflows.campaign import DefectSettings, SupercellSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.defects import (
    BULK,
    PRISTINE,
    ChargedConfiguration,
    DefectSet,
    DefectState,
    HostDocument,
    Origin,
    defect_of,
)
from defect_workflows.errors import SettingError
from defect_workflows.moments import moments_by_site, moments_of, with_moments

logger = logging.getLogger(__name__)

_DEFECT_KINDS = {
    "vacancy": "vacancies",
    "substitution": "antisites",
    "interstitial": "interstitials",
}


def supercell_matrix(host: Structure, settings: SupercellSettings) -> np.ndarray:
    """Return the integer 3x3 matrix of the supercell: the explicit one, or doped's choice.

    Raises
    ------
    SettingError
        If the supercell has fewer or more atoms than allowed.
    """
    if settings.matrix is not None:
        matrix = np.array(settings.matrix, dtype=int)
        if round(abs(np.linalg.det(matrix))) == 0:
            raise SettingError(f"supercell.matrix: found {matrix.tolist()}, which has no volume")
    else:
        matrix = np.array(
            get_ideal_supercell_matrix(
                host,
                min_image_distance=settings.min_image_distance,
                min_atoms=settings.min_atoms,
            ),
            dtype=int,
        )
    atoms = round(abs(np.linalg.det(matrix))) * len(host)
    if not settings.min_atoms <= atoms <= settings.max_atoms:
        raise SettingError(
            f"supercell: found {atoms} atoms, expected {settings.min_atoms} to "
            f"{settings.max_atoms} (min_atoms, max_atoms)"
        )
    return matrix


def generate(
    primitive: Structure,
    supercell_settings: SupercellSettings,
    defect_settings: DefectSettings,
    dielectric: Matrix3D | None,
) -> DefectSet:
    """Return the host and every defect state that a campaign asks for.

    Parameters
    ----------
    primitive
        Host cell.
    supercell_settings, defect_settings
        Which supercell, which defects in which charge states.
    dielectric
        Dielectric tensor, high-frequency + ionic; None where charged states stay uncorrected.

    Raises
    ------
    SettingError
        If the supercell is too small or too large, or a named defect does not exist.
    """
    primitive = primitive.copy()
    primitive.remove_oxidation_states()
    supercell = primitive.make_supercell(
        supercell_matrix(primitive, supercell_settings), in_place=False
    ).get_sorted_structure()
    # doped knows no moments: what it makes gets those of the host's atoms where they stand
    generator = _doped_generator(with_moments(supercell, None), defect_settings)
    _check_frame(generator.bulk_supercell, supercell)
    states = [_state(entry, supercell) for entry in _entries(generator, defect_settings)]
    if not states:
        raise SettingError("defects: found no defect state, expected at least one")
    host = HostDocument(
        name=primitive.composition.reduced_formula,
        primitive=with_charge(generator.primitive_structure, 0),
        supercell=with_charge(_magnetic(generator.bulk_supercell, supercell), 0),
        supercell_matrix=np.array(generator.supercell_matrix, dtype=int).tolist(),
        dielectric=dielectric,
    )
    logger.info("%s: %d atoms, %d defect states", host.name, len(host.supercell), len(states))
    pristine = ChargedConfiguration.of(
        host.supercell,
        Origin(state=BULK, family=PRISTINE, kind="bulk"),
    )
    return DefectSet(host=host, pristine=pristine, states=states)


def _doped_generator(supercell: Structure, settings: DefectSettings) -> DefectsGenerator:
    """Run doped's generator on the supercell as it is, without its printing."""
    names = [request.name for request in settings.include or []]
    interstitials = (
        any("_i_" in name or name.endswith("_i") for name in names)
        if settings.include is not None
        else "interstitials" in settings.kinds
    )
    known = {element.symbol for element in supercell.composition.elements}
    extrinsic = list(settings.extrinsic) + sorted(
        {name.split("_")[0] for name in names} - known - {"v"} - set(settings.extrinsic)
    )
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            return DefectsGenerator(
                supercell,
                extrinsic=extrinsic or None,
                generate_supercell=False,
                interstitial_gen_kwargs=None if interstitials else False,
                processes=1,  # doped's own pool needs a __main__ guard
            )
        except ValueError as error:
            raise SettingError(f"defects: {' '.join(str(error).split())}") from None


def _entries(generator: DefectsGenerator, settings: DefectSettings) -> list[DefectEntry]:
    available: dict[str, list[DefectEntry]] = {}
    for name, entry in generator.defect_entries.items():
        available.setdefault(defect_of(name), []).append(entry)
    if settings.include is None:
        return [
            entry
            for entries in available.values()
            for entry in entries
            if _DEFECT_KINDS[entry.defect.defect_type.name.lower()] in settings.kinds
        ]
    chosen: list[DefectEntry] = []
    for request in settings.include:
        if request.name not in available:
            near = difflib.get_close_matches(request.name, list(available), n=3, cutoff=0.3)
            raise SettingError(
                f"defects.include: found {request.name!r}, expected one of "
                f"{', '.join(near or available)}"
            )
        if request.charges is not None:
            generator.add_charge_states(request.name, request.charges)
        entries = [
            entry
            for name, entry in generator.defect_entries.items()
            if defect_of(name) == request.name
        ]
        chosen += [
            entry
            for entry in entries
            if request.charges is None or entry.charge_state in request.charges
        ]
    return chosen


def _magnetic(structure: Structure, host: Structure) -> Structure:
    """Return a structure of doped's with the moments of the host's atoms."""
    return with_moments(structure, moments_by_site(structure, host))


def _check_frame(bulk: Structure, supercell: Structure) -> None:
    """Check that doped left a supercell with moments where it was."""
    if moments_of(supercell) is None:
        return
    same_cell = np.allclose(bulk.lattice.matrix, supercell.lattice.matrix, atol=1e-3)
    if not same_cell or sorted(moments_of(_magnetic(bulk, supercell)) or []) != sorted(
        moments_of(supercell) or []
    ):
        raise SettingError(
            "host: doped moved the supercell, expected it in place: its magnetic moments cannot be "
            "carried over"
        )


def _state(entry: DefectEntry, host: Structure) -> DefectState:
    supercell, site = entry.defect_supercell, entry.sc_defect_frac_coords
    if supercell is None or site is None:
        raise SettingError(f"defects: {entry.name}: doped gave no supercell, expected one")
    serialised: dict[str, Any] = entry.as_dict()
    return DefectState(
        name=entry.name,
        defect=defect_of(entry.name),
        charge=entry.charge_state,
        structure=with_charge(_magnetic(supercell, host), entry.charge_state),
        site=(float(site[0]), float(site[1]), float(site[2])),
        entry=serialised,
    )
