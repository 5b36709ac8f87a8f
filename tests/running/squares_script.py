"""Runs a flow of toy jobs here: the process that the tests kill.

Usage: squares_script.py WORKDIR LOG N SECONDS
"""

import sys
from pathlib import Path

import toy_jobs

from defect_workflows.running.local import run_flow
from defect_workflows.running.stores import embedded_store

workdir, log, n, seconds = sys.argv[1:]
flow = toy_jobs.squares_flow(int(n), log, float(seconds))
result = run_flow(flow, embedded_store(Path(workdir)), Path(workdir), workers=2)
assert "torch" not in sys.modules
sys.exit(0 if result.complete else 1)
