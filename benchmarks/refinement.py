"""The last step to the hybrid minimum: the potential's help against plain ionic steps.

    python benchmarks/refinement.py flows/CdTe_v_Cd/campaign.yaml runs/demo \
        benchmarks/direct_route_CdTe_v_Cd.json

Starts from the direct route's ground state of each charge state, in the neighbouring ones. Counts
the single points of the HSE06 stand-in until its forces are below the campaign's `final_force`:
with the last potential of the work folder, and with the stand-in's own L-BFGS. Prints a table and
writes `benchmarks/refinement_<name>.json`.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from dataset import label
from pymatgen.core import Structure
from rich.console import Console
from rich.table import Table
from search import last_potential

from defect_workflows.campaign import Campaign
from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label
from defect_workflows.mlip.predict import Potential
from defect_workflows.rehearsal.relax import Lbfgs
from defect_workflows.search.refine import next_structure
from defect_workflows.search.relax import with_positions
from defect_workflows.search.verify import largest_force

MOST = 60


def single_point(structure: Structure, state: str) -> Label:
    """Return the stand-in's HSE06 label of a structure that carries its charge."""
    origin = Origin(state=state, family="refinement", kind="search")
    found = label(ChargedConfiguration.of(structure, origin), "hse06")
    if found is None:
        raise SystemExit(f"{state}: the stand-in did not converge")
    return found


def guided(potential: Potential, first: Label, state: str, force: float) -> list[Label]:
    """Return the single points of the campaign's refinement."""
    labels = [first]
    while largest_force(min(labels, key=lambda one: one.energy)) > force and len(labels) < MOST:
        labels.append(single_point(next_structure(potential, labels).structure, state))
    return labels


def plain(first: Label, state: str, force: float) -> list[Label]:
    """Return the single points of the stand-in's own relaxation."""
    optimiser, labels = Lbfgs(), [first]
    while largest_force(labels[-1]) > force and len(labels) < MOST:
        now = labels[-1]
        structure = now.configuration.structure
        moved = optimiser.propose(structure.cart_coords, now.energy, np.array(now.forces))
        labels.append(single_point(with_positions(structure, moved), state))
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("direct", type=Path)
    arguments = parser.parse_args()
    force = Campaign.from_file(arguments.campaign).convergence.final_force
    potential = Potential.from_document(last_potential(arguments.workdir))
    states = {
        int(state["state"].rsplit("_", 1)[1]): state
        for state in json.loads(arguments.direct.read_text())["states"]
    }
    neighbours = list(pairwise(sorted(states)))
    records = []
    for one, other in [*neighbours, *(pair[::-1] for pair in neighbours)]:
        name = states[other]["state"]
        structure = with_charge(Structure.from_dict(states[one]["structure"]), other)
        first = single_point(structure, name)
        ways = {
            "guided": guided(potential, first, name, force),
            "plain": plain(first, name, force),
        }
        record: dict = {"state": name, "from_charge": one}
        for way, labels in ways.items():
            end = min(labels, key=lambda label: label.energy)
            record[way] = {
                "single_points": len(labels),
                "gain": first.energy - end.energy,
                "max_force": largest_force(end),
            }
        records.append(record)
        print(record, flush=True)
    output = {"final_force": force, "round": potential.document.round, "refinements": records}
    path = Path(__file__).with_name(f"refinement_{arguments.direct.stem[13:]}.json")
    path.write_text(json.dumps(output, indent=1) + "\n")
    table = Table(title=f"HSE06 single points until forces are below {force:g} eV/Å")
    for heading in ("state", "from charge", "guided", "gain, eV", "plain", "gain, eV"):
        table.add_column(heading)
    for record in records:
        figures = [
            text
            for way in ("guided", "plain")
            for text in (str(record[way]["single_points"]), f"{record[way]['gain']:.3f}")
        ]
        table.add_row(record["state"], f"{record['from_charge']:+d}", *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
