"""The package's own search on a charge-aware and on a charge-blind potential: same labels, steps.

    python benchmarks/charge_blind.py flows/CdTe_v_Cd/campaign.yaml runs/demo \
        benchmarks/direct_route_CdTe_v_Cd.json --steps 2000

Both learn every label of a finished campaign, those at its refined ground states included, with
the preset `small`. The blind one knows the mean energy of each charge, as in `charges.py`, and
otherwise sees every structure as neutral; both get the zero of energy of each charge that the
package fits. Starts, charges of the states and settings of the search are the campaign's.
Each searches twice: alone, and with the campaign's verified structures among the starts. Prints
tables and writes `benchmarks/charge_blind_<name of the direct route>.json`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compare import SAME_ENERGY, SAME_RMSD, rmsd
from dataset import generated, label
from pymatgen.core import Structure
from rich.console import Console
from rich.table import Table
from strategies import Trained, fit, levels, without_charge

from defect_workflows.campaign import Campaign
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import Baseline
from defect_workflows.documents.search import SearchDocument
from defect_workflows.mlip.dataset import unique
from defect_workflows.mlip.evaluate import compared as parity
from defect_workflows.mlip.predict import Potential
from defect_workflows.mlip.presets import PRESETS
from defect_workflows.mlip.zero import fit_shifts
from defect_workflows.running.campaign import dataset_labels, finished_result
from defect_workflows.search.contenders import contenders
from defect_workflows.search.explore import search
from defect_workflows.search.relax import FIDELITY
from defect_workflows.search.starts import Start, verified_starts

PRESET = PRESETS["small"]

SEEDS = (1, 2)
"""A committee of two, as in the campaign: the search asks where its members disagree."""


def aware(labels: Sequence[Label], steps: int) -> Potential:
    """Train the package's model."""
    return zeroed(committee([fit(labels, steps, seed, preset=PRESET) for seed in SEEDS]), labels)


def blind(labels: Sequence[Label], steps: int) -> Potential:
    """Train without the charge; answers are those of neutral cells plus the mean of each charge."""
    neutral, offsets = without_charge(labels)
    potential = committee([fit(neutral, steps, seed, preset=PRESET) for seed in SEEDS])
    for model in potential.models:
        model.register_forward_pre_hook(as_neutral)
    baseline = [
        Baseline(fidelity=fidelity, charge=charge, offset=potential.offset(fidelity, 0) + offset)
        for (fidelity, charge), offset in offsets.items()
    ]
    document = potential.document.model_copy(update={"baseline": baseline})
    return zeroed(Potential(document, potential.models, potential.device), labels)


def zeroed(potential: Potential, labels: Sequence[Label]) -> Potential:
    """Take off what a potential is wrong by at the low-lying labels, as `make_potential` does."""
    shifts = fit_shifts(parity(potential, "train", labels))
    document = potential.document.model_copy(update={"shifts": shifts})
    return Potential(document, potential.models, potential.device)


def committee(members: Sequence[Trained]) -> Potential:
    """Return one potential of models trained on the same labels."""
    document = members[0].potential.document.model_copy(
        update={"members": [trained.member for trained in members]}
    )
    models = [model for trained in members for model in trained.potential.models]
    return Potential(document, models, members[0].potential.device)


def as_neutral(_: torch.nn.Module, inputs: tuple[dict[str, torch.Tensor], ...]) -> tuple:
    """Hide the charge from a model: its inputs as those of neutral cells."""
    data, *others = inputs
    return {**data, "total_charge": torch.zeros_like(data["total_charge"])}, *others


def named_levels(energy: dict[int, float]) -> dict[str, float]:
    """Return levels in eV by name, e.g. '(0/-1)'."""
    return {f"({q}/{other})": level for (q, other), level in levels(energy).items()}


