"""The search in batches against one relaxation at a time with ASE: same potential, same starts.

    python benchmarks/search.py flows/CdTe_v_Cd/campaign.yaml runs/demo --device cpu

The potential is the last one of the work folder, or one that `--save` wrote, for a machine without
that folder. Every start of every state is relaxed on its first member's hse06 head to the same
force, in one go by the search's own relaxation (torch-sim, with its looks at contacts and at the
committee), and one by one by ASE with MACE's own calculator. Prints a table and writes
`benchmarks/search_<host>_<device>.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import ase.optimize
import numpy as np
from mace.calculators import MACECalculator
from monty.json import MontyDecoder
from pymatgen.core import Structure
from rich.console import Console
from rich.table import Table
from strategies import device_name

from defect_workflows.campaign import Campaign
from defect_workflows.charge import charge_of, to_atoms
from defect_workflows.defects.generate import generate
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.mlip.predict import Potential
from defect_workflows.running.stores import embedded_store
from defect_workflows.search.explore import COARSE_FORCE
from defect_workflows.search.relax import FIDELITY, MAX_STEP, relax
from defect_workflows.search.starts import starts

SAME_ENERGY = 0.02  # eV


def read_potential(path: Path) -> PotentialDocument:
    """Return the potential of a file that `--save` wrote, or the last one of a work folder."""
    if path.is_file():
        return PotentialDocument.model_validate_json(path.read_text())
    return last_potential(path)


def last_potential(workdir: Path) -> PotentialDocument:
    """Return the potential of the last round of a work folder."""
    store = embedded_store(workdir)
    store.connect()
    found = store.query(
        {"name": "make_potential"}, properties=["uuid", "index"], sort={"completed_at": -1}
    )
    entry = next(iter(found))
    output = store.get_output(entry["uuid"], which=entry["index"], load=True)
    return MontyDecoder().process_decoded(output)


def one_by_one(
    potential: Potential, structures: Sequence[Structure], optimiser: str, max_steps: int
) -> tuple[list[float | None], int, float]:
    """Relax with ASE; energies in eV as `predict` gives them, steps, seconds. None: unconverged."""
    calculator = MACECalculator(
        models=[potential.models[0]],
        device=potential.device.type,
        default_dtype="float64",
        head=FIDELITY,
    )
    energies: list[float | None] = []
    steps = 0
    began = time.perf_counter()
    for structure in structures:
        atoms = to_atoms(structure)
        atoms.calc = calculator
        relaxation = getattr(ase.optimize, optimiser)(atoms, logfile=None, maxstep=MAX_STEP)
        done = relaxation.run(fmax=COARSE_FORCE, steps=max_steps)
        steps += relaxation.nsteps
        zero = potential.zeros(FIDELITY, charge_of(structure), structure.atomic_numbers)[0]
        energies.append(float(atoms.get_potential_energy() + zero) if done else None)
    return energies, steps, time.perf_counter() - began


def in_batches(
    potential: Potential,
    structures: Sequence[Structure],
    undistorted: Sequence[Structure],
    max_steps: int,
) -> tuple[list[float | None], int, float]:
    """Relax all together, as the search does; the same figures as `one_by_one`."""
    began = time.perf_counter()
    references = [prediction.energy for prediction in potential.predict(undistorted, FIDELITY)]
    ends = relax(
        potential,
        structures,
        max_force=COARSE_FORCE,
        max_steps=max_steps,
        references=references,
        committee=False,
    )
    energies = [end.energy if end.verdict == "minimum" else None for end in ends]
    return energies, sum(end.steps for end in ends), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("potential", type=Path, help="a work folder, or a file of --save")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--sets", type=int, default=1, help="sets of starts, one seed each")
    parser.add_argument("--starts", type=int, help="the first of the starts, so many of them")
    parser.add_argument(
        "--one-by-one",
        nargs="*",
        default=("BFGS", "FIRE"),
        help="optimisers of ASE to compare with",
    )
    parser.add_argument("--save", type=Path, help="write the potential to this file and end")
    arguments = parser.parse_args()
    document = read_potential(arguments.potential)
    if arguments.save:
        arguments.save.write_text(document.model_dump_json())
        return
    campaign = Campaign.from_file(arguments.campaign)
    found = generate(
        campaign.host_structure(),
        campaign.supercell,
        campaign.defects,
        campaign.levels.tensor,
    )
    potential = Potential.from_document(document, arguments.device)
    chosen = [
        (start.structure, state.structure)
        for seed in range(arguments.sets)
        for state in found.states
        for start in starts(state, campaign.search, campaign.sampling.seed + seed)
    ][: arguments.starts]
    structures = [structure for structure, _ in chosen]
    undistorted = [structure for _, structure in chosen]
    max_steps = campaign.search.max_steps
    ways: dict[str, Callable[[], tuple[list[float | None], int, float]]] = {
        "batches": partial(in_batches, potential, structures, undistorted, max_steps)
    }
    for optimiser in arguments.one_by_one:
        ways[f"ASE {optimiser}"] = partial(one_by_one, potential, structures, optimiser, max_steps)
    in_batches(potential, structures[:2], undistorted[:2], 3)  # what is compiled or allocated once
    results = {name: way() for name, way in ways.items()}
    energies, _, seconds = results["batches"]
    records = [
        {
            "way": name,
            "seconds": round(took, 2),
            "ratio": round(took / seconds, 2),
            "steps": steps,
            "milliseconds_per_step": round(1000 * took / steps, 2),
            "minima": sum(energy is not None for energy in mine),
            "same_minimum_as_batches": sum(
                one is not None and other is not None and abs(one - other) < SAME_ENERGY
                for one, other in zip(mine, energies, strict=True)
            ),
        }
        for name, (mine, steps, took) in results.items()
    ]
    device = device_name(potential.device)
    output = {
        "host": found.host.name,
        "device": device,
        "starts": len(structures),
        "atoms": int(np.median([len(structure) for structure in structures])),
        "max_force": COARSE_FORCE,
        "max_steps": max_steps,
        "ways": records,
    }
    name = f"search_{found.host.name}_{potential.device.type}.json"
    Path(__file__).with_name(name).write_text(json.dumps(output, indent=1) + "\n")
    table = Table(title=f"{len(structures)} starts of {output['atoms']} atoms, {device}")
    for heading in ("way", "s", "ratio", "steps", "ms/step", "minima", "same minimum"):
        table.add_column(heading)
    for record in records:
        table.add_row(*map(str, record.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
