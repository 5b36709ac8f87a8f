"""INCAR settings that a user adds: what cannot work, or would mislead, is refused before it runs.

VASP ignores a setting that it does not know, and pymatgen only warns. Every check here raises
`ValueError` with what was found and what is expected, in one line.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, cast

from pymatgen.core import Element
from pymatgen.io.vasp import Incar

PER_ELEMENT = ("MAGMOM", "LDAUL", "LDAUU", "LDAUJ")
"""Settings that are written per atom or species, and given by element: cells differ in both."""

HUBBARD = ("LDAU", "LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ", "LDAUPRINT")
"""Settings of DFT+U, which belong to one fidelity unless the user says so of both."""

_KEYS = {
    "ENCUT": "dft.encut", "EDIFF": "dft.ediff", "ISPIN": "dft.spin", "IVDW": "dft.dispersion",
    "LVDW": "dft.dispersion", "AEXX": "dft.hybrid_fraction", "HFSCREEN": "dft.hybrid_screening",
    "KSPACING": "dft.kpoints", "KGAMMA": "dft.kpoints", "NELECT": "defects.include.charges",
}  # fmt: skip
_OURS = {*_KEYS, "LHFCALC", "NSW", "IBRION", "ISIF", "ISTART", "ICHARG", "ICORELEVEL", "LVHAR",
         "LVTOT", "LWAVE", "SYSTEM"}  # fmt: skip

_WRONG = {
    "changes the functional that the fidelities pbe and hse06 are named after": (
        "GGA METAGGA LMETAGGA LUSE_VDW ALDAC ALDAX AGGAC AGGAX AMGGAC AMGGAX LMODELHF LTHOMAS "
        "LRHFCALC HFSCREENC HFRCUT HFALPHA XC XC_C LIBXC1 LIBXC2 CMBJ CMBJA CMBJB PARAM1 PARAM2 "
        "ZAB_VDW BPARAM CPARAM LHFONE LFOCKAEDFT LRPA"
    ),
    "puts into the energy what the finite-size correction is for, or a field": (
        "LMONO LDIPOL IDIPOL DIPOL EPSILON EFIELD EFIELD_PEAD LPEAD LCALCPOL LSOL EB_K"
    ),
    "would be the same for the host and every charge state": "NUPDOWN FERWE FERDO",
    "needs noncollinear runs, which these are not": "LSORBIT LNONCOLLINEAR SAXIS LSPIRAL QSPIRAL",
    "is of another kind of calculation than a single point": (
        "LEPSILON LCALCEPS LOPTICS IMAGES MDALGO LMP2LT ML_LMLFF ML_MODE LNMR_SYM_RED LCHIMAG "
        "LDMP1 LBERRY"
    ),
    "needs a value for each atom or element of a cell, and cells differ": (
        "RWIGS ROPT M_CONSTR POMASS ZVAL QUAD_EFG NGYROMAG VDW_C6 VDW_R0 VDW_ALPHA "
        "LANGEVIN_GAMMA VCA"
    ),
}
REFUSED = {tag: reason for reason, tags in _WRONG.items() for tag in tags.split()}
"""Why a setting cannot be the user's."""

SHARED = ("PREC", "LREAL", "LASPH", "ADDGRID", "ISMEAR", "SIGMA", "MAGMOM", "ENAUG", "LMAXPAW")
"""Settings that must be equal at both fidelities: their difference would be learnt as a
difference of functionals."""

