"""An INCAR beside an OUTCAR that does not repeat it: used where it can be of that run."""

from __future__ import annotations

import re
from pathlib import Path

from pymatgen.io.vasp import Incar

from defect_workflows.dft import files
from defect_workflows.dft.header import HUBBARD_COLUMNS, with_decimals
from defect_workflows.dft.raw import NOT_ECHOED, Run
from defect_workflows.dft.theory import flag, number
from defect_workflows.errors import CalculationError

# How far an echo may lie from what was asked for: VASP rounds. With the default, where VASP has one
# that does not depend on anything else.
_NUMBERS: dict[str, tuple[float, float | None]] = {
    "ENCUT": (0.1, None),
    "NUPDOWN": (0.01, -1),
    "ISPIN": (0, 1),
    "NSW": (0, 0),
    "ISMEAR": (0, 1),
    "SIGMA": (0.0051, None),
}
_OF_HYBRIDS = {"AEXX": (1e-3, 0.25), "HFSCREEN": (1e-3, 0.0)}
_ELECTRONS_TOLERANCE = 0.01


def add_incar(directory: Path, run: Run, notes: list[str]) -> list[str]:
    """Add settings that the output does not tell; return the files that had them."""
    path = files.beside(directory, "INCAR")
    unnamed = run.settings.get("IVDW") == "-1"
    if path is None or (not unnamed and "METAGGA" in run.settings):
        return []
    try:
        found = Incar.from_str(files.text(path))
        incar = {key: re.sub(r"[\[\],]", " ", str(value)).strip() for key, value in found.items()}
        reason = _contradiction(incar, run)
    except (CalculationError, ValueError, LookupError, TypeError, AttributeError):
        notes.append(f"{path.name}: cannot be read, is not used")
        return []
    if reason:
        notes.append(f"{path.name}: has another {reason} than the calculation, is not used")
        return []
    settings = {name: incar.get(name, default) for name, default in NOT_ECHOED.items()}
    if run.settings.get("IVDW") == "-1" and not (flag(incar, "LVDW") or number(incar, "IVDW", 0)):
        settings.pop("IVDW")
    known = {name for name in run.settings if not (name == "IVDW" and unnamed)}
    for name in HUBBARD_COLUMNS:
        if name in run.settings:
            run.settings[name] = with_decimals(run.settings[name], incar.get(name, ""))
    run.settings |= {name: value for name, value in settings.items() if name not in known}
    return [path.name]


def _contradiction(incar: dict[str, str], run: Run) -> str | None:
    """Return the first setting of an INCAR that is not the run's."""
    hybrid = flag(run.settings, "LHFCALC")
    for name, (tolerance, default) in (_NUMBERS | (_OF_HYBRIDS if hybrid else {})).items():
        asked = number(incar, name, float("nan") if default is None else default)
        echoed = number(run.settings, name, float("nan"))
        if abs(asked - echoed) > tolerance:  # False where one of them is not told
            return name
    neutral = run.nelect + run.charge
    if abs(number(incar, "NELECT", neutral) - run.nelect) > _ELECTRONS_TOLERANCE:
        return "NELECT"
    for name in ("LHFCALC", "LSORBIT", "LDAU"):
        if name in run.settings and flag(incar, name) != flag(run.settings, name):
            return name
    gga = run.settings.get("GGA", "--").upper()
    # with METAGGA what VASP echoes as GGA varies
    if "METAGGA" not in incar and incar.get("GGA", "--").upper()[:2] != gga[:2]:
        return "GGA"
    dispersion = flag(incar, "LVDW") or number(incar, "IVDW", 0) > 0
    if "IVDW" in run.settings and dispersion != (number(run.settings, "IVDW", 0) != 0):
        return "IVDW"
    return None
