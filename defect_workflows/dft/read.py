"""Single points of a campaign: a finished calculation that may become a label.

Unconverged is not a label: whatever cannot be trusted raises `CalculationError` with the reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defect_workflows.dft import files
from defect_workflows.dft.finished import read_calculation
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.labels import LevelOfTheory, PlanarPotential
from defect_workflows.errors import CalculationError

# Settings that steer the electronic minimisation or the output, never the converged energy.
_NEUTRAL_SETTINGS = {
    "ALGO", "AMIN", "AMIX", "AMIX_MAG", "BMIX", "BMIX_MAG", "ICHARG", "IMIX", "ISEARCH", "ISTART",
    "KPAR", "LCHARG", "LPLANE", "LSCALU", "LWAVE", "MAXMIX", "NBANDS", "NCORE", "NELM", "NELMDL",
    "NELMIN", "NPAR", "NSIM", "TIME", "WC",
}  # fmt: skip


@dataclass(frozen=True)
class SinglePointResult:
    """What one converged single point says, sites in the order of its POSCAR."""

    energy: float
    forces: np.ndarray
    stress: Matrix3D
    charge: int
    nelect: float
    vbm: float | None
    cbm: float | None
    level_of_theory: LevelOfTheory
    corrections: list[str]
    site_potentials: list[float] | None
    planar_potential: PlanarPotential | None
    rehearsal: bool


def read_single_point(directory: Path | str) -> SinglePointResult:
    """Read a finished single point from ``vasprun.xml`` and ``OUTCAR`` (either may be compressed).

    Raises
    ------
    CalculationError
        With the reason, if files are missing or broken, the SCF cycle is not converged, a number is
        not finite, or a setting that matters was changed on the way.
    """
    directory = Path(directory)
    for name in files.OUTPUTS:
        if files.beside(directory, name) is None:
            raise CalculationError(f"{name} is missing")
    found = read_calculation(directory, projections=False)
    if found.unusable:
        raise CalculationError(found.unusable[0])
    if not found.scf_converged:
        raise CalculationError(f"SCF not converged in {found.settings['NELM']} steps")
    corrections, changed = custodian_corrections(directory)
    if changed:
        raise CalculationError(f"settings changed on the way: {', '.join(changed)}")
    stress = found.frames[-1].stress
    if found.forces is None or stress is None:
        raise CalculationError("found no forces or no stress, expected both")
    edges = found.band_edges
    return SinglePointResult(
        energy=found.energy,
        forces=np.array(found.forces),
        stress=stress,
        charge=found.charge,
        nelect=found.nelect,
        vbm=edges.vbm if edges else None,
        cbm=edges.cbm if edges else None,
        level_of_theory=found.level_of_theory,
        corrections=corrections,
        site_potentials=found.site_potentials,
        planar_potential=found.planar_potential,
        rehearsal=found.rehearsal,
    )


def custodian_corrections(directory: Path) -> tuple[list[str], list[str]]:
    """Return custodian's changes of the INCAR: all of them, and those that change the energy."""
    path = files.beside(directory, "custodian.json")
    if path is None:
        return [], []
    runs = json.loads(files.text(path))
    changes = [
        f"{name}={value}"
        for run in runs
        for correction in run.get("corrections", [])
        for action in correction.get("actions") or []
        if action.get("dict") == "INCAR"
        for name, value in action.get("action", {}).get("_set", {}).items()
    ]
    return changes, [item for item in changes if item.split("=")[0] not in _NEUTRAL_SETTINGS]
