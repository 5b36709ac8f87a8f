"""Placeholder POTCARs: the facts of the header, no potential data.

They carry what NELECT and ENCUT follow from (TITEL, VRHFIN, LEXCH, ZVAL, ENMAX), in the folder
layout that pymatgen expects. TITEL, VRHFIN and ZVAL come from the summary of VASP's POTCARs that
pymatgen ships, masses from pymatgen's periodic table, ENMAX from `enmax.yaml` beside this file
(VASP wiki, "Choosing pseudopotentials", standard PBE potentials). VASP itself cannot run with them,
and pymatgen says so with an `UnknownPotcarWarning`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import yaml

from defect_workflows.errors import InputError

from .inputs import ATOMIC_NUMBERS

_TITEL = re.compile(r"(PAW_PBE|PAW_GGA|PAW)(.+?)(\d\d[A-Z][a-z]{2}\d{4})")

_TEMPLATE = """\
  {titel}
 {valence:19.15f}
 parameters from PSCTR are:
   VRHFIN ={vrhfin}
   LEXCH  = {lexch}
   EATOM  =     0.0000 eV,    0.0000 Ry

   TITEL  = {titel}
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        0    unscreen: 0-lin 1-nonlin 2-no
   POMASS = {mass:8.3f}; ZVAL   = {valence:8.3f}    mass and valenz
   ENMAX  = {enmax:8.3f}; ENMIN  = {enmin:8.3f} eV
   LPAW   =        T    paw PP
END of PSCTR-controll parameters
 placeholder without potential data, for rehearsals with mock-vasp
 local part
 0.0 0.0 0.0 0.0
 End of Dataset
"""


def known_symbols() -> list[str]:
    """POTCAR symbols that `write_potcars` can write: those of elements with xTB parameters."""
    return [symbol for symbol in _enmax() if _element(symbol) in ATOMIC_NUMBERS]


def write_potcars(
    directory: Path, symbols: Iterable[str] | None = None, functional: str = "PBE"
) -> Path:
    """Write placeholder POTCARs for pymatgen's `PMG_VASP_PSP_DIR`.

    Parameters
    ----------
    directory : Path
        What `PMG_VASP_PSP_DIR` shall point to; made if missing.
    symbols : iterable of str, optional
        POTCAR symbols such as ``Cd`` or ``Ga_d``; default: every symbol known.
    functional : str
        pymatgen's name of the POTCAR family: ``PBE`` (the default of doped), ``PBE_54``
        (atomate2), ``PBE_64``, ... (the PBE families).

    Returns
    -------
    Path
        The folder of the family inside `directory`.

    Raises
    ------
    InputError
        A family or a symbol that is not known.
    """
    from pymatgen.core import Element
    from pymatgen.io.vasp.inputs import POTCAR_FUNCTIONAL_MAP

    families = [name for name in POTCAR_FUNCTIONAL_MAP if name.startswith("PBE")]
    if functional not in families:
        raise InputError(
            f"POTCAR functional: found {functional!r}, expected one of {', '.join(families)}"
        )
    facts, enmax = _facts(functional), _enmax()
    if symbols is None:
        symbols = [symbol for symbol in known_symbols() if symbol in facts]
    folder = directory / POTCAR_FUNCTIONAL_MAP[functional]
    folder.mkdir(parents=True, exist_ok=True)
    for symbol in symbols:
        if symbol not in facts or symbol not in enmax:
            raise InputError(f"POTCAR symbol: found {symbol!r}, not a standard one of {functional}")
        text = _TEMPLATE.format(
            **facts[symbol],
            mass=float(Element(_element(symbol)).atomic_mass),
            enmax=enmax[symbol],
            enmin=0.75 * enmax[symbol],
        )
        # no time stamp: the same placeholder is the same file
        (folder / f"POTCAR.{symbol}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def _element(symbol: str) -> str:
    """Element of a POTCAR symbol: ``Ga_d``, ``H1.25``."""
    return re.split(r"[_.\d]", symbol)[0]


def _enmax() -> dict[str, float]:
    """ENMAX (eV) of each POTCAR symbol."""
    return yaml.safe_load(files(__package__).joinpath("enmax.yaml").read_text())


def _facts(functional: str) -> dict[str, dict[str, str | float]]:
    """TITEL, VRHFIN, LEXCH and valence of each symbol of a family."""
    from pymatgen.io.vasp.inputs import _load_potcar_summary_stats

    facts: dict[str, dict[str, str | float]] = {}
    for titel, variants in _load_potcar_summary_stats()[functional].items():
        match = _TITEL.fullmatch(titel)
        if match is None:
            continue
        for variant in variants:
            facts[variant["symbol"]] = {
                "titel": " ".join(match.groups()),
                "vrhfin": variant["VRHFIN"],
                "lexch": variant["LEXCH"],
                "valence": variant["ZVAL"],
            }
    return facts
