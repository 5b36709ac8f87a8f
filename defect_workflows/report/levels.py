"""Levels of finished runs on the terminal: progress while they are made, and a summary."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from defect_workflows.documents.levels import DefectLevelsDocument
from defect_workflows.documents.warnings import CLASSES
from defect_workflows.report.warnings import print_line, print_warnings


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
    """Print levels, errors and warnings by code, and states that could not be used."""
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
    print_warnings(console, levels.warnings)
    for error in levels.errors:
        print_line(console, "error", error.message)


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
            ", ".join(code for code in dict.fromkeys(state.warnings) if CLASSES[code] != "note"),
        )
    return table


def levels_table(levels: DefectLevelsDocument, searched: bool = False) -> Table:
    """Return transition levels as a table for the terminal.

    Parameters
    ----------
    levels
        The levels.
    searched
        They are a campaign's: show those of the potential alone, which are verified, and which
        are converged.
    """
    title = f"Transition levels of {levels.host}, eV above the VBM (gap {levels.band_gap:.3f})"
    table = Table(
        title=Text.assemble(("REHEARSAL ", "bold red") if levels.rehearsal else "", title),
        title_justify="left",
    )
    names = ["defect", "level", "energy", "± error", "in gap"]
    if searched:
        names += ["potential alone", "verified", "converged"]
        names = [name.replace(" ", "\n") for name in names]  # else wider than 80 columns
    for name in names:
        table.add_column(name, justify="left" if name == "defect" else "right")
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
            cells += [
                "" if level.energy_mlip is None else f"{level.energy_mlip:.3f}",
                _yes_or_no(level.verified),
                _yes_or_no(level.converged),
            ]
        table.add_row(*cells)
    return table


def _yes_or_no(value: bool | None) -> Text:
    """Return what stands in a cell: yes, no, or nothing where it is not known."""
    return Text("") if value is None else Text("yes", "green") if value else Text("no", "red")