# What VASP knows and pymatgen's list of settings does not have.
_FURTHER = (
    frozenset(
        [
            "BEXT",
            "EFERMI",
            "EFERMI_NEDOS",
            "FMP_ACTIVE",
            "IBSE",
            "ICHIBARE",
            "KERNEL_TRUNCATION",
            "KPOINTS_OPT",
            "LBEEFENS",
            "LCHARGH5",
            "LFINITE_TEMPERATURE",
            "LFOCKACE",
            "LH5",
            "LHYPERFINE",
            "LINTPOL_WPOT",
            "LKPOINTS_OPT",
            "LMAXMP2",
            "LNLRPA",
            "LPHON_DISPERSION",
            "LSFACTOR",
            "LSCDM",
            "LSYNCH5",
            "LVACPOTAV",
            "LVDWSCS",
            "LVDW_ONECELL",
            "LVDW",
            "LWAVEH5",
            "LZORA",
            "LTBOUNDLIBXC",
            "MAXMIX",
            "NBLOCK_FOCK",
            "NCSHMEM",
            "NELMGW",
            "NTHREADS_HI",
            "NTHREADS_LO",
            "NTHREADS_MU",
            "NUM_WANN",
            "OMEGAGRID",
            "PHON_NTLIST",
            "SCISSOR",
            "VACPOTFLAT",
            "VCAIMAGES",
            "WANNIER90_WIN",
            "IDIOT",
            "LASYNC",
            "NCORE_IN_IMAGE1",
            "STOP_ON",
            "EXXOEP",
            "LLRAUG",
            "LSCSGRAD",
            "MIXPRE",
            "WFC_DIR",
            "LWRT_AECHG",
            "EDIFFG",
        ]
    )
    | REFUSED.keys()
)
_PARAMETERS = cast("dict[str, Any]", Incar.INCAR_PARAMS)  # type and allowed values of each
KNOWN = set(_PARAMETERS) | _FURTHER | _OURS
"""Every setting that is taken for one."""

_ALGORITHMS = {
    name[:size].upper()
    for name in ("Normal", "Fast", "VeryFast", "All", "Damped", "Conjugate")
    for size in (1, len(name))
} | {"EXACT", "EIGENVAL", "SUBROT"}  # fmt: skip
_RANGES: dict[str, tuple[float, float]] = {
    "NELM": (1, math.inf), "NELMIN": (1, math.inf), "NCORE": (1, math.inf), "NPAR": (1, math.inf),
    "KPAR": (1, math.inf), "NBANDS": (1, math.inf), "NKRED": (1, math.inf), "NKREDX": (1, math.inf),
    "NKREDY": (1, math.inf), "NKREDZ": (1, math.inf), "SIGMA": (1e-4, 0.5), "LMAXMIX": (2, 8),
    "ISMEAR": (-5, 10), "NSIM": (1, math.inf),
}  # fmt: skip
_MOMENTA = (-1, 0, 1, 2, 3)


