"""Structures near the minima of every charge state, at two sizes of the supercell.

    python benchmarks/minima.py flows/CdTe_v_Cd/campaign.yaml runs/53.jsonl --supercell 3 3 3
    python benchmarks/minima.py flows/CdTe_v_Cd/campaign.yaml runs/107.jsonl --supercell 3 3 6

From one rattled vacancy the HSE06 stand-in relaxes every charge state for some steps; the start, a
second rattle, and each state's last structure are labelled at HSE06 in every charge. None of it is
in the data of `dataset.py`: held-out structures, where the levels are made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from dataset import engine_for, extend, generated
from pymatgen.core import Structure

from defect_workflows.campaign import Campaign
from defect_workflows.charge import with_charge
from defect_workflows.distortions import in_charge_state, rattled, seed_of
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.rehearsal.relax import Lbfgs

AMPLITUDE = 0.05  # Å
FORCE = 0.05  # eV/Å


def relaxed(start: ChargedConfiguration, steps: int) -> Structure:
    """Return the structure after some steps of the HSE06 stand-in's own relaxation."""
    engine, optimiser = engine_for(start, "hse06"), Lbfgs()
    lowest, best = np.inf, start.structure.cart_coords
    positions = best
    for _ in range(steps):
        point = engine.compute(positions)
        if point.energy < lowest:
            lowest, best = point.energy, positions
        if np.linalg.norm(point.forces, axis=1).max() < FORCE:
            break
        positions = optimiser.propose(positions, point.energy, point.forces)
    moved = Structure(
        start.structure.lattice, start.structure.species, best, coords_are_cartesian=True
    )
    return with_charge(moved, start.charge)


def configuration(state: DefectState, structure: Structure, name: str) -> ChargedConfiguration:
    """Return a structure in the charge of a state."""
    origin = Origin(state=state.name, family=f"{state.defect}/{name}", kind="search")
    return ChargedConfiguration.of(with_charge(structure, state.charge), origin)


def near_minima(states: list[DefectState], steps: int, seed: int) -> list[ChargedConfiguration]:
    """Return the geometries of one defect, each in every charge."""
    unrelaxed = in_charge_state(states[0].structure, 0)
    geometries = {
        f"start {number}": rattled(unrelaxed, AMPLITUDE, seed_of(seed, "minima", number))
        for number in range(2)
    }
    start = geometries["start 0"]
    for state in states:
        print(f"{state.name}: relaxing {len(start)} atoms", flush=True)
        began = configuration(state, start, "start 0")
        geometries[f"relaxed at {state.charge:+d}"] = relaxed(began, steps)
    return [
        configuration(state, structure, name)
        for name, structure in geometries.items()
        for state in states
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--supercell", type=int, nargs=3, required=True)
    parser.add_argument("--steps", type=int, default=15)
    arguments = parser.parse_args()
    campaign = Campaign.from_file(arguments.campaign)
    found = generated(campaign, arguments.supercell)
    configurations = near_minima(found.states, arguments.steps, campaign.sampling.seed)
    labels = extend(arguments.data, configurations, ["hse06"])
    print(f"{arguments.data}: {len(labels)} labels")


if __name__ == "__main__":
    main()
