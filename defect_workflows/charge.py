"""The one place where a charge is set or read.

A configuration carries its charge as ``structure.properties["charge"]``; ASE atoms carry it as
``info["charge"]`` (read by MACE's calculator and torch-sim) and ``info["total_charge"]`` (read by
MACE's training). A missing charge is never taken for zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from defect_workflows.errors import InvalidChargeError, MissingChargeError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

STRUCTURE_KEY = "charge"
CALCULATOR_KEY = "charge"
TRAINING_KEY = "total_charge"
NELECT_TOLERANCE = 1e-3

_SIGNED = (
    r"(?P<name>.+?)[\s_/-](?:q|charge)[\s_=]*(?P<charge>[+-]?\d+)",  # Mg_Ga-0_q=1: atomate2
    r"(?P<name>.+?)[\s_]\(?(?P<charge>[+-]\d+)\)?",  # v_Cd_-2: doped, pydefect, PyCDT
    r"(?P<name>.+?)(?P<charge>\+\d+)",
    r"(?P<name>.+?)[\s_]\(?(?P<charge>\d+[+-])\)?",
)
_UNSIGNED = (
    r"(?P<name>.+)[\s_](?P<charge>\d+)",  # Va_O1_2, sub_1_Mg_on_Ga_1: or the number of a site
    r"(?P<name>.+)(?P<charge>-\d+)",  # Mg_Ga-0: or atomate2's number of a site
    r"(?P<name>.+)[\s_](?P<charge>[pmn]\d+)",
)


def as_charge(value: Any, where: str = "charge") -> int:
    """Return a charge as an integer.

    Raises
    ------
    InvalidChargeError
        If the value is not an integer number (booleans are not numbers here).
    """
    if isinstance(value, bool):
        raise InvalidChargeError(f"{where}: found {value!r}, expected an integer")
    try:
        charge = int(value)
        exact = float(value) == charge
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise InvalidChargeError(f"{where}: found {value!r}, expected an integer")
    return charge


def with_charge(structure: Structure, charge: int) -> Structure:
    """Return a copy of a structure that carries a charge (in units of e)."""
    charge = as_charge(charge)
    copy = structure.copy()
    # pymatgen's copies share the dict: writing into it would change the charge of the original
    copy.properties = {**structure.properties, STRUCTURE_KEY: charge}
    copy.set_charge(charge)
    return copy


def charge_of(structure: Structure) -> int:
    """Return the charge of a structure (in units of e).

    Raises
    ------
    MissingChargeError
        If the structure carries none.
    """
    if structure.properties.get(STRUCTURE_KEY) is None:
        raise MissingChargeError(
            f"structure {structure.composition.formula}: found no charge, "
            'expected properties["charge"]'
        )
    return as_charge(structure.properties[STRUCTURE_KEY], structure.composition.formula)


def to_atoms(structure: Structure) -> Atoms:
    """Return ASE atoms that carry the structure's charge where MACE and torch-sim look for it.

    Raises
    ------
    MissingChargeError
        If the structure carries none.
    """
    from ase import Atoms

    charge = charge_of(structure)
    return Atoms(
        numbers=[site.specie.Z for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
        info={CALCULATOR_KEY: charge, TRAINING_KEY: charge},
    )


def charge_of_atoms(atoms: Atoms) -> int:
    """Return the charge of ASE atoms (in units of e).

    Raises
    ------
    MissingChargeError
        If one of the two keys is missing.
    InvalidChargeError
        If the two keys contradict each other.
    """
    values = [atoms.info.get(key) for key in (CALCULATOR_KEY, TRAINING_KEY)]
    if any(value is None for value in values):
        raise MissingChargeError(
            f"atoms {atoms.get_chemical_formula()}: found charge={values[0]!r} and "
            f"total_charge={values[1]!r}, expected both"
        )
    charges = {as_charge(value, atoms.get_chemical_formula()) for value in values}
    if len(charges) != 1:
        raise InvalidChargeError(
            f"atoms {atoms.get_chemical_formula()}: charge={values[0]} contradicts "
            f"total_charge={values[1]}"
        )
    return charges.pop()


def valence_electrons(composition: Mapping[str, float], valences: Mapping[str, float]) -> float:
    """Return the number of valence electrons of a neutral cell: the sum of ZVAL x atoms."""
    missing = sorted(set(composition) - set(valences))
    if missing:
        raise InvalidChargeError(f"ZVAL: found none for {', '.join(missing)}, expected one each")
    return sum(valences[symbol] * amount for symbol, amount in composition.items())


def nelect(charge: int, composition: Mapping[str, float], valences: Mapping[str, float]) -> float:
    """Return VASP's NELECT of a charged cell: ZVAL x atoms - q."""
    return valence_electrons(composition, valences) - as_charge(charge)


def charge_from_nelect(
    electrons: float, composition: Mapping[str, float], valences: Mapping[str, float]
) -> int:
    """Return the charge that a calculation really had: ZVAL x atoms - NELECT.

    Raises
    ------
    InvalidChargeError
        If the difference is not an integer.
    """
    difference = valence_electrons(composition, valences) - electrons
    charge = round(difference)
    if abs(difference - charge) > NELECT_TOLERANCE:
        raise InvalidChargeError(
            f"NELECT: found {electrons:g}, which gives charge {difference:+.3f}, "
            "expected an integer charge"
        )
    return charge


def signed_charge(name: str) -> tuple[str, int] | None:
    """Return a name without the charge that it certainly ends in, and that charge in units of e.

    A charge is certain with a sign of its own or with ``q=``: v_Cd_-2, Mg_Ga-0_q=1.
    """
    return _charge_at_end(name, _SIGNED)


def unsigned_charge(name: str) -> tuple[str, int] | None:
    """Return a name without a number at its end that may be a charge, and that charge.

    It may as well be the number of a site: v_Cd_1, Mg_Ga-1.
    """
    return _charge_at_end(name, _UNSIGNED)


def _charge_at_end(name: str, spellings: tuple[str, ...]) -> tuple[str, int] | None:
    for spelling in spellings:
        if match := re.fullmatch(spelling, name.strip().replace("\N{MINUS SIGN}", "-")):
            number = int(re.sub(r"\D", "", match["charge"]))
            return match["name"], -number if set("-mn") & set(match["charge"]) else number
    return None
