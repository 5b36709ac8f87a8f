"""Do refinements that ended as "falls into a known minimum" end there when they are relaxed on?

    python benchmarks/known_minima.py runs/demo CdTe_v_Cd

Each such candidate of a finished campaign is relaxed from its lowest single point by the stand-in's
own L-BFGS at HSE06, and compared with the lowest of its state. Prints a table and writes
`benchmarks/known_minima_<name>.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from refinement import plain
from rich.console import Console
from rich.table import Table

from defect_workflows.running.campaign import finished_result
from defect_workflows.search.cluster import difference, farthest
from defect_workflows.search.contenders import winners

FORCE = 0.03  # eV/Å
SAME_ENERGY = 0.010  # eV


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    verified = finished_result(arguments.workdir).verified
    best = winners(verified)
    records = []
    for item in verified:
        if not item.known_minimum:
            continue
        state = item.candidate.state
        lowest = best[state].label
        end = min(plain(item.label, state, FORCE), key=lambda label: label.energy)
        places = end.configuration.structure, lowest.configuration.structure
        records.append(
            {
                "state": state,
                "family": item.label.configuration.origin.family,
                "single_points": len(item.labels),
                "above": item.energy - lowest.energy,
                "end_above": end.energy - lowest.energy,
                "farthest": farthest(*places),
                "difference": difference(*places),
                "right": abs(end.energy - lowest.energy) < SAME_ENERGY,
            }
        )
        print(records[-1], flush=True)
    path = Path(__file__).with_name(f"known_minima_{arguments.name}.json")
    path.write_text(json.dumps({"force": FORCE, "candidates": records}, indent=1) + "\n")
    table = Table(title="Candidates that fall into a known minimum, relaxed on at HSE06")
    for heading in ("state", "family", "above, eV", "at the end, meV", "farthest, Å", "right"):
        table.add_column(heading)
    for record in records:
        table.add_row(
            record["state"],
            record["family"],
            f"{record['above']:.3f}",
            f"{1000 * record['end_above']:+.1f}",
            f"{record['farthest']:.2f}",
            "yes" if record["right"] else "no",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
