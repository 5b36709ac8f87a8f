"""The one place where a fidelity (a functional as a level of theory) is named and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from defect_workflows.errors import UnknownFidelityError

Fidelity = Literal["lda", "pbe", "pbesol", "r2scan", "pbe0", "hse06"]
"""A level of theory. The same string names a label's field, a VASP input set and a MACE head."""

FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)
"""Every fidelity, in ascending order."""

CAMPAIGN_FIDELITIES: tuple[Fidelity, ...] = ("pbe", "hse06")
"""Those that a campaign calculates itself; the others come in with finished calculations."""

_SEMILOCAL: dict[str, Fidelity] = {"CA": "lda", "PE": "pbe", "PS": "pbesol", "R2SCAN": "r2scan"}

STANDARD_EXCHANGE = 0.25
"""Fraction of exact exchange of PBE0 and HSE06."""

STANDARD_SCREENING = (0.2, 0.208)
"""Screening of HSE06 in 1/Å: both values are in use under its name."""


class Functional(Protocol):
    """What a level of theory says of its functional."""

    functional: str | None
    exact_exchange: float
    screening: float


def head_index(fidelity: str, heads: Sequence[str]) -> int:
    """Return the position of a fidelity among a model's heads.

    Raises
    ------
    UnknownFidelityError
        If the model has no such head: MACE itself would take another one with a warning.
    """
    if fidelity not in heads:
        raise UnknownFidelityError(
            f"fidelity: found {fidelity!r}, expected one of the heads {', '.join(heads)}"
        )
    return list(heads).index(fidelity)


def fidelity_of(theory: Functional) -> Fidelity:
    """Return the fidelity that a level of theory belongs to.

    A hybrid of PBE belongs to its family whatever its fraction of exact exchange: two fractions are
    one head only if they are equal, which `dft.consistency` checks; `is_standard` tells whether it
    is the published one.

    Raises
    ------
    UnknownFidelityError
        If the functional is none of those with a fidelity.
    """
    if theory.functional is None:
        raise UnknownFidelityError(
            "functional: not named (GGA and METAGGA), expected it: put the vasprun.xml or the "
            "INCAR of the run beside its OUTCAR"
        )
    if theory.functional == "PE+HF":
        return "hse06" if theory.screening > 0 else "pbe0"
    fidelity = _SEMILOCAL.get(theory.functional)
    if fidelity is None:
        raise UnknownFidelityError(
            f"functional: found {theory.functional}, expected that of a fidelity "
            f"({', '.join(FIDELITIES)})"
        )
    return fidelity


def is_standard(theory: Functional) -> bool:
    """Tell whether a hybrid has the parameters of its name; semi-local functionals have none."""
    if theory.functional is None or not theory.functional.endswith("+HF"):
        return True
    screened = theory.screening == 0 or theory.screening in STANDARD_SCREENING
    return theory.exact_exchange == STANDARD_EXCHANGE and screened
