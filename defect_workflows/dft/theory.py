"""The level of theory of a run, from the settings that VASP echoed."""

from __future__ import annotations

import numpy as np

from defect_workflows.dft.header import HUBBARD_COLUMNS, repeated
from defect_workflows.dft.raw import Run, Species
from defect_workflows.documents.base import Vector3D
from defect_workflows.documents.labels import HubbardTerm, LevelOfTheory

_PRECISIONS = ("normal", "accurate", "single", "low", "medium", "high", "fast")
_POTCAR_FUNCTIONALS = {"PAW_PBE": "PE", "PAW_GGA": "91", "PAW": "CA", "PAW_LDA": "CA"}
_UNSET = ("", "--", "NONE", "F")


def level_of_theory(run: Run) -> LevelOfTheory:
    """Return the settings that must be equal for bulk and defects, as VASP echoed them."""
    settings = run.settings
    hybrid = flag(settings, "LHFCALC")
    return LevelOfTheory(
        functional=_functional(run, hybrid),
        exact_exchange=number(settings, "AEXX", 0.25) if hybrid else 0.0,
        screening=number(settings, "HFSCREEN", 0.0) if hybrid else 0.0,
        encut=round(number(settings, "ENCUT", 0.0), 1),
        precision=_precision(settings.get("PREC", "normal")),
        spin_polarized=number(settings, "ISPIN", 1) == 2,
        dispersion=_dispersion(settings),
        kpoints=[_vector(np.round(point, 6)) for point in run.kpoints],
        potcars=list(dict.fromkeys(kind.title for kind in run.species)),
        spin_orbit=flag(settings, "LSORBIT"),
        # VASP echoes Auto and On as T, and an INCAR may say any of them
        real_space_projection=flag(settings, "LREAL", "TAO"),
        kpoint_reduction=_reduction(settings) if hybrid else (1, 1, 1),
        kpoint_mesh=run.mesh(),
        hubbard=_hubbard(settings, run.species),
        aspherical=_logical(settings, "LASPH"),
        support_grid=_logical(settings, "ADDGRID"),
        fock_precision=_precision(settings.get("PRECFOCK", "")) or None if hybrid else None,
        model_hybrid=_logical(settings, "LMODELHF") if hybrid else None,
    )


def flag(settings: dict[str, str], name: str, true: str = "T") -> bool:
    """Return a logical setting, False where it is missing."""
    return settings.get(name, "F").strip().lstrip(".")[:1].upper() in tuple(true)


def own_correction(settings: dict[str, str], charge: int) -> str | None:
    """Return the setting by which VASP itself corrected the energy of a cell, None without one.

    A monopole correction (LMONO) is nothing in a neutral cell.
    """
    if flag(settings, "LMONO") and charge:
        return f"LMONO = T, EPSILON = {number(settings, 'EPSILON', 1.0):g}"
    if number(settings, "IDIPOL", 0) > 0:
        return f"IDIPOL = {number(settings, 'IDIPOL', 0):.0f}"
    if flag(settings, "LDIPOL"):
        return "LDIPOL = T"
    if number(settings, "EFIELD", 0.0):
        return f"EFIELD = {number(settings, 'EFIELD', 0.0):g}"
    return None


def _logical(settings: dict[str, str], name: str) -> bool | None:
    return flag(settings, name) if name in settings else None


def number(settings: dict[str, str], name: str, default: float) -> float:
    """Return a setting as a number, the default where it is missing."""
    words = settings.get(name, "").split()
    return float(words[0]) if words else default


def _functional(run: Run, hybrid: bool) -> str | None:
    """Return the functional, None where the files do not name it."""
    settings = run.settings
    meta, gga = (_named(settings, name) for name in ("METAGGA", "GGA"))
    if meta:
        functional = "R2SCAN" if meta.startswith("R2SCA") else meta
    elif gga:
        functional = gga
    elif hybrid or "METAGGA" in settings:  # VASP 5 has no hybrids of meta-GGAs
        family = run.species[0].title.split()[0]
        functional = _POTCAR_FUNCTIONALS.get(family, family)
    else:
        return None
    return functional + ("+VDW" if flag(settings, "LUSE_VDW") else "") + ("+HF" if hybrid else "")


def _named(settings: dict[str, str], name: str) -> str:
    words = settings.get(name, "").upper().split()
    return words[0] if words and words[0] not in _UNSET else ""


def _dispersion(settings: dict[str, str]) -> int | None:
    if "IVDW" not in settings:
        return None
    return int(number(settings, "IVDW", 0)) or int(flag(settings, "LVDW"))


def _precision(found: str) -> str:
    # VASP echoes six letters
    word = found.strip().lower()
    return next((name for name in _PRECISIONS if word and name.startswith(word[:6])), word)


def _reduction(settings: dict[str, str]) -> tuple[int, int, int]:
    common = number(settings, "NKRED", 1)
    x, y, z = (int(number(settings, f"NKRED{axis}", common)) for axis in "XYZ")
    return x, y, z


def _hubbard(settings: dict[str, str], species: list[Species]) -> list[HubbardTerm] | None:
    """Return the corrections, each once where an element has several POTCARs."""
    if "LDAU" not in settings:
        return None
    if not flag(settings, "LDAU"):
        return []
    columns = [repeated(settings.get(name, "")) for name in HUBBARD_COLUMNS]
    if {len(column) for column in columns} != {len(species)}:
        return None
    terms: list[HubbardTerm] = []
    for kind, momentum, u, j in zip(species, *columns, strict=True):
        term = HubbardTerm(element=kind.symbol, angular_momentum=int(momentum), u=u, j=j)
        if momentum >= 0 and (u or j) and term not in terms:
            terms.append(term)
    return sorted(terms, key=lambda term: term.element)


def _vector(values: np.ndarray) -> Vector3D:
    x, y, z = (float(value) for value in values)
    return x, y, z
