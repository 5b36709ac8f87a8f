"""The one place where a fidelity (a functional as a level of theory) is named and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from defect_workflows.errors import UnknownFidelityError

Fidelity = Literal["pbe", "hse06"]
"""A level of theory. The same string names a label's field, a VASP input set and a MACE head."""

FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)


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
