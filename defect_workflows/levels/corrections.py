"""Finite-size corrections of charged supercells, from what is in the documents (no files).

doped does the science (eFNV: Kumagai & Oba, Phys. Rev. B 89, 195205; FNV: Freysoldt, Neugebauer &
Van de Walle, Phys. Rev. Lett. 102, 016402). Here its input is taken from documents, and a
correction that fails is an error, where doped itself would only warn.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from defect_workflows.documents.base import Matrix3D, Vector3D
from defect_workflows.documents.levels import (
    Correction,
    LevelCalculation,
    PlanarAxis,
    PlanarProfile,
    Scheme,
    SiteProfile,
)
from defect_workflows.errors import CorrectionError
from defect_workflows.userfile import dielectric_tensor

if TYPE_CHECKING:
    from doped.core import DefectEntry

ENTRY_KEYS: dict[Scheme, str] = {
    "eFNV": "kumagai_charge_correction",
    "FNV": "freysoldt_charge_correction",
}
"""doped's names of the corrections in `DefectEntry.corrections`."""

NEAR_SURFACE = 0.1
"""A site this close to the surface of the defect region might as well be on its other side, Å: as
far as a cell may drift against the bulk, see `align.DRIFT`."""

Profile = SiteProfile | PlanarProfile


def correct(
    entry: DefectEntry,
    calculation: LevelCalculation,
    bulk: LevelCalculation,
    dielectric: float | Vector3D | Matrix3D | None,
    scheme: Scheme | Literal["auto"],
) -> tuple[Correction, Profile | None]:
    """Return the finite-size correction of a charged state, and what it was made of.

    Parameters
    ----------
    entry
        doped's entry of the calculated state, see `calculated_entry`.
    calculation
        The state's calculation: site potentials or planar averages.
    bulk
        The same of the pristine supercell.
    dielectric
        High-frequency + ionic dielectric constant: a number, three numbers or a 3x3 tensor, in
        the Cartesian axes of the supercell.
    scheme
        'eFNV' needs site potentials, 'FNV' planar averages of the LOCPOT; 'auto' takes the first
        for which both calculations have what it needs; 'none' leaves a charged state uncorrected,
        visibly.

    Returns
    -------
    Correction
        Energy and error in eV; the energy is doped's. The error is abs(q) times, for eFNV, the
        larger of the standard error of the mean of the sampled site potentials and of what the
        choice of sites near the surface of the defect region is worth (see `choice_of_sites`); for
        FNV the standard deviation of the sampled potential.
    SiteProfile or PlanarProfile, None where nothing is corrected
        For the plot.

    Raises
    ------
    CorrectionError
        If what the scheme needs is missing, bulk and defect do not fit together, or doped fails.
    """
    if entry.charge_state == 0:
        neutral = Correction(scheme="none" if scheme == "auto" else scheme, energy=0.0, error=0.0)
        return neutral, None
    if scheme == "none":
        return Correction(scheme="none", energy=0.0, error=None), None
    if dielectric is None:
        raise CorrectionError(f"{entry.name}: found no dielectric tensor, expected one")
    tensor: np.ndarray = np.array(dielectric_tensor(dielectric))
    schemes = _possible_schemes(entry.name, calculation, bulk) if scheme == "auto" else [scheme]
    problems = []
    for one in schemes:
        try:
            return _correct_by(one, entry, calculation, bulk, tensor)
        except CorrectionError as problem:
            problems.append(problem)
    raise problems[0]


def _possible_schemes(
    name: str, calculation: LevelCalculation, bulk: LevelCalculation
) -> list[Scheme]:
    """Return the schemes for which both calculations have what is needed, the better one first."""
    both = (calculation, bulk)
    schemes: list[Scheme] = []
    if all(item.site_potentials for item in both):
        schemes.append("eFNV")
    if all(item.planar_potential for item in both):
        schemes.append("FNV")
    if not schemes:
        raise CorrectionError(
            f"{name}: found neither site potentials (OUTCAR) nor a LOCPOT in both this calculation "
            "and the bulk's, expected one of the two for the correction"
        )
    return schemes


def _correct_by(
    scheme: Scheme,
    entry: DefectEntry,
    calculation: LevelCalculation,
    bulk: LevelCalculation,
    tensor: np.ndarray,
) -> tuple[Correction, Profile]:
    method: Any = {"eFNV": _kumagai, "FNV": _freysoldt}[scheme]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages below; the outcome is checked here
            energy, error, profile = method(entry, calculation, bulk, tensor)
    except CorrectionError:
        raise
    except Exception as problem:  # doped, pydefect and pymatgen raise whatever comes up
        reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
        raise CorrectionError(f"{entry.name}: {scheme} correction failed ({reason})") from problem
    if not (np.isfinite(energy) and np.isfinite(error)):
        raise CorrectionError(
            f"{entry.name}: {scheme} correction is {energy} ± {error} eV, expected finite numbers "
            "(is the supercell large enough for a sampling region?)"
        )
    return Correction(scheme=scheme, energy=float(energy), error=float(error)), profile


