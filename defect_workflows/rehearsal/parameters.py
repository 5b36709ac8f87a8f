"""What a run does: INCAR resolved against VASP's defaults, and what of it cannot be honoured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defect_workflows.errors import InputError

from .engine import Method
from .inputs import Incar, Inputs, unhonoured_kpoints

# tag: VASP's default; its type is the tag's type. Values that depend on others are set in resolve()
_DEFAULTS: dict[str, Any] = {
    "SYSTEM": "unknown system",
    "PREC": "Normal",
    "ENCUT": 0.0,
    "EDIFF": 1e-4,
    "ALGO": "Normal",
    "IALGO": 38,
    "NBANDS": 0,
    "NELECT": 0.0,
    "ISMEAR": 1,
    "SIGMA": 0.2,
    "LREAL": "F",
    "LMAXMIX": 2,
    "ISTART": 0,
    "ICHARG": 2,
    "ISPIN": 1,
    "LNONCOLLINEAR": False,
    "LSORBIT": False,
    "NUPDOWN": -1.0,
    "LASPH": False,
    "METAGGA": "--",
    "NELM": 60,
    "NELMIN": 2,
    "NELMDL": 0,
    "AMIX": 0.4,
    "BMIX": 1.0,
    "ADDGRID": False,
    "NSW": 0,
    "IBRION": -1,
    "ISIF": 2,
    "EDIFFG": 0.0,
    "POTIM": 0.5,
    "ISYM": 0,
    "SYMPREC": 1e-5,
    "LORBIT": 0,
    "NEDOS": 301,
    "LWAVE": True,
    "LCHARG": True,
    "LVTOT": False,
    "LVHAR": False,
    "LELF": False,
    "LDAU": False,
    "IVDW": 0,
    "GGA": "PE",
    "LHFCALC": False,
    "PRECFOCK": "Normal",
    "AEXX": 0.0,
    "HFSCREEN": 0.0,
    "LUSE_VDW": False,
    "LEPSILON": False,
    "LCHIMAG": False,
}

# tags that steer this program; every other tag of an INCAR is listed in OUTCAR as without effect
_HONOURED = frozenset(
    "NELECT LHFCALC NELM EDIFF NSW IBRION EDIFFG ISIF LWAVE LVTOT LVHAR ISTART SYSTEM NEDOS".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Parameters:
    """A run, resolved.

    Attributes
    ----------
    values : dict
        Every tag with its value, VASP's default where INCAR says nothing.
    charge : float
        Charge of the cell, e: the valences of POTCAR minus NELECT.
    method : Method
        The xTB method that stands for the functional.
    remarks : list of str
        What was asked for and is not done, one sentence each.
    """

    values: dict[str, Any]
    charge: float
    method: Method
    remarks: list[str]

    def __getitem__(self, tag: str) -> Any:
        return self.values[tag]

    @property
    def writes_locpot(self) -> bool:
        """Whether LOCPOT is asked for."""
        return bool(self["LVHAR"] or self["LVTOT"])


def resolve(inputs: Inputs, directory: Path) -> Parameters:
    """Work out what a run in a directory does.

    Raises
    ------
    InputError
        A value of the wrong type, or a calculation that has no counterpart here.
    """
    incar, n_valence = inputs.incar, valence_electrons(inputs)
    defaults = dict(_DEFAULTS)
    defaults["ENCUT"] = max(potential.enmax for potential in inputs.potcar)
    defaults["NELECT"] = n_valence
    defaults["ISTART"] = 1  # VASP's default: continue if there is a WAVECAR
    if incar.flag("LHFCALC", False):
        defaults["AEXX"] = 0.25
    if incar.integer("NSW", 0) > 0:
        defaults["IBRION"] = 2
    values = {tag: _typed(incar, tag, default) for tag, default in defaults.items()}
    if "EDIFFG" not in incar:
        values["EDIFFG"] = 10 * values["EDIFF"]
    if values["ISTART"] > 0 and not (directory / "WAVECAR").is_file():
        values["ISTART"] = 0
    _refuse(values)
    if values["NSW"] == 0:
        values["IBRION"] = -1
    return Parameters(
        values=values,
        charge=round(n_valence - values["NELECT"], 8),
        method="GFN1-xTB" if values["LHFCALC"] else "IPEA1-xTB",
        remarks=_remarks(inputs, values),
    )


def valence_electrons(inputs: Inputs) -> float:
    """Number of valence electrons of the neutral cell, from POTCAR."""
    return sum(
        count * potential.valence
        for count, potential in zip(inputs.poscar.counts, inputs.potcar, strict=True)
    )


def _typed(incar: Incar, tag: str, default: Any) -> Any:
    if isinstance(default, bool):
        return incar.flag(tag, default)
    if isinstance(default, int):
        return incar.integer(tag, default)
    if isinstance(default, float):
        return incar.number(tag, default)
    return incar.get(tag, default)


def _refuse(values: dict[str, Any]) -> None:
    """Refuse what would be answered wrongly rather than approximately."""
    if values["NSW"] > 0 and values["IBRION"] not in (-1, 1, 2):
        raise InputError(
            f"INCAR: IBRION is {values['IBRION']}, expected -1, 1 or 2 "
            "(mock-vasp has no dynamics and no phonons)"
        )
    if values["NSW"] > 0 and values["IBRION"] > 0 and values["ISIF"] > 2:
        raise InputError(
            f"INCAR: ISIF is {values['ISIF']}, expected 0, 1 or 2 (mock-vasp relaxes no cells)"
        )
    for tag in ("LNONCOLLINEAR", "LSORBIT", "LEPSILON", "LCHIMAG"):
        if values[tag]:
            raise InputError(f"INCAR: {tag} is true, which mock-vasp cannot do")


def _remarks(inputs: Inputs, values: dict[str, Any]) -> list[str]:
    method = "GFN1-xTB" if values["LHFCALC"] else "IPEA1-xTB"
    remarks = []
    if asked := unhonoured_kpoints(inputs.kpoints, inputs.incar):
        remarks.append(f"k-points: {asked} asked for, the Gamma point only is done")
    if values["ISPIN"] == 2:
        remarks.append("ISPIN = 2: energies are spin-unpolarised, both spin channels are equal")
    if values["LHFCALC"]:
        remarks.append(
            f"LHFCALC: {method} stands for the hybrid whatever AEXX = {values['AEXX']:g}"
            f" and HFSCREEN = {values['HFSCREEN']:g}"
        )
    else:
        remarks.append(f"{method} stands for the functional, whatever GGA and METAGGA are")
    if values["IVDW"]:
        remarks.append(f"IVDW = {values['IVDW']}: xTB's own dispersion is used in any case")
    remarks.append(f"ENCUT = {values['ENCUT']:g} eV, PREC, LREAL: xTB has its own minimal basis")
    remarks.append(
        "ISMEAR, SIGMA: Fermi distribution at 300 K; its entropy is part of every energy"
    )
    if values["ISTART"]:
        remarks.append("WAVECAR found and accepted; it does not change the result")
    if values["LCHARG"]:
        remarks.append("LCHARG: no CHGCAR is written")
    if values["IBRION"] > 0:
        remarks.append(f"IBRION = {values['IBRION']}: relaxed by L-BFGS, POTIM is not used")
    if unused := sorted(inputs.incar.keys() - _HONOURED):
        remarks.append(f"INCAR tags without effect: {' '.join(unused)}")
    return remarks
