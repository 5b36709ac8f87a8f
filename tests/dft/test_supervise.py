"""Nothing of a VASP run outlives the process that started it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from defect_workflows.dft.supervise import NOT_STARTED, supervised

FAKE_VASP = Path(__file__).with_name("fake_vasp.py")
WORKER = """\
import subprocess, sys, threading, time
from defect_workflows.dft.supervise import supervised
start = lambda: subprocess.Popen(supervised(sys.argv[2:]), start_new_session=True)
if sys.argv[1] == "in a thread":  # whose end is not the end of the process
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
time.sleep(600)
"""


def processes(folder: Path, number: int = 4) -> list[psutil.Process]:
    """Wait until all of a fake VASP have been heard of, and return them."""
    deadline = time.monotonic() + 30
    while True:
        texts = [path.read_text() for path in folder.iterdir()]
        if len([text for text in texts if text]) == number:
            return [psutil.Process(int(text)) for text in texts]
        assert time.monotonic() < deadline, texts
        time.sleep(0.02)


def gone(found: list[psutil.Process], timeout: float = 20) -> bool:
    _, alive = psutil.wait_procs(found, timeout=timeout)
    for process in alive:
        process.kill()
    return not alive


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGKILL, ""), (signal.SIGTERM, ""), (signal.SIGINT, ""), (signal.SIGKILL, "stubborn")],
)
def test_nothing_outlives_its_worker(tmp_path, number, kind):
    command = [sys.executable, "-c", WORKER, "", sys.executable, str(FAKE_VASP), str(tmp_path)]
    with subprocess.Popen([*command, kind], stderr=subprocess.DEVNULL) as worker:
        found = processes(tmp_path)
        between = psutil.Process(worker.pid).children(recursive=True)
        worker.send_signal(number)
        assert gone([*found, *between])


def test_the_end_of_a_thread_is_not_the_end_of_its_process(tmp_path):
    command = [sys.executable, "-c", WORKER, "in a thread", sys.executable, str(FAKE_VASP)]
    with subprocess.Popen([*command, str(tmp_path)]) as worker:
        found = processes(tmp_path)
        time.sleep(1.5)
        assert all(process.is_running() for process in found)
        worker.kill()
        assert gone(found)


@pytest.mark.parametrize("which", [0, 1])
def test_either_supervisor_may_be_killed(tmp_path, which):
    command = supervised([sys.executable, str(FAKE_VASP), str(tmp_path), "stubborn"])
    with subprocess.Popen(command, start_new_session=True) as outer:
        found = processes(tmp_path)
        both = psutil.Process(outer.pid), psutil.Process(outer.pid).children()[0]
        both[which].kill()
        assert gone([*found, both[1]])


@pytest.mark.parametrize("kind", ["", "stubborn"])
def test_custodian_can_end_it(tmp_path, kind):
    """SIGTERM to the process group reaches all, and is over before custodian's ten seconds are."""
    command = supervised([sys.executable, str(FAKE_VASP), str(tmp_path), kind])
    with subprocess.Popen(command, start_new_session=True) as process:
        found = processes(tmp_path)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) == (-signal.SIGKILL if kind else -signal.SIGTERM)
        assert gone(found, timeout=1)


def test_what_a_command_leaves_behind_is_ended(tmp_path):
    """A rank of a crashed run would write into the files of the next one."""
    script = (
        f"{sys.executable} {FAKE_VASP} {tmp_path} stubborn & sleep 600 & echo $$ > {tmp_path}/e"
    )
    with subprocess.Popen(supervised(["sh", "-c", f"{script}; sleep 2; kill -SEGV $$"])) as process:
        found = processes(tmp_path, 5)
        assert process.wait(30) == -signal.SIGSEGV
        assert gone(found, timeout=1)


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", -9), ("kill -SEGV $$", -11)],
)
def test_it_ends_as_the_command_does(script, status):
    done = subprocess.run(
        supervised(["sh", "-c", f"echo out; echo err >&2; cat; {script}"]),
        input="in\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, "out\nin\n", "err\n")


def test_signals_reach_the_command():
    script = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(supervised(["sh", "-c", script]), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.read() == b"caught\n"
        assert process.wait(10) == 3


def test_a_command_that_cannot_be_started(tmp_path):
    done = subprocess.run(
        supervised([str(tmp_path / "no such")]), capture_output=True, text=True, check=False
    )
    assert done.returncode == NOT_STARTED
    assert done.stderr == f"{tmp_path / 'no such'}: No such file or directory\n"
    other = supervised(["echo", "ran"])
    parent = other.index(str(os.getpid()))
    other[parent] = "1"  # it died between its call and this one's start
    done = subprocess.run(other, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
