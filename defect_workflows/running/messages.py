"""What the executor and its workers tell each other: plain values, nothing to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NewJobs = list[tuple[dict[str, Any], list[str]]]
"""Jobs that a job made: each as a dict, with the uuids of its parents among them."""


@dataclass(frozen=True)
class Setup:
    """What a worker needs before its first job."""

    sys_path: list[str]
    store: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One job to run."""

    job: dict[str, Any]
    directory: str
    threads: int


@dataclass(frozen=True)
class Report:
    """How a job ended: `error` is one line, and None if it ended well."""

    error: str | None = None
    traceback: str | None = None
    reused_from: str | None = None
    stored_data: Any = None
    stop_children: bool = False
    stop_jobflow: bool = False
    inserted: list[NewJobs] = field(default_factory=list)
    """Replacements and detours: what depends on the job waits for these too."""
    added: list[NewJobs] = field(default_factory=list)
    """Additions: nothing waits for them."""
