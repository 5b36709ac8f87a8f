"""The local executor: a jobflow graph on this machine, several jobs at once, durable state."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
from jobflow import Flow, Job, JobStore
from jobflow.core.flow import get_flow
from maggma.stores import MemoryStore

from defect_workflows.errors import InputError
from defect_workflows.running.graph import JobGraph, Key, Node
from defect_workflows.running.messages import Report, Setup, Task
from defect_workflows.running.pool import WorkerPool
from defect_workflows.running.state import JobRecord, RunState, run_state, to_json
from defect_workflows.running.stores import ensure_writable, parts

EventKind = Literal["submitted", "started", "finished", "reused", "failed", "stopped", "blocked"]


@dataclass(frozen=True)
class JobEvent:
    """Something happened to a job; `blocked` ones wait for a job that failed."""

    kind: EventKind
    job: JobRecord
    metadata: dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    jobs: list[JobRecord]

    @property
    def failed(self) -> list[JobRecord]:
        """Jobs that failed, first first, with the error in one line and the traceback."""
        failed = [job for job in self.jobs if job.state == "failed"]
        return sorted(failed, key=lambda job: job.ended or 0.0)

    @property
    def complete(self) -> bool:
        """Whether every job ended well or was stopped on purpose."""
        return all(job.state in ("done", "reused", "stopped") for job in self.jobs)


def run_flow(
    flow: Flow | Job | list[Job],
    store: JobStore,
    workdir: Path,
    *,
    workers: int = 2,
    cores: int | None = None,
    on_event: Callable[[JobEvent], None] | None = None,
    allow_external_references: bool = False,
) -> RunResult:
    """Run a flow here, each job in its own directory below ``workdir/jobs``.

    Jobs mean what they mean under FireWorks. A job that fails, or takes its worker down with it,
    stops only what depends on it. The state is in ``workdir/state.sqlite`` at any time, see
    `status`. After a kill, run the same campaign again: jobs that use `reuse` find
    their results in the store.

    Parameters
    ----------
    flow
        What to run.
    store
        Where outputs go: one that other processes can open, not a `MemoryStore`.
    workdir
        The work folder; one run at a time.
    workers
        Jobs at once, at most.
    cores
        Cores to share; default all of this machine. A job alone gets all of them, jobs side by side
        equal shares; ``manager_config={"threads": n}`` asks for n.
    on_event
        Called with everything that happens, in this thread.
    allow_external_references
        Whether jobs may refer to outputs of jobs that are not in the flow but in the store.

    Returns
    -------
    RunResult
        All jobs of this run, those made on the way included.

    Raises
    ------
    StoreNotWritableError
        If store or work folder cannot be written.
    WorkdirBusyError
        If another run is alive in the work folder.
    KeyboardInterrupt
        On Ctrl-C, when all workers have been ended and the state is written.
    """
    if any(type(part) is MemoryStore for part in parts(store)):
        raise InputError("store: found MemoryStore, expected one that other processes can open")
    jobs = list(get_flow(flow, allow_external_references=allow_external_references).iterflow())
    workdir = Path(workdir).absolute()
    with run_state(workdir) as state:
        ensure_writable(store)
        setup = Setup([str(Path(entry).absolute()) for entry in sys.path], store.as_dict())
        pool = WorkerPool(workers, setup, workdir / "workers.log")
        run = _Run(pool, state, workdir, cores or joblib.cpu_count(), on_event)
        try:
            run.submit(run.graph.add([(job.as_dict(), list(parents)) for job, parents in jobs]))
            run.execute()
        finally:
            pool.kill()
    return RunResult(list(run.records.values()))


class _Run:
    """One run of a graph: what is ready goes to the pool, what happens goes to the state."""

    def __init__(
        self,
        pool: WorkerPool,
        state: RunState,
        workdir: Path,
        cores: int,
        on_event: Callable[[JobEvent], None] | None,
    ) -> None:
        self.graph = JobGraph()
        self.records: dict[Key, JobRecord] = {}
        self._pool = pool
        self._state = state
        self._workdir = workdir
        self._cores = cores
        self._on_event = on_event
        self._threads: dict[Key, int] = {}  # of the jobs that run now

    def execute(self) -> None:
        """Run until nothing runs and nothing is ready."""
        self._start_ready()
        while self._pool.busy:
            for node, report in self._pool.wait():
                self._end(node, report)
            self._start_ready()

    def submit(self, nodes: list[Node]) -> None:
        """Record new jobs."""
        for node in nodes:
            self.records[node.key] = JobRecord(
                uuid=node.key[0],
                job_index=node.key[1],
                name=node.name,
                stage=node.stage,
                state="waiting",
                directory=str(self._directory(node)),
            )
        self._happened("submitted", nodes)

    def _start_ready(self) -> None:
        ready = list(self.graph.ready())
        for position, node in enumerate(ready):
            abreast = min(self._pool.size, len(self._threads) + len(ready) - position)
            if len(self._threads) == self._pool.size:
                return
            threads = min(node.threads or max(1, self._cores // abreast), self._cores)
            if (
                self._threads
                and node.threads
                and threads > self._cores - sum(self._threads.values())
            ):
                return  # it waits for cores, and those behind it wait with it: no job starves
            node.state = "running"
            self._threads[node.key] = threads
            record = self.records[node.key]
            record.started = time.time()
            self._happened("started", [node])
            self._pool.start(node, Task(node.job, record.directory, threads))

    def _end(self, node: Node, report: Report) -> None:
        del self._threads[node.key]
        added, changed = self.graph.end(node, report)
        record = self.records[node.key]
        record.ended = time.time()
        record.error = report.error
        record.traceback = report.traceback
        record.stored_data = to_json(report.stored_data)
        kinds: dict[str, EventKind] = {"done": "finished", "reused": "reused", "failed": "failed"}
        self._happened(kinds[node.state], [node])
        self.submit(added)
        for other in changed:
            if other.blocked_by is not None:
                self.records[other.key].error = f"waits for {other.blocked_by!r}, which failed"
        self._happened("stopped", [other for other in changed if other.state == "stopped"])
        self._happened("blocked", [other for other in changed if other.state == "waiting"])

    def _happened(self, kind: EventKind, nodes: list[Node]) -> None:
        for node in nodes:
            self.records[node.key].state = node.state
        self._state.save(*(self.records[node.key] for node in nodes))
        if self._on_event is not None:
            for node in nodes:
                self._on_event(JobEvent(kind, self.records[node.key], node.metadata))

    def _directory(self, node: Node) -> Path:
        uuid, index = node.key
        name = f"{_file_name(node.name)}-{uuid[:13]}-{index}"
        return self._workdir / "jobs" / _file_name(node.stage) / name


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)[:80]