def check_incar(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with their names in capitals and values of VASP's types.

    Raises
    ------
    ValueError
        Names the first setting that is misspelt, not the user's to give, or of a wrong type.
    """
    checked: dict[str, Any] = {}
    for name, value in settings.items():
        tag = name.strip().upper()
        if tag in checked:
            raise ValueError(f"found {tag} twice, expected it once")
        _check_name(tag)
        checked[tag] = _by_element(tag, value) if tag in PER_ELEMENT else _typed(tag, value)
    return checked


def check_hubbard(settings: Mapping[str, Any]) -> None:
    """Check that DFT+U is complete, since what is missing is filled in without a word.

    Parameters
    ----------
    settings
        All settings of one fidelity, as `check_incar` returns them.

    Raises
    ------
    ValueError
        Names what is missing.
    """
    given = [tag for tag in HUBBARD if tag in settings]
    if not given:
        return
    if settings.get("LDAU") is not True:
        raise ValueError(f"found {given[0]} without LDAU: true, expected both or neither")
    u = settings.get("LDAUU", {})
    if not any(value > 0 for value in u.values()) or min(u.values()) < 0:
        raise ValueError(f"found LDAUU {u or 'nowhere'}, expected U > 0 of an element in eV")
    for tag in ("LDAUL", "LDAUJ"):
        missing = [element for element in u if element not in settings.get(tag, {})]
        if missing:
            default = "l = 0" if tag == "LDAUL" else "J = 1 eV"
            raise ValueError(
                f"found no {tag} of {', '.join(missing)}, expected one beside LDAUU "
                f"({default} would be taken)"
            )


def elements_of(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the elements that settings are given for, by setting."""
    return {tag: list(settings[tag]) for tag in PER_ELEMENT if tag in settings}


def _check_name(tag: str) -> None:
    if tag in _OURS:
        key = f" ({_KEYS[tag]})" if tag in _KEYS else ""
        raise ValueError(f"found {tag}, which this package sets itself{key}")
    if tag in REFUSED:
        raise ValueError(f"found {tag}, which {REFUSED[tag]}")
    if tag in KNOWN or tag.startswith(("ML_", "PHON_", "ELPH_", "TRANSPORT_")):
        return
    near = difflib.get_close_matches(tag, sorted(KNOWN), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else "VASP would ignore it"
    raise ValueError(f"found {tag}, which is no INCAR setting: {hint}")


def _by_element(tag: str, value: Any) -> dict[str, Any]:
    example = "{Ni: 2}" if tag != "LDAUJ" else "{Ni: 0}"
    if not isinstance(value, dict):
        raise ValueError(
            f"found {str(value)[:60]!r} for {tag}, expected a mapping by element like {example}: "
            "cells differ in number and order of atoms"
        )
    for element, number in value.items():
        if not Element.is_valid_symbol(str(element)) or isinstance(number, dict):
            raise ValueError(
                f"found {str(element)[:20]!r}: {str(number)[:40]} for {tag}, expected elements and "
                f"numbers like {example}"
            )
        usable = isinstance(number, int | float) and not isinstance(number, bool)
        if not usable or not math.isfinite(number) or (tag == "LDAUL" and number not in _MOMENTA):
            expected = "-1, 0, 1, 2 or 3" if tag == "LDAUL" else "a number"
            raise ValueError(f"found {number!r} for {tag} of {element}, expected {expected}")
    return dict(value)


def _typed(tag: str, value: Any) -> Any:
    """Return a value as VASP's type of the setting."""
    known: Mapping[str, Any] = _PARAMETERS.get(tag, {})
    kinds = [kind.strip() for kind in (known.get("type") or "").split("|") if kind.strip()]
    if value is None or isinstance(value, dict):
        raise ValueError(f"found {value!r} for {tag}, expected {_said(kinds)}")
    if not kinds:
        return value
    for kind in kinds:
        converted = _converted(kind, value)
        if converted is not None:
            break
    else:
        raise ValueError(f"found {value!r} for {tag}, expected {_said(kinds)}")
    low, high = _RANGES.get(tag, (-math.inf, math.inf))
    if isinstance(converted, int | float) and not low <= converted <= high:
        bounds = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
        raise ValueError(f"found {converted:g} for {tag}, expected {bounds}")
    _check_choice(tag, converted, known.get("values"))
    return converted


def _check_choice(tag: str, value: Any, choices: list[Any] | None) -> None:
    if tag == "ALGO":
        if value.upper() not in _ALGORITHMS:
            raise ValueError(f"found {value!r} for ALGO, expected one of a ground state (Normal)")
        return
    if tag == "ISMEAR" and value in (-2, -3):
        raise ValueError(f"found {value} for ISMEAR, expected occupations that VASP finds itself")
    if not choices or tag == "LORBIT":
        return
    if isinstance(value, str):
        # VASP reads the first letter of these
        texts = {str(choice).upper() for choice in choices}
        if value.upper() in texts | {text[:1] for text in texts}:
            return
    elif value in choices:
        return
    raise ValueError(f"found {value!r} for {tag}, expected one of {', '.join(map(str, choices))}")


def _converted(kind: str, value: Any) -> Any:
    """Return a value as a type of `incar_parameters.json`; None if it is none."""
    text = value.strip() if isinstance(value, str) else None
    match kind:
        case "bool":
            if text is not None and re.fullmatch(r"\.?(T|TRUE|F|FALSE)\.?", text, re.IGNORECASE):
                return text.strip(".")[0] in "tT"
            return value if isinstance(value, bool) else None
        case "int" | "float":
            if isinstance(value, bool | list):
                return None
            try:
                number = float(value)
            except (TypeError, ValueError):
                return None
            if not math.isfinite(number) or (kind == "int" and not number.is_integer()):
                return None
            return int(number) if kind == "int" else number
        case "list":
            return value if isinstance(value, list) and value else text
        case _:
            return text or None


def _said(kinds: list[str]) -> str:
    names = {
        "bool": "true or false", "int": "an integer", "float": "a number", "list": "a list",
        "str": "a word",
    }  # fmt: skip
    return " or ".join(names[kind] for kind in kinds) or "a value"
