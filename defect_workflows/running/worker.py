"""A worker process of the local executor: runs jobs, one after the other, until told to stop.

It lives on, so that torch and pymatgen are imported once. When the executor dies, the worker dies
at once, and within seconds all that it started, VASP included (see `dft.supervise`): a second run
must not meet jobs of the first.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import threadpoolctl
from jobflow import CURRENT_JOB, JobStore, Response
from jobflow.core.flow import get_flow
from monty.json import MontyDecoder, jsanitize

from defect_workflows.reuse import REUSED_FROM
from defect_workflows.running.messages import NewJobs, Report, Setup, Task

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(descriptor: int) -> None:
    """Serve the executor at the other end of a socket.

    Parameters
    ----------
    descriptor
        File descriptor of the socket.
    """
    os.set_inheritable(descriptor, False)
    connection: Connection = Connection(descriptor)
    setup: Setup = connection.recv()
    sys.path[:] = setup.sys_path
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    store = MontyDecoder().process_decoded(setup.store)
    store.connect()
    while (task := tasks.get()) is not None:
        connection.send(run_task(task, store))


def _receive(connection: Connection, tasks: queue.SimpleQueue[Task | None]) -> None:
    """Pass messages on; when the executor is gone, end this process group in mid-job."""
    while True:
        try:
            tasks.put(connection.recv())
        except (EOFError, OSError):
            os.killpg(os.getpgrp(), signal.SIGKILL)


def run_task(task: Task, store: JobStore) -> Report:
    """Run a job in its directory, with its output in files there, and say how it ended."""
    directory = Path(task.directory)
    set_threads(task.threads)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with chdir(directory), _output_to(directory):
            try:
                job = MontyDecoder().process_decoded(task.job)
                response = job.run(store, job_dir=directory)
                return _report(response, job.metadata.get(REUSED_FROM))
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                return _failure(error)
            finally:
                CURRENT_JOB.reset()
    except OSError as error:  # no room for its folder or its output
        return _failure(error)


def _failure(error: BaseException) -> Report:
    line = str(error).strip().split("\n")[0]
    return Report(error=f"{type(error).__name__}: {line}", traceback=traceback.format_exc())


def set_threads(threads: int) -> None:
    """Set the number of threads of this process and of those it starts."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    threadpoolctl.threadpool_limits(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


def _report(response: Response, reused_from: str | None) -> Report:
    return Report(
        reused_from=reused_from,
        stored_data=jsanitize(response.stored_data),
        stop_children=response.stop_children,
        stop_jobflow=response.stop_jobflow,
        inserted=[_new_jobs(flow) for flow in (response.replace, response.detour) if flow],
        added=[_new_jobs(response.addition)] if response.addition else [],
    )


def _new_jobs(flow: Any) -> NewJobs:
    # get_flow refuses references to jobs outside, as FireWorks does: what runs here runs there
    return [(job.as_dict(), list(parents)) for job, parents in get_flow(flow).iterflow()]


@contextmanager
def _output_to(directory: Path) -> Iterator[None]:
    """Send stdout and stderr, of child processes too, to files in a directory."""
    saved = [os.dup(1), os.dup(2)]
    for descriptor, name in ((1, "stdout.log"), (2, "stderr.log")):
        with (directory / name).open("ab") as file:
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the disk is full
                stream.flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
