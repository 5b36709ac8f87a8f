"""What `ingest` did, on the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from defect_workflows.documents.ingest import IngestedRun, IngestReport, RefusedFrame
from defect_workflows.report.warnings import print_warnings

_WORDS = {
    "frames": "steps",
    "labels": "new",
    "known": "known",
    "duplicates": "duplicates",
    "refused": "refused",
}


def print_ingest(console: Console, report: IngestReport) -> None:
    """Print counts per folder and per fidelity and charge, what was refused, and warnings."""
    for run in report.runs:
        console.print(_line(run), soft_wrap=True, highlight=False)
    console.print(_charges(report.runs))
    for line in refusals(report.refused):
        console.print(f"refused: {line}", soft_wrap=True, highlight=False)
    for item in report.duplicates:
        console.print(
            f"duplicate: {item.directory}/{'+'.join(item.files)} step {item.step} "
            f"is {item.same_as} ({item.energy_difference * 1000:+.3f} meV)",
            soft_wrap=True,
            highlight=False,
        )
    print_warnings(console, report.warnings)
    console.print(f"{report.labels} new labels in {report.store}", soft_wrap=True, highlight=False)


def refusals(refused: Sequence[RefusedFrame]) -> list[str]:
    """Return one line per run and reason, with the steps it concerns."""
    steps: dict[tuple[str, str], list[int]] = defaultdict(list)
    for item in refused:
        where = f"{item.directory}/{'+'.join(item.files)}" if item.files else item.directory
        # the message of a file that cannot be read names it already
        key = ("" if item.reason.startswith(item.directory) else where, item.reason)
        steps[key] += [] if item.step is None else [item.step]
    return [
        (f"{where}: " if where else "") + reason + (f" (steps {_ranges(found)})" if found else "")
        for (where, reason), found in steps.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers as 1-3, 7."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _line(run: IngestedRun) -> str:
    """Return the counts of a run; paths are long and come last."""
    counts = [f"{getattr(run, name)} {word}" for name, word in _WORDS.items()]
    kind = ("REHEARSAL " if run.rehearsal else "") + (run.fidelity or "no fidelity")
    where = f"{run.directory}/{'+'.join(run.outputs)}"
    return f"{run.formula} {_signed(run.charge)} {kind}: {', '.join(counts)} ({where})"


def _charges(runs: Sequence[IngestedRun]) -> Table:
    table = Table(title="Ionic steps")
    table.add_column("fidelity")
    for heading in ("charge", *_WORDS.values()):
        table.add_column(heading, justify="right")
    groups: dict[tuple[str, int], list[IngestedRun]] = defaultdict(list)
    for run in runs:
        groups[run.fidelity or "none", run.charge].append(run)
    for (fidelity, charge), members in sorted(groups.items()):
        table.add_row(fidelity, _signed(charge), *_totals(members))
    table.add_section()
    table.add_row("all", "", *_totals(runs))
    return table


def _totals(runs: Sequence[IngestedRun]) -> list[str]:
    return [str(sum(getattr(run, name) for run in runs)) for name in _WORDS]


def _signed(charge: int) -> str:
    return f"{charge:+d}" if charge else "0"
