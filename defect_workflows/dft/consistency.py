"""One level of theory for all: what to say of calculations that differ in their settings."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from defect_workflows.dft.differences import (
    cell_difference,
    differences,
    elements,
    of_element,
    state_differences,
)
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import LevelOfTheoryError


def consistency_warnings(
    name: str, calculation: FinishedCalculation, bulk: FinishedCalculation
) -> list[LevelWarning]:
    """Return one warning per setting in which a calculation differs from its bulk.

    Parameters
    ----------
    name
        Name of the state, for the messages.
    calculation, bulk
        The two calculations; each message has the bulk's value last.
    """
    return [
        LevelWarning(
            code=item.code,
            message=f"{name}: {item.text} ({calculation.directory})",
        )
        for item in state_differences(calculation, bulk)
    ]


def dopant_warnings(
    calculations: Sequence[tuple[str, FinishedCalculation]], bulk: FinishedCalculation
) -> list[tuple[str, LevelWarning]]:
    """Return differences in elements that the bulk lacks: to the first calculation with them.

    Parameters
    ----------
    calculations
        With a name each, for the messages.
    bulk
        The pristine supercell.

    Returns
    -------
    list[tuple[str, LevelWarning]]
        Each warning with the name of the calculation.
    """
    first: dict[str, tuple[str, LevelOfTheory]] = {}
    found = []
    for name, calculation in calculations:
        theory = calculation.level_of_theory
        for element in sorted(elements(theory) - elements(bulk.level_of_theory)):
            reference, other = first.setdefault(element, (name, theory))
            found += [
                (
                    name,
                    LevelWarning(
                        code=item.code,
                        message=f"{name}: {item.name}: found {item.one}, {reference} has "
                        f"{item.other} ({calculation.directory})",
                    ),
                )
                for item in differences(of_element(theory, element), of_element(other, element))
                if item.setting in ("potcars", "hubbard")
            ]
    return found


def check_one_level_of_theory(
    labels: Sequence[Label], differing: Collection[str] = frozenset()
) -> None:
    """Check that labels of a fidelity agree, and fidelities but for the functional.

    Parameters
    ----------
    labels
        The labels.
    differing
        Further settings in which the user asked the fidelities to differ (`DftSettings.differing`).

    Raises
    ------
    LevelOfTheoryError
        Names the setting and the two values; or if labels of a rehearsal are among real ones.
    """
    first: dict[str, Label] = {}
    for label in labels:
        for fidelity, reference in first.items():
            cells = cell_difference(
                reference.configuration.structure, label.configuration.structure
            )
            across = fidelity != label.fidelity
            found: list[object] = [
                item
                for item in differences(
                    reference.level_of_theory,
                    label.level_of_theory,
                    across_fidelities=across,
                    same_cell=not cells,
                )
                if not (across and item.setting in differing)
            ]
            if reference.rehearsal != label.rehearsal:
                found.append("one of them is a rehearsal's")
            if found:
                raise LevelOfTheoryError(
                    f"{label.configuration.origin.state} at {label.fidelity} against "
                    f"{reference.configuration.origin.state} at {fidelity}: "
                    f"{'; '.join(map(str, found))}"
                )
        first.setdefault(label.fidelity, label)
