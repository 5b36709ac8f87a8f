"""Levels of finished runs on the terminal: progress while they are made, and a summary."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from defect_workflows.documents.levels import DefectLevelsDocument
from defect_workflows.terminal import printable

UNMET = "rounds_not_converged"

Standing = Literal["yes", "not converged", "no"]
"""What stands in the column 'verified'."""
"""Code of the warning that lists the criteria that a campaign's rounds did not meet."""


class StepProgress:
    """Shows how far each step is; quiet where the output is not a terminal.

    Parameters
    ----------
    console
        Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start to show."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave a clean screen."""
        self._progress.stop()

    def update(self, step: str, done: int, total: int) -> None:
        """Take in how many parts of a step are done."""
        if step not in self._tasks:
            # not before the first jobs: their processes are forked then, and threads are not
            self._progress.start()
            self._tasks[step] = self._progress.add_task(step, total=total)
        self._progress.update(self._tasks[step], completed=done, total=total)


def print_summary(console: Console, levels: DefectLevelsDocument) -> None:
    """Print levels, warnings by code and states that could not be used."""
    console.print(states_table(levels))
    if levels.transition_levels:
        console.print(levels_table(levels))
    else:
        console.print("No transition levels: no defect has two charge states.")
    for limit in levels.limits:
        if limit.chosen:
            console.print(f"Formation energies at the limit {limit.name}", highlight=False)
    for record in levels.fermi_levels:
        console.print(
            f"Fermi level at {record.limit}, {record.temperature:g} K: "
            f"{record.fermi_level:.3f} eV above the VBM",
            highlight=False,
        )
    print_warnings(console, levels)
    for error in levels.errors:
        _line(console, "error", "red", error.message)


def print_warnings(console: Console, levels: DefectLevelsDocument) -> None:
    """Print the first warning of every code, a line each, and each unmet criterion below it."""
    counts = Counter(warning.code for warning in levels.warnings)
    for code, count in counts.items():
        first = next(warning.message for warning in levels.warnings if warning.code == code)
        if code == UNMET:
            first = first.replace(": ", ":\n  ", 1).replace("; ", "\n  ")
        more = f" (and {count - 1} more)" if count > 1 else ""
        _line(console, "warning", "yellow", f"{code}: {first}{more}")


def states_table(levels: DefectLevelsDocument) -> Table:
    """Return the states of finished runs as a table for the terminal."""
    reference = "" if levels.limits else ", elemental references 0"
    table = Table(
        title=f"States of {levels.host}: formation energies at the VBM in eV{reference}",
        title_justify="left",
    )
    for name in ("defect", "charge", "formation energy", "raw", "correction", "scheme", "warnings"):
        left = name in ("defect", "scheme", "warnings")
        table.add_column(name, justify="left" if left else "right")
    for state in levels.states:
        table.add_row(
            state.defect,
            f"{state.charge:+d}" if state.charge else "0",
            f"{state.formation_energy:.3f}",
            "" if state.raw_difference is None else f"{state.raw_difference:.3f}",
            f"{state.correction.energy:.3f}" if state.charge else "",
            state.correction.scheme if state.charge else "",
            ", ".join(dict.fromkeys(state.warnings)),
        )
    return table


def levels_table(levels: DefectLevelsDocument, searched: bool = False) -> Table:
    """Return transition levels as a table for the terminal.

    Parameters
    ----------
    levels
        The levels.
    searched
        They are a campaign's: show those of the potential alone, and which are verified.
    """
    title = f"Transition levels of {levels.host}, eV above the VBM (gap {levels.band_gap:.3f})"
    table = Table(
        title=Text.assemble(("REHEARSAL ", "bold red") if levels.rehearsal else "", title),
        title_justify="left",
    )
    names = ["defect", "level", "energy", "± error", "in gap"]
    if searched:
        names += ["potential alone", "verified"]
    for name in names:
        table.add_column(name, justify="left" if name == "defect" else "right")
    colours = {"yes": "none", "not converged": "yellow", "no": "red"}
    for level in levels.transition_levels:
        upper, lower = (f"{charge:+d}" if charge else "0" for charge in level.charges)
        cells: list[str | Text] = [
            level.defect,
            f"({upper}/{lower})",
            f"{level.energy:.3f}",
            f"{level.error:.3f}",
            "yes" if level.in_gap else "no",
        ]
        if searched:
            found = standing(levels, level.verified)
            cells += [
                "" if level.energy_mlip is None else f"{level.energy_mlip:.3f}",
                Text(found, colours[found]),
            ]
        table.add_row(*cells)
    return table


def standing(levels: DefectLevelsDocument, verified: bool) -> Standing:
    """Return what to say of a level or a state: whether it is verified, and may be relied on.

    Where the rounds of the campaign have not converged a lower structure may be missing, and
    nothing is beyond doubt.
    """
    if not verified:
        return "no"
    doubt = any(warning.code == UNMET for warning in levels.warnings)
    return "not converged" if doubt else "yes"


def _line(console: Console, kind: str, colour: str, message: str) -> None:
    line = Text.assemble((f"{kind} ", colour), printable(message))
    console.print(line, soft_wrap=True, highlight=False)
