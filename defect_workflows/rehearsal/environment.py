"""The settings under which a rehearsal runs: the stand-in instead of VASP, placeholder POTCARs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from defect_workflows.settings import PREFIX

from .potcars import write_potcars

POLL = 0.05
"""Seconds between custodian's looks at a run of two: its own 10 s would outlast it."""
ERRORS = 2
"""Corrections after which a run is given up: most of them change nothing for the stand-in."""
PATIENCE = 120.0
"""Seconds of silence after which the stand-in counts as hanging."""


def rehearsal_environment(workdir: Path, functional: str) -> dict[str, str]:
    """Write placeholder POTCARs into a work folder and return the variables of a rehearsal.

    Parameters
    ----------
    workdir
        The work folder; the POTCARs go to ``potcars`` in it.
    functional
        POTCAR family of the campaign.

    Returns
    -------
    dict of str to str
        Environment variables that the worker processes inherit.
    """
    potcars = workdir.absolute() / "potcars"
    write_potcars(potcars, functional=functional)
    program = f"{shlex.quote(sys.executable)} -m defect_workflows.rehearsal.mock_vasp"
    return {
        f"{PREFIX}VASP_COMMAND": program,
        f"{PREFIX}VASP_GAMMA_COMMAND": program,
        f"{PREFIX}POTCAR_DIRECTORY": str(potcars),
        f"{PREFIX}CUSTODIAN_POLL": str(POLL),
        f"{PREFIX}VASP_MAX_ERRORS": str(ERRORS),
        f"{PREFIX}VASP_TIMEOUT": str(PATIENCE),
        f"{PREFIX}REHEARSAL": "true",
        "MOCK_VASP_FAULT_COUNTER": str(workdir.absolute() / "mock-vasp-calls"),
    }
