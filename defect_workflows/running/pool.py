"""The worker processes of the local executor."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from os import killpg
from pathlib import Path

from defect_workflows.running.graph import Node
from defect_workflows.running.messages import Report, Setup, Task

_ENTRY = "import sys; from defect_workflows.running.worker import main; main(int(sys.argv[1]))"
_POLL = 1.0  # s between looks at workers that say nothing


class Worker:
    """A process that runs one job at a time.

    Started with its own interpreter, not forked or spawned: scripts need no ``__main__`` guard.
    """

    def __init__(self, setup: Setup, log: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs, log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _ENTRY, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is the executor's to handle
            )
        self.connection: Connection = Connection(ours.detach())
        self.log = log
        self.node: Node | None = None
        self.stages: set[str] = set()
        self._send(setup)

    def start(self, node: Node, task: Task) -> None:
        """Begin a job."""
        self.node = node
        self.stages.add(node.stage)
        self._send(task)

    def report(self) -> Report | None:
        """Return how the job ended, None if it has not; a dead worker's job has failed."""
        dead = self.process.poll() is not None
        try:
            if self.connection.poll():
                return self.connection.recv()
        except (EOFError, OSError):
            dead = True
        return Report(error=self._death()) if dead else None

    def kill(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError):  # it ended before
            killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()

    def _send(self, message: Setup | Task) -> None:
        with suppress(OSError):  # it is dead: report() says so
            self.connection.send(message)

    def _death(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"WorkerDied: exit status {code}, see {self.log}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"WorkerDied: killed by {signal.Signals(-code).name}{hint}"


class WorkerPool:
    """Up to `size` workers, started when needed, replaced when dead."""

    def __init__(self, size: int, setup: Setup, log: Path) -> None:
        self.size = size
        self._setup = setup
        self._log = log
        self._workers: list[Worker] = []

    @property
    def busy(self) -> list[Worker]:
        """Workers with a job."""
        return [worker for worker in self._workers if worker.node is not None]

    def start(self, node: Node, task: Task) -> None:
        """Begin a job on a worker; call it only while fewer than `size` are busy."""
        idle = [worker for worker in self._workers if worker.node is None]
        # a worker that ran this stage has its imports: torch is then loaded in few of them
        idle.sort(key=lambda worker: node.stage not in worker.stages)
        if not idle:
            idle = [Worker(self._setup, self._log)]
            self._workers += idle
        idle[0].start(node, task)

    def wait(self) -> Iterator[tuple[Node, Report]]:
        """Wait until jobs end or a second is over, and yield those that ended."""
        wait([worker.connection for worker in self.busy], timeout=_POLL)
        for worker in self.busy:
            report = worker.report()
            if report is not None and worker.node is not None:
                node, worker.node = worker.node, None
                if worker.process.poll() is not None:
                    worker.kill()
                    self._workers.remove(worker)
                yield node, report

    def kill(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()
