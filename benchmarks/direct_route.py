"""The direct route on a campaign: every distortion of every state relaxed at the HSE06 stand-in.

    python benchmarks/direct_route.py flows/CdTe_v_Cd/campaign.yaml --workdir runs/direct

The lowest minimum of each state is corrected and assembled into levels by the code of the campaign
itself. Writes `benchmarks/direct_route_<campaign folder>.json`; run again to resume. With
`--levels` only its levels are made again, from single points at the structures in it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
from pathlib import Path

import numpy as np
from jobflow import Flow, Job
from monty.json import MontyDecoder
from pymatgen.core import Structure
from relaxation import FORCE, Relaxation, RelaxationMaker
from rich.console import Console
from rich.table import Table

from defect_workflows.campaign import Campaign
from defect_workflows.defects.generate import generate
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.documents.defects import ChargedConfiguration, DefectSet, Origin
from defect_workflows.documents.labels import Label
from defect_workflows.documents.levels import LevelCalculation
from defect_workflows.levels.states import StateCalculation
from defect_workflows.levels.thermodynamics import defect_levels
from defect_workflows.rehearsal.environment import rehearsal_environment
from defect_workflows.running.local import run_flow
from defect_workflows.running.progress import StageProgress
from defect_workflows.running.stores import embedded_store
from defect_workflows.search.cluster import cluster
from defect_workflows.search.starts import Start, neighbour_starts, starts


class DirectRoute:
    """Relaxes starts at the HSE06 stand-in through the local runner, resumable."""

    def __init__(
        self, campaign: Campaign, found: DefectSet, workdir: Path, workers: int, console: Console
    ) -> None:
        self.campaign = campaign
        self.found = found
        self.workdir = workdir
        self.workers = workers
        self.console = console
        self.failed: list[str] = []
        self.store = embedded_store(workdir)

    def relax(self, several: list[Start]) -> list[Relaxation]:
        """Relax every start; those that fail are listed in `failed`."""
        maker = RelaxationMaker(settings=self.campaign.dft)
        return self._run([maker.make(one.state, one.name, one.structure) for one in several])

    def single_points(self, configurations: list[ChargedConfiguration]) -> list[Label]:
        """Return HSE06 labels with all that corrections need."""
        maker = SinglePointMaker("single point", "hse06", self.campaign.dft, potentials=True)
        return self._run([maker.make(configuration) for configuration in configurations])

    def levels(self, best: dict[str, Label]) -> dict:
        """Return the levels of the lowest minimum of each state, by its name."""
        (bulk,) = self.single_points([self.found.pristine])
        levels = defect_levels(
            self.found.host,
            LevelCalculation.from_label(bulk),
            [
                StateCalculation(state, LevelCalculation.from_label(best[state.name]))
                for state in self.found.states
            ],
            self.campaign.levels,
            max_force=FORCE,
        ).levels
        return json.loads(levels.model_dump_json())

    def _run(self, jobs: list[Job]) -> list:
        for job in jobs:
            job.update_metadata({"stage": "relax"})
        with StageProgress(self.console) as progress:
            result = run_flow(
                Flow(jobs),
                self.store,
                self.workdir,
                workers=self.workers,
                on_event=progress.update,
            )
        self.failed += [f"{job.name}: {job.error}" for job in result.failed]
        self.store.connect()
        ended = {job.uuid for job in result.jobs if job.state in ("done", "reused")}
        return [
            MontyDecoder().process_decoded(self.store.get_output(job.uuid, load=True))
            for job in jobs
            if job.uuid in ended
        ]


def lowest_of_each_minimum(relaxations: list[Relaxation], state: str) -> list[Relaxation]:
    """Return one relaxation of each minimum of a state."""
    mine = [item for item in relaxations if item.state == state]
    structures = [item.label.configuration.structure for item in mine]
    groups = cluster(structures, [item.label.energy for item in mine])
    return [mine[group[0]] for group in groups]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--levels", action="store_true", help="only the levels, of what is kept")
    arguments = parser.parse_args()
    campaign = Campaign.from_file(arguments.campaign)
    os.environ.update(rehearsal_environment(arguments.workdir, campaign.dft.potcar_functional))
    found = generate(
        campaign.host_structure(),
        campaign.supercell,
        campaign.defects,
        campaign.levels.tensor,
    )
    console = Console()
    route = DirectRoute(campaign, found, arguments.workdir, arguments.workers, console)
    name = f"direct_route_{arguments.campaign.resolve().parent.name}.json"
    path = Path(__file__).with_name(name)
    if arguments.levels:
        output = json.loads(path.read_text())
        kept = [
            ChargedConfiguration.of(
                Structure.from_dict(state["structure"]),
                Origin(state=state["state"], family=f"direct/{state['start']}", kind="search"),
            )
            for state in output["states"]
        ]
        labels = {label.configuration.origin.state: label for label in route.single_points(kept)}
        output["levels"] = route.levels(labels)
    else:
        output = {"campaign": str(arguments.campaign), **direct_route(route)}
    # where it ran, without this machine's name and folders
    here = f"{socket.gethostname()}:{arguments.workdir.resolve()}/"
    path.write_text(json.dumps(output, indent=1).replace(here, "") + "\n")
    _print(console, output)
    console.print(f"{path}: written")


def direct_route(route: DirectRoute) -> dict:
    """Relax everything and return the lowest minima with their levels."""
    campaign, found = route.campaign, route.found
    relaxations = route.relax(
        [
            start
            for state in found.states
            for start in starts(state, campaign.search, campaign.sampling.seed)
        ]
    )
    # as ShakeNBreak advises: the minima of each charge state are starts of its neighbours
    minima = [
        Start(item.state, item.start, item.label.configuration.structure)
        for state in found.states
        for item in lowest_of_each_minimum(relaxations, state.name)
    ]
    relaxations += route.relax(
        [start for state in found.states for start in neighbour_starts(state, found.states, minima)]
    )
    best = {
        state.name: min(
            (item for item in relaxations if item.state == state.name),
            key=lambda item: item.label.energy,
        )
        for state in found.states
    }
    return {
        "rehearsal": True,
        "force_tolerance": FORCE,
        "hse06_single_points": sum(item.ionic_steps for item in relaxations) + 1,
        "failed": route.failed,
        "states": [
            {
                "state": name,
                "energy": item.label.energy,
                "start": item.start,
                "structure": item.label.configuration.structure.as_dict(),
                "relaxations": [
                    {
                        "start": other.start,
                        "energy": other.label.energy,
                        "ionic_steps": other.ionic_steps,
                        "converged": other.converged,
                        "max_force": float(np.linalg.norm(other.label.forces, axis=1).max()),
                        "seconds": round(other.label.seconds, 1),
                    }
                    for other in relaxations
                    if other.state == name
                ],
            }
            for name, item in best.items()
        ],
        "levels": route.levels({name: item.label for name, item in best.items()}),
    }


def _print(console: Console, output: dict) -> None:
    table = Table(title=f"Direct route: {output['hse06_single_points']} HSE06 single points")
    for heading in ("state", "start", "above the lowest, meV", "ionic steps", "max force, eV/Å"):
        table.add_column(heading)
    for state in output["states"]:
        for item in sorted(state["relaxations"], key=lambda item: item["energy"]):
            table.add_row(
                state["state"],
                item["start"],
                f"{1000 * (item['energy'] - state['energy']):.1f}",
                str(item["ionic_steps"]),
                f"{item['max_force']:.3f}",
            )
    console.print(table)
    for level in output["levels"]["transition_levels"]:
        console.print(f"{level['defect']} {level['charges']}: {level['energy']:.3f} eV")


if __name__ == "__main__":
    main()
