"""How long `levels` takes, step by step: the 216-atom MgO set, five states.

    python benchmarks/levels.py DATA [--processes N]

DATA is the folder of doped's MgO example. Writes levels_MgO.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

LIMIT = 60.0
"""What is asked for on two cores, in s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    start = time.perf_counter()
    from defect_workflows.calculations import Calculations
    from defect_workflows.makers.levels import FinishedLevels

    defects = arguments.data / "Defects/Pre_Calculated_Results"
    calculations = Calculations(
        bulk={"dir": defects / "MgO_bulk/vasp_std"},
        dielectric=8.8963,
        chemical_potentials={"dirs": [arguments.data / "CompetingPhases"]},
        defects=[
            {"name": "Mg_O", "charge": charge, "dir": defects / f"Mg_O_{name}/vasp_std"}
            for charge, name in enumerate(("0", "+1", "+2", "+3", "+4"))
        ],
    )
    imported = time.perf_counter()
    result = FinishedLevels(calculations, processes=arguments.processes).make().levels
    end = time.perf_counter()
    output = {
        "set": "MgO, 216 atoms, 5 states, OUTCARs",
        "processes": arguments.processes,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "steps": {"import": round(imported - start, 2)}
        | {step.step: round(step.seconds, 2) for step in result.seconds},
        "seconds": round(end - start, 2),
        "limit": LIMIT,
    }
    table = Table(title=f"{output['set']}, {arguments.processes} processes")
    table.add_column("step")
    table.add_column("s", justify="right")
    for step, seconds in output["steps"].items():
        table.add_row(step, f"{seconds:.1f}")
    table.add_section()
    table.add_row("all", f"{output['seconds']:.1f}")
    Console().print(table)
    path = Path(__file__).with_name("levels_MgO.json")
    path.write_text(json.dumps(output, indent=1) + "\n")


if __name__ == "__main__":
    main()