def _kumagai(
    entry: DefectEntry, calculation: LevelCalculation, bulk: LevelCalculation, tensor: np.ndarray
) -> tuple[float, float, SiteProfile]:
    for role, item in ((entry.name, calculation), ("bulk", bulk)):
        atoms, potentials = len(item.structure), item.site_potentials
        if potentials is None or len(potentials) != atoms:
            found = "none" if potentials is None else str(len(potentials))
            raise CorrectionError(
                f"{role}: site potentials: found {found}, expected {atoms} for eFNV"
            )
    from doped.utils.parsing import get_wigner_seitz_radius

    for role, item in (("defect", calculation), ("bulk", bulk)):
        # doped's sign is minus that of VASP's OUTCAR
        entry.calculation_metadata[f"{role}_site_potentials"] = -np.array(item.site_potentials)
    radius = float(get_wigner_seitz_radius(calculation.structure.lattice))  # as doped's default
    result: Any = entry.get_kumagai_correction(
        tensor, defect_region_radius=radius - NEAR_SURFACE, verbose=False
    )
    made = result.metadata["pydefect_ExtendedFnvCorrection"]
    outside = np.array([site.distance for site in made.sites]) - radius
    # doped samples what is outside; a site that rounding would throw in or out counts half
    rounding = max(calculation.position_rounding, bulk.position_rounding)
    weights = np.select([outside > rounding, outside > -rounding], [1.0, 0.5])
    left = np.array([np.nan if site.pc_potential is None else site.diff_pot for site in made.sites])
    alignment, error = _mean(left[weights > 0], weights[weights > 0])
    error = max(error, choice_of_sites(left, outside, alignment))
    profile = SiteProfile(
        distances=[float(site.distance) for site in made.sites],
        elements=[str(site.specie) for site in made.sites],
        differences=[float(site.potential) for site in made.sites],
        point_charge=[
            float(site.pc_potential) if weight else None
            for site, weight in zip(made.sites, weights, strict=True)
        ],
        radius=radius,
        alignment=alignment,
    )
    charge = entry.charge_state
    return made.point_charge_correction - alignment * charge, error * abs(charge), profile


def _mean(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return weighted mean and its standard error; not a number where there are too few."""
    total = weights.sum()
    if total <= 1:
        return float("nan"), float("nan")
    mean = float(np.average(values, weights=weights))
    variance = float(np.sum(weights * (values - mean) ** 2)) / (total - 1)
    return mean, float(np.sqrt(variance / total))


def choice_of_sites(values: np.ndarray, outside: np.ndarray, mean: float) -> float:
    """Return how far sites near the surface of the defect region can move the mean of the sampled.

    A drift of the cell moves sites across the surface, and those of symmetric cells lie on it up to
    rounding. So each that is near may be taken or left: the mean is largest with the highest few of
    them and smallest with the lowest few.

    Parameters
    ----------
    values
        What is averaged, one per site, in V; not a number for sites deep inside the region.
    outside
        Distances of the sites from the surface in Å, positive in the sampling region.
    mean
        The mean as it is taken, in V.

    Returns
    -------
    float
        Largest change of the mean, in V.
    """
    certain = values[outside > NEAR_SURFACE]
    near = np.sort(values[np.abs(outside) <= NEAR_SURFACE])
    changes = [
        abs(np.concatenate([certain, ordered[:count]]).mean() - mean)
        for ordered in (near, near[::-1])
        for count in range(len(near) + 1)
        if len(certain) + count
    ]
    return float(max(changes, default=0.0))


def _freysoldt(
    entry: DefectEntry, calculation: LevelCalculation, bulk: LevelCalculation, tensor: np.ndarray
) -> tuple[float, float, PlanarProfile]:
    planes = []
    for role, item in ((entry.name, calculation), ("bulk", bulk)):
        if item.planar_potential is None:
            raise CorrectionError(
                f"{role}: LOCPOT: found no planar averages, expected three for FNV"
            )
        planes.append(item.planar_potential)
    defect_planes, bulk_planes = planes
    if len({defect_planes.content, bulk_planes.content} - {"unknown"}) > 1:
        raise CorrectionError(
            f"{entry.name}: LOCPOT holds {defect_planes.content}, that of the bulk "
            f"{bulk_planes.content}, expected the same (LVHAR) in both"
        )
    grids = [tuple(len(axis) for axis in plane.averages) for plane in planes]
    if grids[0] != grids[1] or len(grids[0]) != 3:
        raise CorrectionError(
            f"{entry.name}: LOCPOT grid {grids[0]} differs from the bulk's {grids[1]}"
        )
    outcome: Any = entry.get_freysoldt_correction(
        float(3 / np.sum(1 / np.diag(tensor))),  # FNV is isotropic: doped takes the harmonic mean
        defect_locpot={axis: np.array(line) for axis, line in enumerate(defect_planes.averages)},
        bulk_locpot={axis: np.array(line) for axis, line in enumerate(bulk_planes.averages)},
        return_correction_error=True,
        verbose=False,
    )
    result, error = outcome
    drawn = [result.metadata["plot_data"][axis]["pot_plot_data"] for axis in range(3)]
    profile = PlanarProfile(
        axes=[
            PlanarAxis(
                positions=np.asarray(data["x"], dtype=float).tolist(),
                difference=np.asarray(data["dft_diff"], dtype=float).tolist(),
                long_range=np.asarray(data["Vr"], dtype=float).tolist(),
                short_range=np.asarray(data["short_range"], dtype=float).tolist(),
                alignment=float(data["shift"]),
                sampling=(int(data["check"][0]), int(data["check"][1])),
            )
            for data in drawn
        ]
    )
    return result.correction_energy, error, profile
