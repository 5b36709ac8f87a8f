"""Runs a command so that nothing of it outlives the process that started it.

A program of its own, ``supervise.py PARENT COMMAND...``, with nothing but the standard library: it
starts in hundredths of a second and stays while VASP runs. custodian starts VASP in a session of
its own, where neither Ctrl-C nor the death of the run reaches it, and mpirun and srun start more
processes in more sessions. So this one stands between: it becomes the parent of every process that
its command leaves behind, looks whether its own parent lives, passes signals on to the command, and
ends all that is left when the command or the parent ends. It ends as the command did.

It runs twice, one below the other, so that either may be killed: the other one ends what is left.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LOOK = 0.25
"""Seconds between looks whether the parent lives."""

GRACE = 3.0
"""Seconds that a command has to end itself, and what it started elsewhere, after SIGTERM."""

LAST = 2.0
"""Seconds that killed processes have to disappear: one that waits for a dead disk does not."""

NOT_STARTED = 127
"""Exit status where the command cannot be started, as a shell has it."""

_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
_PASSED_ON = _ENDING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT}
_SET_CHILD_SUBREAPER = 36  # of prctl, see <linux/prctl.h>
_TWICE = "--twice"


def supervised(command: Sequence[str]) -> list[str]:
    """Return the command that runs a command under the supervision of this process's death.

    Linux alone can; elsewhere it is the command itself.
    """
    return _below(os.getpid(), [_TWICE, *command]) if sys.platform == "linux" else list(command)


def _below(parent: int, command: Sequence[str]) -> list[str]:
    # neither the user's site nor the working directory can change what is imported
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(parent), *command]


def supervise(parent: int, command: Sequence[str], grace: float = GRACE) -> int:
    """Run a command until it or the parent ends, and end all that it started.

    Parameters
    ----------
    parent
        Process id of the parent of this process.
    command
        Program and arguments.
    grace
        Seconds that the command has to end itself.

    Returns
    -------
    int
        Exit status of the command; minus the signal that ended it.
    """
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    passed_on = {one for one in _PASSED_ON if signal.getsignal(one) is not signal.SIG_IGN}  # nohup
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on | {signal.SIGCHLD})
    process = subprocess.Popen(
        command,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
    )
    deadline = float("inf")
    while process.poll() is None and time.monotonic() < deadline:
        found = signal.sigtimedwait(passed_on | {signal.SIGCHLD}, LOOK)
        number = found.si_signo if found else None
        if os.getppid() != parent and deadline == float("inf"):
            number = signal.SIGTERM
        if number in _PASSED_ON:
            with suppress(OSError):
                os.killpg(process.pid, number)
        if number in _ENDING:
            deadline = min(deadline, time.monotonic() + grace)
    process.kill()
    process.wait()
    _end_children()
    return process.returncode


def _end_children() -> None:
    """Kill the children of this process until there are none: theirs become its own."""
    deadline = time.monotonic() + LAST
    while time.monotonic() < deadline:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Return the children of this process; none where there is no /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # the name of a program, in brackets, may hold anything
            if int(entry.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found


def main() -> None:
    """Run the command of the command line and end as it does."""
    parent, command, grace = int(sys.argv[1]), sys.argv[2:], GRACE
    if os.getppid() != parent:
        sys.exit("its parent ended before it began")
    if command[0] == _TWICE:
        command, grace = _below(os.getpid(), command[1:]), GRACE + 2 * LAST
    try:
        status = supervise(parent, command, grace)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_STARTED)
    if status >= 0:
        sys.exit(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command wrote its own core file
    with suppress(OSError):  # SIGKILL has no handler
        signal.signal(-status, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
    os.kill(os.getpid(), -status)


if __name__ == "__main__":
    main()
