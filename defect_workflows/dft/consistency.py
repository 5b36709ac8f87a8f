"""One level of theory a fidelity: what must be equal, and what was found."""

from __future__ import annotations

from collections.abc import Sequence

from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.errors import LevelOfTheoryError

# The functional is what distinguishes the fidelities; all else must be equal.
_OF_THE_FIDELITY = {"functional", "exact_exchange", "screening"}
# Compared per element, since a defect may lack one of them or bring one.
_PER_ELEMENT = {"potcars"}


def differences(
    one: LevelOfTheory, other: LevelOfTheory, across_fidelities: bool = False
) -> list[str]:
    """Return every setting that differs, as 'name: value != value'."""
    found = []
    for name in LevelOfTheory.model_fields:
        if name in _PER_ELEMENT or (across_fidelities and name in _OF_THE_FIDELITY):
            continue
        if getattr(one, name) != getattr(other, name):
            found.append(f"{name}: {getattr(one, name)} != {getattr(other, name)}")
    mine, theirs = (
        {title.split()[1].split("_")[0]: title for title in theory.potcars}
        for theory in (one, other)
    )
    found += [
        f"potcars: {mine[element]} != {theirs[element]}"
        for element in sorted(mine.keys() & theirs.keys())
        if mine[element] != theirs[element]
    ]
    return found


def check_one_level_of_theory(labels: Sequence[Label]) -> None:
    """Check that labels of a fidelity agree, and fidelities but for the functional.

    Raises
    ------
    LevelOfTheoryError
        Names the setting and the two values.
    """
    first: dict[str, Label] = {}
    for label in labels:
        for fidelity, reference in first.items():
            found = differences(
                reference.level_of_theory, label.level_of_theory, fidelity != label.fidelity
            )
            if found:
                raise LevelOfTheoryError(
                    f"{label.configuration.origin.state} at {label.fidelity} against "
                    f"{reference.configuration.origin.state} at {fidelity}: {'; '.join(found)}"
                )
        first.setdefault(label.fidelity, label)
