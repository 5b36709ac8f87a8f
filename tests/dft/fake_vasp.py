"""Stands for a VASP started by mpirun: processes in sessions of their own, each heard of in a file.

Usage: fake_vasp.py FOLDER [stubborn]. None ends by itself; a stubborn one ignores SIGTERM.
"""

import os
import signal
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def stay(name: str) -> None:
    (folder / name).write_text(str(os.getpid()))
    time.sleep(600)
    os._exit(0)


if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        stay("rank in a session of its own")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            stay("rank without a parent")
        os._exit(0)
    stay("launcher")
stay("mpirun")
