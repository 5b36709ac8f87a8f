"""VASP results as labels. The one place where VASP's output is read.

Unconverged is not a label: whatever cannot be trusted raises `CalculationError` with the reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monty.io import zopen
from monty.os.path import zpath
from pymatgen.io.vasp import Locpot, Outcar, Vasprun

from defect_workflows.charge import charge_from_nelect
from defect_workflows.documents.base import Matrix3D, Vector3D
from defect_workflows.documents.labels import LevelOfTheory, PlanarPotential
from defect_workflows.errors import CalculationError

KILOBAR = 0.1 / 160.21766208  # eV/Å^3
REHEARSAL_MARK = "mock-vasp"
_ENDING = "General timing and accounting"
_ZVAL = re.compile(r"ZVAL\s+=\s+(\d+\.\d*)\s+mass and valenz")
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
    """Read a finished single point from ``vasprun.xml`` and ``OUTCAR`` (either may be gzipped).

    Raises
    ------
    CalculationError
        With the reason, if files are missing or broken, the SCF cycle is not converged, a number is
        not finite, or a setting that matters was changed on the way.
    """
    directory = Path(directory)
    vasprun, outcar, valences = _parse(directory)
    if not vasprun.converged_electronic:
        raise CalculationError(
            f"SCF not converged in {len(vasprun.ionic_steps[-1]['electronic_steps'])} steps"
        )
    corrections, changed = custodian_corrections(directory)
    if changed:
        raise CalculationError(f"settings changed on the way: {', '.join(changed)}")
    step = vasprun.ionic_steps[-1]
    energy = float(vasprun.final_energy)
    forces = np.array(step["forces"], dtype=float)
    stress = -KILOBAR * np.array(step["stress"], dtype=float)
    if not (math.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        raise CalculationError("energy, forces or stress are not finite numbers")
    composition = vasprun.final_structure.composition.get_el_amt_dict()
    nelect = float(vasprun.parameters["NELECT"])
    _, lowest, highest, _ = vasprun.eigenvalue_band_properties
    vbm, cbm = float(np.max(highest)), float(np.min(lowest))
    return SinglePointResult(
        energy=energy,
        forces=forces,
        stress=_matrix(stress),
        charge=charge_from_nelect(nelect, composition, valences),
        nelect=nelect,
        vbm=vbm if math.isfinite(vbm) else None,
        cbm=cbm if math.isfinite(cbm) else None,
        level_of_theory=level_of_theory(vasprun),
        corrections=corrections,
        site_potentials=_site_potentials(outcar),
        planar_potential=_planar_potential(directory, vasprun.parameters),
        rehearsal=_is_rehearsal(directory),
    )


def level_of_theory(vasprun: Vasprun) -> LevelOfTheory:
    """Return the settings that must be equal for bulk and defects, as VASP echoed them."""
    echoed: dict[str, Any] = {**vasprun.parameters, **vasprun.incar}
    hybrid = bool(echoed.get("LHFCALC", False))
    functional = str(echoed.get("GGA", "--")).strip().upper()
    return LevelOfTheory(
        functional=("PE" if functional in ("--", "") else functional) + ("+HF" if hybrid else ""),
        exact_exchange=float(echoed.get("AEXX", 0.25)) if hybrid else 0.0,
        screening=float(echoed.get("HFSCREEN", 0.0)) if hybrid else 0.0,
        encut=float(echoed.get("ENCUT", echoed.get("ENMAX", 0.0))),
        precision=str(echoed.get("PREC", "normal")).strip().lower(),
        spin_polarized=int(echoed.get("ISPIN", 1)) == 2,
        dispersion=int(echoed.get("IVDW", 0)),
        kpoints=[_vector(np.round(kpoint, 6)) for kpoint in vasprun.actual_kpoints],
        potcars=[str(title) for title in dict.fromkeys(vasprun.potcar_symbols)],
    )


def custodian_corrections(directory: Path) -> tuple[list[str], list[str]]:
    """Return custodian's changes of the INCAR: all of them, and those that change the energy."""
    path = Path(zpath(str(directory / "custodian.json")))
    if not path.is_file():
        return [], []
    with zopen(path, "rt") as file:
        runs = json.load(file)
    changes = [
        f"{name}={value}"
        for run in runs
        for correction in run.get("corrections", [])
        for action in correction.get("actions") or []
        if action.get("dict") == "INCAR"
        for name, value in action.get("action", {}).get("_set", {}).items()
    ]
    return changes, [item for item in changes if item.split("=")[0] not in _NEUTRAL_SETTINGS]


def _parse(directory: Path) -> tuple[Vasprun, Outcar, dict[str, float]]:
    paths = {}
    for name in ("vasprun.xml", "OUTCAR"):
        paths[name] = Path(zpath(str(directory / name)))
        if not paths[name].is_file():
            raise CalculationError(f"{name} is missing")
    with zopen(paths["OUTCAR"], "rt", errors="replace") as file:
        text = file.read()
    if _ENDING not in text:
        raise CalculationError("OUTCAR is cut off: the run did not end")
    zvals = [float(value) for value in _ZVAL.findall(text)]
    try:
        vasprun = Vasprun(
            str(paths["vasprun.xml"]),
            parse_dos=False,
            parse_projected_eigen=False,
            parse_potcar_file=False,
        )
        outcar = Outcar(str(paths["OUTCAR"]))
    # a broken XML file is a SyntaxError; what else pymatgen's parsers raise on a cut one varies
    except (SyntaxError, ValueError, LookupError, AttributeError, TypeError, OSError) as error:
        raise CalculationError(
            f"output is broken or cut off ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:100]})"
        ) from None
    elements = list(dict.fromkeys(vasprun.atomic_symbols))
    if len(zvals) < len(elements):
        raise CalculationError(f"OUTCAR: found {len(zvals)} ZVAL, expected {len(elements)}")
    return vasprun, outcar, dict(zip(elements, zvals, strict=False))


def _site_potentials(outcar: Outcar) -> list[float] | None:
    potentials = outcar.electrostatic_potential
    return [float(value) for value in potentials] if potentials else None


def _planar_potential(directory: Path, parameters: Mapping[str, Any]) -> PlanarPotential | None:
    path = Path(zpath(str(directory / "LOCPOT")))
    if not path.is_file():
        return None
    locpot = Locpot.from_file(str(path))
    return PlanarPotential(
        averages=[
            [float(value) for value in locpot.get_average_along_axis(axis)] for axis in range(3)
        ],
        content="hartree+ionic" if parameters.get("LVHAR") else "total",
    )


def _is_rehearsal(directory: Path) -> bool:
    """Tell by the header of the OUTCAR whether the stand-in for VASP wrote it."""
    with zopen(zpath(str(directory / "OUTCAR")), "rt") as file:
        return REHEARSAL_MARK in file.read(4000)


def _vector(values: Any) -> Vector3D:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _matrix(values: Any) -> Matrix3D:
    a, b, c = (_vector(row) for row in values)
    return a, b, c