def compared(found: SearchDocument, states: Sequence[DefectState], direct: dict) -> dict:
    """Return what a search found beside the direct route's ground states."""
    records, energies = [], {}
    for state in states:
        true, energy = direct[state.name]
        fates = Counter(x.verdict for x in found.relaxations if x.state == state.name)
        record: dict[str, Any] = {"state": state.name, "relaxations": dict(fates)}
        records.append(record)
        mine = [c for c in found.candidates if c.state == state.name]
        if not mine:
            continue
        lowest = min(mine, key=lambda candidate: candidate.rank)
        energies[state.charge] = lowest.energy
        origin = Origin(state=state.name, family="benchmark", kind="search")
        point = label(ChargedConfiguration.of(lowest.structure, origin), FIDELITY)
        away = rmsd(lowest.structure, true)
        above = None if point is None else point.energy - energy
        record |= {
            "minima": len(mine),
            "start": lowest.starts[0],
            "rmsd": away,
            "above_direct_eV": above,
            "model_error_eV": None if point is None else lowest.energy - point.energy,
            "same": None not in (away, above) and away < SAME_RMSD and abs(above) < SAME_ENERGY,
        }
    return {"states": records, "levels_eV": named_levels(energies)}


def at_direct(potential: Potential, states: Sequence[DefectState], direct: dict) -> dict:
    """Return errors and levels of a potential at the direct route's own ground states."""
    structures = [direct[state.name][0] for state in states]
    predictions = potential.predict(structures, FIDELITY)
    energies = {s.charge: p.energy for s, p in zip(states, predictions, strict=True)}
    errors = {state.name: energies[state.charge] - direct[state.name][1] for state in states}
    return {"model_error_eV": errors, "levels_eV": named_levels(energies)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("direct", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    campaign = Campaign.from_file(arguments.campaign)
    result, found = finished_result(arguments.workdir), generated(campaign)
    labels = unique(dataset_labels(arguments.workdir, result.dataset))
    verified = verified_starts(contenders(result.verified, campaign.convergence.refine_window))
    direct = {
        state["state"]: (Structure.from_dict(state["structure"]), state["energy"])
        for state in json.loads(arguments.direct.read_text())["states"]
    }
    starts: dict[str, list[Start]] = {"alone": [], "with verified starts": verified}
    potentials: dict[str, dict] = {}
    output = {
        "steps": arguments.steps,
        "seeds": SEEDS,
        "labels": dict(Counter(item.fidelity for item in labels)),
        "direct_levels_eV": named_levels({s.charge: direct[s.name][1] for s in found.states}),
        "potentials": potentials,
    }
    path = Path(__file__).with_name(f"charge_blind_{arguments.direct.stem[13:]}.json")
    for name, train in {"charge-aware": aware, "charge-blind": blind}.items():
        potential = train(labels, arguments.steps)
        potentials[name] = {"at_direct": at_direct(potential, found.states, direct)}
        for which, known in starts.items():
            document = search(
                potential,
                found.states,
                found.host.supercell,
                campaign.search,
                seed=campaign.sampling.seed,
                fingerprint="benchmark",
                known=known,
            )
            potentials[name][which] = compared(document, found.states, direct)
            path.write_text(json.dumps(output, indent=1) + "\n")
    _print(output, list(starts))


def _print(output: dict, searches: Sequence[str]) -> None:
    console = Console()
    table = Table(title="Lowest of each search against the direct route's ground state")
    numbers = {"RMSD, Å": "rmsd", "above, eV": "above_direct_eV", "error, eV": "model_error_eV"}
    for heading in ("potential", "search", "state", "from", *numbers, "same"):
        table.add_column(heading)
    for name, results in output["potentials"].items():
        for which in searches:
            for state in results[which]["states"]:
                values = [_number(state.get(key)) for key in numbers.values()]
                same = "yes" if state.get("same") else "NO"
                table.add_row(name, which, state["state"], state.get("start", "-"), *values, same)
    console.print(table)
    table = Table(title="Levels, eV, and the potentials' minus the direct route's")
    pairs = list(output["direct_levels_eV"])
    for heading in ("potential", "structures", *pairs):
        table.add_column(heading)
    table.add_row("stand-in", "direct route", *map(_number, output["direct_levels_eV"].values()))
    for name, results in output["potentials"].items():
        for which in ("at_direct", *searches):
            mine, true = results[which]["levels_eV"], output["direct_levels_eV"]
            errors = [mine[pair] - true[pair] if pair in mine else None for pair in pairs]
            table.add_row(name, which, *map(_number, errors))
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
