"""Faults that `mock-vasp` commits on purpose, to test what recovers from them.

`MOCK_VASP_FAULT` holds one or several faults separated by ``;``:

==================  ====================================================================
``scf``             at every call
``scf@3``           at the third call; ``scf@2,5`` at the second and the fifth
``crash@p=0.1``     at each call with probability 0.1, the seed being 0
``nan@p=.2,seed=7`` with seed 7: the same calls fail whenever the seed is the same
==================  ====================================================================

The kinds: `scf` does not converge within NELM; `crash` stops with partial output and exit status
139; `hang` stops writing and never ends; `truncate` cuts vasprun.xml in half; `nan` writes NaN
energies and forces.

A call is one start of the program, retries by custodian included. Calls are counted across
processes in the file named by `MOCK_VASP_FAULT_COUNTER`, which every fault with an ``@`` needs;
delete it to count from one again.
"""

from __future__ import annotations

import fcntl
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from defect_workflows.errors import InputError

FAULT_VARIABLE = "MOCK_VASP_FAULT"
COUNTER_VARIABLE = "MOCK_VASP_FAULT_COUNTER"
KINDS = ("scf", "crash", "hang", "truncate", "nan")

_FAULT = re.compile(
    r"(?P<kind>\w+)(?:@(?:p=(?P<p>[\d.]+)(?:,seed=(?P<seed>\d+))?|(?P<calls>\d+(?:,\d+)*)))?"
)


@dataclass(frozen=True)
class Fault:
    """One fault: at every call, at some calls, or at random calls."""

    kind: str
    calls: frozenset[int] | None = None
    probability: float | None = None
    seed: int = 0

    @property
    def needs_counter(self) -> bool:
        """Whether the number of the call decides."""
        return self.calls is not None or self.probability is not None

    def strikes(self, call: int) -> bool:
        """Whether this call, counted from 1, fails."""
        if self.calls is not None:
            return call in self.calls
        if self.probability is not None:
            return random.Random(f"{self.kind} {self.seed} {call}").random() < self.probability
        return True


def parse_faults(text: str) -> list[Fault]:
    """Read `MOCK_VASP_FAULT`.

    Raises
    ------
    InputError
        Not a fault as described above.
    """
    faults = []
    for item in filter(None, (part.strip() for part in text.split(";"))):
        match = _FAULT.fullmatch(item)
        if match is None or match["kind"] not in KINDS:
            raise InputError(
                f"{FAULT_VARIABLE}: found {item!r}, expected one of {', '.join(KINDS)}, "
                "alone or with @CALL, @CALL,CALL, @p=P or @p=P,seed=N"
            )
        calls = match["calls"] and frozenset(int(call) for call in match["calls"].split(","))
        try:
            probability = float(match["p"]) if match["p"] else None
        except ValueError:
            probability = -1.0
        if probability is not None and not 0 <= probability <= 1:
            raise InputError(f"{FAULT_VARIABLE}: p is {match['p']} in {item!r}, expected 0 to 1")
        faults.append(Fault(match["kind"], calls or None, probability, int(match["seed"] or 0)))
    return faults


def fault_of_this_call(environment: Mapping[str, str]) -> str | None:
    """Count this call and say which kind of fault, if any, it must commit.

    Raises
    ------
    InputError
        `MOCK_VASP_FAULT` is malformed, or needs a counter and none is named.
    """
    faults = parse_faults(environment.get(FAULT_VARIABLE, ""))
    call = 0
    if any(fault.needs_counter for fault in faults):
        if not environment.get(COUNTER_VARIABLE):
            raise InputError(
                f"{COUNTER_VARIABLE}: not set, expected a file in which the calls of "
                f"{FAULT_VARIABLE} are counted"
            )
        call = _count(Path(environment[COUNTER_VARIABLE]))
    return next((fault.kind for fault in faults if fault.strikes(call)), None)


def _count(path: Path) -> int:
    """Add one to the number in a file, safely among processes, and return it."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        call = int(file.read() or 0) + 1
        file.seek(0)
        file.truncate()
        file.write(str(call))
    return call
