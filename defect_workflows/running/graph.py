"""Which job may run: the graph of a flow, growing while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jobflow import OnMissing

from defect_workflows.running.messages import NewJobs, Report
from defect_workflows.running.state import JobState

Key = tuple[str, int]
"""uuid and index of a job; a job that replaced another has its uuid and the next index."""

ENDED: frozenset[JobState] = frozenset({"done", "reused", "failed", "stopped"})


@dataclass(eq=False)
class Node:
    """A job in the graph."""

    job: dict[str, Any]
    parents: set[Key]
    state: JobState = "waiting"
    blocked_by: str | None = None
    """Name of the failed job that this one waits for in vain."""
    key: Key = field(init=False)
    name: str = field(init=False)
    metadata: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.key = (self.job["uuid"], self.job["index"])
        self.name = self.job["name"]
        self.metadata = self.job["metadata"]

    @property
    def stage(self) -> str:
        """Stage of the campaign that the job belongs to."""
        return self.metadata.get("stage", self.name)

    @property
    def threads(self) -> int | None:
        """Threads that the job asks for."""
        return self.job["config"]["manager_config"].get("threads")

    @property
    def accepts_missing(self) -> bool:
        """Whether the job runs although a job that it refers to failed.

        The one that jobflow adds to keep a replacement's output does not: without that output it
        would only make the job after it fail for another reason.
        """
        missing = self.job["config"]["on_missing_references"]
        return missing != OnMissing.ERROR.value and self.name != "store_inputs"


class JobGraph:
    """The jobs of a flow and what they wait for.

    Dependencies are those of FireWorks: what depends on a job that was replaced, or made a detour,
    waits for the last jobs of the replacement too; nothing waits for additions.
    """

    def __init__(self) -> None:
        self.nodes: dict[Key, Node] = {}

    def add(self, jobs: NewJobs) -> list[Node]:
        """Add jobs that depend on each other, and return them."""
        keys = {job["uuid"]: (job["uuid"], job["index"]) for job, _ in jobs}
        added = [Node(job, {keys[parent] for parent in parents}) for job, parents in jobs]
        self.nodes.update({node.key: node for node in added})
        return added

    def ready(self) -> Iterator[Node]:
        """Yield the jobs that may run now."""
        for node in self.nodes.values():
            if node.state == "waiting" and node.blocked_by is None:
                parents = [self.nodes[key] for key in node.parents]
                if all(parent.state in ENDED or parent.blocked_by for parent in parents):
                    yield node

    def end(self, node: Node, report: Report) -> tuple[list[Node], list[Node]]:
        """Take in how a job ended.

        Returns
        -------
        added, changed
            The jobs that it made, and the waiting jobs that will not run because of it.
        """
        children = self._children(node)
        node.job = {}  # the inputs may be large
        if report.error is not None:
            node.state = "failed"
            return [], self._block(node, node.name)
        node.state = "reused" if report.reused_from else "done"
        inserted = [self.add(jobs) for jobs in report.inserted]
        added = [new for group in inserted for new in group]
        leaves = {key for group in inserted for key in _leaves(group)}
        for child in children:
            child.parents |= leaves
        added += [new for jobs in report.added for new in self.add(jobs)]
        changed = []
        if report.stop_jobflow:
            changed = self._stop(other for other in self.nodes.values() if other.state == "waiting")
        elif report.stop_children:
            changed = self._stop(self._descendants(children))
        return added, changed

    def _children(self, node: Node) -> list[Node]:
        waiting = (other for other in self.nodes.values() if other.state == "waiting")
        return [other for other in waiting if node.key in other.parents]

    def _descendants(self, nodes: list[Node]) -> list[Node]:
        found: dict[Key, Node] = {}
        while nodes:
            node = nodes.pop()
            if node.key not in found:
                found[node.key] = node
                nodes.extend(self._children(node))
        return list(found.values())

    def _block(self, node: Node, failed: str) -> list[Node]:
        blocked = [
            child
            for child in self._children(node)
            if child.blocked_by is None and not child.accepts_missing
        ]
        for child in list(blocked):
            child.blocked_by = failed
            blocked += self._block(child, failed)
        return blocked

    def _stop(self, nodes: Iterable[Node]) -> list[Node]:
        stopped = list(nodes)
        for node in stopped:
            node.state = "stopped"
        return stopped


def _leaves(nodes: list[Node]) -> set[Key]:
    return {node.key for node in nodes} - {key for node in nodes for key in node.parents}
