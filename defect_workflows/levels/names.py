"""What the name of a defect says, and whether that contradicts its structure or its charge.

Names come from doped (v_Cd, Te_i_Td_Cd2.83), older doped and PyCDT (vac_1_Cd, sub_1_Cu_on_Zn),
pydefect (Va_O1, O_i1), atomate2 (Mg_Ga-0) and people, with or without a charge at the end. A name
is refused only where it can be read and no reading of it fits, or where it leaves open which
states belong to one defect: levels between some of them would be wrong.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pymatgen.core import Element

from defect_workflows.charge import unsigned_charge
from defect_workflows.errors import InputError

_VACANCY = {"v", "V", "va", "Va", "VA", "vac", "Vac", "vacancy", "Vacancy"}
_INTERSTITIAL = {"i", "int", "Int", "inter", "Inter", "interstitial", "Interstitial"}
_SUBSTITUTION = {"sub", "Sub", "as", "As", "antisite", "Antisite"}

Changes = dict[str, int]
"""Atoms added (+1) and removed (-1) per element symbol."""


@dataclass(frozen=True)
class NamedState:
    """A calculated state under the name that the user gave it.

    Attributes
    ----------
    name
        Without a charge that is certain, see `charge.signed_charge`.
    charge
        Charge of the calculation.
    formula
        Composition of the calculation.
    given
        Whether the user gave the charge, beside the name or in it.
    complete
        Whether a charge was taken off the name already: a number left at its end is none.
    """

    name: str
    charge: int
    formula: str = ""
    given: bool = False
    complete: bool = False


def defect_names(states: Sequence[NamedState]) -> list[str]:
    """Return the name of the defect of each state, without a charge at its end.

    A number at the end of names is the charge where it is that of the calculation in every state
    (Va_O1_2, Va_O1_0); otherwise it belongs to the name (v_Cd_1 of charges 0 and -1).

    Raises
    ------
    InputError
        If names leave open which states belong to one defect; it names them.
    """
    numbered = [None if state.complete else unsigned_charge(state.name) for state in states]
    # v_Cd_1 is a defect's name where v_Cd_1_0 or v_Cd_1_-1 is the name of a state
    stems = {found[0] for found in numbered if found}
    stems |= {state.name for state in states if state.complete}
    names = [state.name for state in states]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, found in enumerate(numbered):
        if found and names[index] not in stems:
            groups[found[0]].append(index)
    for stem, members in groups.items():
        pairs = [(found[1], states[i].charge) for i in members if (found := numbered[i])]
        if all(number == charge for number, charge in pairs):
            for index in members:
                names[index] = stem
            continue
        own = [states[i] for i in members]
        concerned = own + [state for state in states if state.name == stem]
        if any(abs(number) == abs(charge) for number, charge in pairs) and not (
            all(state.given for state in own)
            or any(len(charges) > 1 for charges in _charges(own).values())  # numbers of sites
            or len({state.charge for state in concerned}) == 1
            or len({state.name for state in concerned}) == 1
        ):
            raise InputError(
                f"defects: found {_listed(_charges(concerned))}, expected numbers at the end that "
                "are the charges of the calculations (signed), or names without charge and the "
                "key charge"
            )
    _check_spellings(names, states)
    return names


def _check_spellings(names: Sequence[str], states: Sequence[NamedState]) -> None:
    """Refuse two spellings of what may be one defect, if each has charges of its own."""
    groups: dict[tuple[str, str], list[NamedState]] = defaultdict(list)
    for name, state in zip(names, states, strict=True):
        if readings(name):
            groups[state.formula, _label(name)].append(NamedState(name, state.charge))
    for group in groups.values():
        charges = _charges(group)
        for one, other in combinations(charges, 2):
            same_spelling = re.sub(r"\d+", "#", one) == re.sub(r"\d+", "#", other)
            if not same_spelling and not charges[one] & charges[other]:
                both = {name: charges[name] for name in (one, other)}
                raise InputError(
                    f"defects: found {_listed(both)}, which may be one defect in two spellings, "
                    "expected one name of one defect, or labels that are no numbers (v_O_a, v_O_b)"
                )


def _charges(states: Iterable[NamedState]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for state in states:
        found[state.name].add(state.charge)
    return found


def _listed(charges: Mapping[str, set[int]]) -> str:
    """Return names with the charges of their calculations: v_Cd (charge 0, -1)."""
    return ", ".join(
        f"{name} (charge {', '.join(f'{q:+d}' if q else '0' for q in sorted(found, reverse=True))})"
        for name, found in charges.items()
    )


def readings(name: str) -> list[Changes]:
    """Return what a name may mean: atoms added and removed; nothing where it cannot be read.

    More than one is returned for names like V_O (a vacancy, or vanadium on oxygen).
    """
    words = _words(name)
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


def _words(name: str) -> list[str]:
    """Return the words of a name without the number of a site: Va_O1: Va O, vac_1_Cd: vac Cd."""
    words = [word for word in re.split(r"[_\s]+", re.sub(r"-\d+$", "", name)) if word]
    if len(words) == 1 and (match := re.fullmatch(r"v([A-Z][a-z]?)", words[0])):
        words = ["v", match[1]]
    if len(words) > 2 and words[1].isdecimal():
        words.pop(1)
    if len(words) > 1:
        words[1] = re.sub(r"(?<=[a-zA-Z])\d+$", "", words[1])
    return words


def _label(name: str) -> str:
    """Return what follows the defect in a name that can be read, without numbers of sites."""
    words = _words(name)
    after = words.index("on") + 2 if "on" in words else 2
    return "_".join(word for word in words[after:] if not word.isdecimal())


def _is_element(word: str) -> bool:
    return Element.is_valid_symbol(word)
