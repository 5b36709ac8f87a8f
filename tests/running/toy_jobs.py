"""Jobs that cost nothing, for the tests of the executors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobflow import Flow, JobConfig, OnMissing, Response, job
from pydantic import BaseModel

from defect_workflows import reuse
from defect_workflows.dft.supervise import supervised


class Square(BaseModel):
    fingerprint: str
    value: int
    blob: str | None = None


class Refused(BaseModel):
    fingerprint: str
    reason: str


def note(log: str, line: object) -> None:
    """Append a line: one write, so that lines of several processes do not mix."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@job
def add(a, b):
    return a + b


@job
def total(squares):
    return sum(square.value for square in squares)


@reuse.job(data=["blob"], output_schema=Square)
def square(x: int, log: str, seconds: float = 0.0):
    key = reuse.fingerprint("square", x)

    def compute() -> Square:
        note(log, x)
        time.sleep(seconds)
        return Square(fingerprint=key, value=x * x, blob=str(x) * 1000)

    return reuse.finished_or(compute, key, Square)


@reuse.job
def refused_square(x: int, log: str, accept: bool):
    key = reuse.fingerprint("refused square", x)
    kinds = (Square, Refused) if accept else (Square,)

    def compute():
        note(log, x)
        return Refused(fingerprint=key, reason="it is refused")

    return reuse.finished_or(compute, key, *kinds)


@reuse.job
def wrong_fingerprint():
    return reuse.finished_or(lambda: Square(fingerprint="other", value=1), "mine", Square)


@reuse.job(data=["long"])
def gathered(x: int):
    """As cheap as the jobs that only put results together: computed again in every run."""
    return {"long": [x] * 500}


@job
def reuse_without_store():
    return reuse.finished_or(lambda: Square(fingerprint="a", value=1), "a", Square)


@job
def squares(n: int, log: str, seconds: float = 0.0):
    """Replaces itself with n jobs: how many is known only now."""
    jobs = [square(x, log, seconds) for x in range(n)]
    return Response(replace=Flow(jobs, output=[one.output for one in jobs]))


def squares_flow(n: int, log: str, seconds: float = 0.0) -> Flow:
    many = squares(n, log, seconds)
    result = total(many.output)
    many.update_metadata({"stage": "label"})
    result.update_metadata({"stage": "levels"})
    return Flow([many, result], name="squares")


@job
def countdown(n: int):
    """Replaces itself with itself until it is zero."""
    return Response(replace=countdown(n - 1)) if n else "lift-off"


@job
def detour(log: str):
    return Response(output=1, detour=slow_note(log, "detour"))


@job
def addition(log: str):
    return Response(output=1, addition=slow_note(log, "addition", 1.5))


@job
def detour_that_fails():
    return Response(output=1, detour=fail())


@job
def slow_note(log: str, line: str, seconds: float = 0.3):
    time.sleep(seconds)
    note(log, line)


@job
def meet(folder: str, name: str, number: int, seconds: float = 100.0):
    """Waits until as many jobs of this kind are running: each by another worker."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / name).touch()
    end = time.monotonic() + seconds
    while len(list(place.iterdir())) < number:
        if time.monotonic() > end:
            raise TimeoutError(f"{name} waited for {number - 1} others for {seconds:g} s")
        time.sleep(0.1)


@job
def log_after(log: str, line: str, *after):
    note(log, line)
    return line


@job
def stop_children():
    return Response(output=1, stop_children=True)


@job
def stop_all():
    return Response(output=1, stop_jobflow=True, stored_data={"why": "enough"})


@job
def fail(message: str = "it broke\nwith details"):
    raise ValueError(message)


@job(config=JobConfig(on_missing_references=OnMissing.NONE))
def accept_missing(value):
    return value


@job(config=JobConfig(resolve_references=False))
def outside(reference):
    return Response(replace=add(reference, 1))


@job(output_schema=Square)
def wrong_schema():
    return {"value": "no number"}


@job
def die(log: str):
    """Starts a child, then is killed; the child must not survive."""
    script = "import sys, time, toy_jobs; time.sleep(1.5); toy_jobs.note(sys.argv[1], 'orphan')"
    subprocess.Popen([sys.executable, "-c", script, log], cwd=Path(__file__).parent)
    os.kill(os.getpid(), signal.SIGKILL)


@job
def start_vasp(program: str, folder: str):
    """Runs a stand-in as custodian runs VASP: in a session of its own, below the supervisors."""
    command = supervised([sys.executable, program, folder])
    return subprocess.Popen(command, start_new_session=True).wait()


@job
def leave():
    sys.exit(3)


@job
def look_around(seconds: float = 0.0):
    """Where and how does this job run?"""
    print("on stdout", flush=True)
    subprocess.run(["sh", "-c", "echo of a child; echo on stderr >&2"], check=True)
    time.sleep(seconds)
    return {
        "pid": os.getpid(),
        "directory": os.getcwd(),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "started": time.time() - seconds,
        "ended": time.time(),
        "torch": "torch" in sys.modules,
    }
