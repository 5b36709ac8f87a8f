"""The durable state of a run: ``state.sqlite`` in the work folder, readable at any time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from defect_workflows.errors import StoreNotWritableError, WorkdirBusyError
from defect_workflows.running.sqlite import sqlite_error

JobState = Literal["waiting", "running", "done", "reused", "failed", "stopped", "interrupted"]
"""`stopped`: a job asked that this one not run. `interrupted`: its run died meanwhile."""

STATE = "state.sqlite"
"""Name of the state file in a work folder."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, host TEXT, pid INTEGER, started REAL, ended REAL);
CREATE TABLE IF NOT EXISTS jobs (
    run INTEGER REFERENCES runs, uuid TEXT, job_index INTEGER, name TEXT, stage TEXT, state TEXT,
    directory TEXT, started REAL, ended REAL, error TEXT, traceback TEXT, stored_data TEXT,
    PRIMARY KEY (run, uuid, job_index));
"""


@dataclass
class JobRecord:
    """A job of a run, as the state file has it; times in s since the epoch."""

    uuid: str
    job_index: int
    name: str
    stage: str
    state: JobState
    directory: str
    started: float | None = None
    ended: float | None = None
    error: str | None = None
    traceback: str | None = None
    stored_data: str | None = None

    @property
    def seconds(self) -> float:
        """Wall time of the job in s, until now if it runs."""
        if self.started is None or self.state == "interrupted":
            return 0.0
        return (self.ended or time.time()) - self.started

    @property
    def is_sound(self) -> bool:
        """Whether the values are of their kinds, as those of a damaged file may not be."""
        texts = (self.uuid, self.name, self.stage, self.directory)
        return (
            self.state in get_args(JobState)
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(at, float | int | None) for at in (self.started, self.ended))
        )


@dataclass
class StageStatus:
    """Jobs of a stage by state; `reused` ones are among the `done`."""

    stage: str
    waiting: int = 0
    running: int = 0
    done: int = 0
    reused: int = 0
    failed: int = 0
    stopped: int = 0
    interrupted: int = 0
    seconds: float = 0.0

    def count(self, state: JobState) -> None:
        """Count one more job."""
        setattr(self, state, getattr(self, state) + 1)
        if state == "reused":
            self.done += 1


class RunState:
    """Writer of the state file: one run, one writer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        with connection:
            cursor = connection.execute(
                "INSERT INTO runs (host, pid, started) VALUES (?, ?, ?)",
                (socket.gethostname(), os.getpid(), time.time()),
            )
        self.run = cursor.lastrowid

    def save(self, *records: JobRecord) -> None:
        """Write jobs in one transaction."""
        rows = [{"run": self.run, **asdict(record)} for record in records]
        if rows:
            columns = ", ".join(rows[0])
            values = ", ".join(f":{name}" for name in rows[0])
            changes = ", ".join(f"{name} = excluded.{name}" for name in rows[0])
            with self._connection:
                self._connection.executemany(
                    f"INSERT INTO jobs ({columns}) VALUES ({values}) ON CONFLICT DO UPDATE SET "
                    + changes,
                    rows,
                )

    def close(self) -> None:
        """Mark the run as ended, and what was still running as interrupted."""
        with self._connection:
            self._connection.execute(
                "UPDATE jobs SET state = 'interrupted' WHERE run = ? AND state = 'running'",
                (self.run,),
            )
            self._connection.execute(
                "UPDATE runs SET ended = ? WHERE id = ?", (time.time(), self.run)
            )


@contextmanager
def run_state(workdir: Path) -> Iterator[RunState]:
    """Open the state of a new run in a work folder, which must have no other run.

    Raises
    ------
    WorkdirBusyError
        If another run is alive there.
    StoreNotWritableError
        If the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / "run.lock").open("w")
    except OSError as error:
        raise StoreNotWritableError(
            f"{workdir}: found {error.strerror}, expected a writable folder"
        ) from error
    with lock, _state_file(workdir) as path:
        if not _locked(lock.fileno(), patience=1.0):
            raise WorkdirBusyError(f"{workdir}: found a run that is alive, expected none")
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            state = RunState(connection)
            try:
                yield state
            finally:
                state.close()


def job_records(workdir: Path) -> list[JobRecord]:
    """Return the jobs of the newest run in a work folder; none if there was no run.

    Jobs that were running when their run died are `interrupted`.

    Raises
    ------
    InputError
        If the state file is damaged: without it nothing is lost.
    """
    if not (workdir / STATE).exists():
        return []
    columns = ", ".join(JobRecord.__dataclass_fields__)
    with _state_file(workdir) as path, closing(sqlite3.connect(path, timeout=60)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
            return []  # killed before it wrote anything
        rows = connection.execute(
            f"SELECT {columns} FROM jobs WHERE run = (SELECT MAX(id) FROM runs) ORDER BY rowid"
        ).fetchall()
        records = [JobRecord(*row) for row in rows]
        if not all(record.is_sound for record in records):
            raise sqlite3.DatabaseError("a job has values that no job can have")
    if not is_running(workdir):
        for record in records:
            if record.state == "running":
                record.state = "interrupted"
    return records


@contextmanager
def _state_file(workdir: Path) -> Iterator[Path]:
    """Give the state file of a work folder; errors of SQLite become one line with the mend."""
    path = workdir / STATE
    try:
        yield path
    except (sqlite3.Error, UnicodeDecodeError) as error:
        mend = f"delete {STATE}*, nothing is lost, and run the same command again"
        raise sqlite_error(str(path), error, mend) from error


def status(workdir: Path) -> list[StageStatus]:
    """Return the state of each stage of the newest run, in the order in which stages appeared."""
    stages: dict[str, StageStatus] = {}
    for record in job_records(workdir):
        stage = stages.setdefault(record.stage, StageStatus(record.stage))
        stage.count(record.state)
        stage.seconds += record.seconds
    return list(stages.values())


def is_running(workdir: Path) -> bool:
    """Return whether a run is alive in a work folder: the kernel frees a dead one's lock."""
    try:
        with (workdir / "run.lock").open() as lock:
            return not _locked(lock.fileno(), shared=True)
    except FileNotFoundError:
        return False


def _locked(descriptor: int, *, shared: bool = False, patience: float = 0.0) -> bool:
    """Try to lock a file; `patience` in s outlasts a reader that only looks."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def to_json(value: Any) -> str | None:
    """Return data that a job asked to be kept as JSON text."""
    return None if value is None else json.dumps(value)
