"""What the name of a defect says, and whether that contradicts its structure.

Names come from doped (v_Cd, Te_i_Td_Cd2.83), pymatgen (vac_1_Cd, sub_1_Cu_on_Zn), atomate2
(Mg_Ga-0) and people. A name is refused only where it can be read and no reading of it fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pymatgen.core import Element

_VACANCY = {"v", "V", "va", "Va", "VA", "vac", "Vac", "vacancy", "Vacancy"}
_INTERSTITIAL = {"i", "int", "Int", "inter", "Inter", "interstitial", "Interstitial"}
_SUBSTITUTION = {"sub", "Sub", "as", "As", "antisite", "Antisite"}

Changes = dict[str, int]
"""Atoms added (+1) and removed (-1) per element symbol."""


def readings(name: str) -> list[Changes]:
    """Return what a name may mean: atoms added and removed; nothing where it cannot be read.

    More than one is returned for names like V_O (a vacancy, or vanadium on oxygen).
    """
    words = [word for word in re.split(r"[_\s]+", re.sub(r"-\d+$", "", name)) if word]
    if len(words) == 1 and (match := re.fullmatch(r"v([A-Z][a-z]?)", words[0])):
        words = ["v", match[1]]
    if len(words) > 2 and words[1].isdecimal():
        words.pop(1)
    if len(words) < 2 or set(words[2:]) & (_VACANCY | _INTERSTITIAL | _SUBSTITUTION):
        return []  # not a name of one point defect
    first, second = words[:2]
    found: list[Changes] = []
    if first in _VACANCY and _is_element(second):
        found.append({second: -1})
    if first in _INTERSTITIAL and _is_element(second):
        found.append({second: +1})
    if _is_element(first) and second in _INTERSTITIAL:
        found.append({first: +1})
    if _is_element(first) and _is_element(second) and first != second:
        found.append({first: +1, second: -1})
    on = words.index("on") if "on" in words else 0
    if on and len(words) > on + 1 and _is_element(words[on - 1]) and _is_element(words[on + 1]):
        found.append({words[on - 1]: +1, words[on + 1]: -1})
    return found


def contradicts(name: str, changes: Mapping[str, int]) -> bool:
    """Tell whether a name certainly means another defect than a change of composition shows."""
    found = readings(name)
    return bool(found) and dict(changes) not in found


def describe(changes: Mapping[str, int]) -> str:
    """Return a change of composition as doped names point defects: v_Cd, Te_i, Te_Cd."""
    added = [symbol for symbol, n in changes.items() if n > 0]
    removed = [symbol for symbol, n in changes.items() if n < 0]
    if sorted(changes.values()) == [-1, 1]:
        return f"{added[0]}_{removed[0]}"
    if list(changes.values()) == [-1]:
        return f"v_{removed[0]}"
    if list(changes.values()) == [1]:
        return f"{added[0]}_i"
    return " ".join(f"{n:+d} {symbol}" for symbol, n in sorted(changes.items())) or "no change"


def _is_element(word: str) -> bool:
    return Element.is_valid_symbol(word)
