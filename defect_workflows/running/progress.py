"""Progress of a run on the terminal: a line per stage; quiet when it is not a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from defect_workflows.running.local import JobEvent


class StageProgress:
    """Counts the events of a run per stage and shows them.

    Parameters
    ----------
    console
        Where to write. On a terminal a table is kept up to date; elsewhere failures alone are
        written, one line each.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, dict[tuple[str, int], str]] = {}
        self._started: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._start = time.monotonic()
        self._live = Live(
            get_renderable=self._table, console=console, refresh_per_second=2, transient=False
        )

    def __enter__(self) -> Self:
        """Start to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._live.stop()

    def update(self, event: JobEvent) -> None:
        """Take in one event."""
        job = event.job
        self._states.setdefault(job.stage, {})[job.uuid, job.job_index] = event.kind
        now = time.monotonic()
        if event.kind == "started":
            self._started.setdefault(job.stage, now)
        self._latest[job.stage] = now
        if event.kind == "failed":
            self._console.print(
                f"failed: {job.stage}: {job.name}: {job.error}", soft_wrap=True, highlight=False
            )

    def _table(self) -> Table:
        table = Table(
            box=None, title=f"{time.monotonic() - self._start:.0f} s", title_justify="left"
        )
        table.add_column("stage")
        for heading in ("done", "running", "waiting", "failed", "wall s"):
            table.add_column(heading, justify="right")
        for stage, states in self._states.items():
            kinds = list(states.values())
            done = sum(kind in ("finished", "reused", "stopped") for kind in kinds)
            running = kinds.count("started")
            waiting = sum(kind in ("submitted", "blocked") for kind in kinds)
            end = time.monotonic() if running else self._latest[stage]
            wall = end - self._started.get(stage, end)
            table.add_row(
                stage,
                f"{done}/{len(kinds)}",
                str(running or ""),
                str(waiting or ""),
                str(kinds.count("failed") or ""),
                f"{wall:.0f}",
            )
        return table
