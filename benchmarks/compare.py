"""A finished campaign against the direct route: ground states, levels, HSE06 single points.

    python benchmarks/compare.py runs/demo benchmarks/direct_route_CdTe_v_Cd.json

Prints a table and writes `benchmarks/comparison_<name>.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from rich.console import Console
from rich.table import Table

from defect_workflows.running.campaign import finished_result
from defect_workflows.search.contenders import winners

SAME_RMSD = 0.05  # Å
SAME_ENERGY = 0.010  # eV
SAME_LEVEL = 0.02  # eV


def rmsd(one: Structure, other: Structure) -> float | None:
    """Return the RMSD in Å after the best alignment by symmetry and translation; None: no match."""
    matcher = StructureMatcher(ltol=0.01, stol=0.5, angle_tol=1, primitive_cell=False, scale=False)
    found = matcher.get_rms_dist(one, other)
    # pymatgen's figure is in units of (volume per atom)^(1/3)
    return None if found is None else float(found[0] * (one.volume / len(one)) ** (1 / 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path)
    parser.add_argument("direct", type=Path)
    arguments = parser.parse_args()
    result = finished_result(arguments.workdir)
    direct = json.loads(arguments.direct.read_text())
    best = winners(result.verified)
    states = []
    for state in direct["states"]:
        mine = best.get(state["state"])
        record = {"state": state["state"], "direct_start": state["start"]}
        if mine is not None:
            found = rmsd(
                mine.label.configuration.structure, Structure.from_dict(state["structure"])
            )
            difference = mine.energy - state["energy"]
            record |= {
                "energy_difference": difference,
                "rmsd": found,
                "max_force": mine.max_force,
                "potential_energy_error": mine.energy_error,
                "same": found is not None and found < SAME_RMSD and abs(difference) < SAME_ENERGY,
                "lower": difference < -SAME_ENERGY,  # the direct route missed it
            }
        states.append(record)
    levels = []
    for level in direct["levels"]["transition_levels"]:
        same = [
            mine
            for mine in result.levels.levels.transition_levels
            if mine.defect == level["defect"] and list(mine.charges) == level["charges"]
        ]
        levels.append(
            {
                "defect": level["defect"],
                "charges": level["charges"],
                "direct": level["energy"],
                "verified": same[0].energy if same else None,
                "potential_alone": same[0].energy_mlip if same else None,
                "within": bool(same) and abs(same[0].energy - level["energy"]) <= SAME_LEVEL,
            }
        )
    spent = {count.fidelity: count.labels + count.refused for count in result.single_points}
    output = {
        "campaign": result.name,
        "rehearsal": result.rehearsal,
        "states": states,
        "levels": levels,
        "hse06_single_points": spent["hse06"],
        "pbe_single_points": spent["pbe"],
        "direct_hse06_single_points": direct["hse06_single_points"],
        "hse06_share": spent["hse06"] / direct["hse06_single_points"],
        "wall_seconds": {cost.stage: round(cost.seconds, 1) for cost in result.cost},
    }
    path = Path(__file__).with_name(f"comparison_{arguments.direct.stem[13:]}.json")
    path.write_text(json.dumps(output, indent=1) + "\n")
    _print(output)


def _print(output: dict) -> None:
    console = Console()
    table = Table(title="Ground states against the direct route")
    for heading in ("state", "energy, meV", "RMSD, Å", "max force, eV/Å", "same"):
        table.add_column(heading)
    for state in output["states"]:
        found = state.get("rmsd")
        table.add_row(
            state["state"],
            f"{1000 * state['energy_difference']:+.1f}" if "energy_difference" in state else "-",
            "no match" if found is None else f"{found:.3f}",
            f"{state.get('max_force', float('nan')):.3f}",
            "yes" if state.get("same") else "lower" if state.get("lower") else "NO",
        )
    console.print(table)
    table = Table(title="Levels, eV above the VBM")
    for heading in ("level", "direct", "verified", "potential alone", "within 0.02"):
        table.add_column(heading)
    for level in output["levels"]:
        values = [level[key] for key in ("direct", "verified", "potential_alone")]
        table.add_row(
            f"{level['defect']} {level['charges']}",
            *("-" if value is None else f"{value:.3f}" for value in values),
            "yes" if level["within"] else "NO",
        )
    console.print(table)
    console.print(
        f"HSE06 single points: {output['hse06_single_points']} against "
        f"{output['direct_hse06_single_points']}: {output['hse06_share']:.1%}"
    )


if __name__ == "__main__":
    main()
