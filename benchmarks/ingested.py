"""What is learned from real relaxations, and what knowing the charge is worth there.

    python benchmarks/ingested.py MgO [--data DATA]
    python benchmarks/ingested.py CdTe [--data DATA]

DATA is the folder of the test data, by default that of the variable DEFECT_WORKFLOWS_TEST_DATA. MgO
is Mg_O at q = 0 to +4, 216 atoms, PBEsol; CdTe is Cd_i at q = 0, 65 atoms, a hybrid of PBE. Every
converged step is ingested. Steps of a relaxation are alike: beside the models stands what needs
none, the mean energy of each charge and no forces. Writes `benchmarks/ingested_<name>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from rich.console import Console
from rich.table import Table
from strategies import MODEL, Predict, blind, errors, fit, fully_blind

from defect_workflows.charge import charge_of
from defect_workflows.dft.ingest import INGESTED, stored_labels
from defect_workflows.documents.labels import Label
from defect_workflows.mlip.predict import Prediction
from defect_workflows.running.ingest import ingest, open_store

MGO, CDTE = "04_mgo_pbesol_full/Defects/Pre_Calculated_Results", "05_cdte_hse_soc"
FOLDERS = {
    "MgO": [f"{MGO}/Mg_O_{charge}" for charge in ("0", "+1", "+2", "+3", "+4")],
    "CdTe": [f"{CDTE}/Cd_i_{site}_0" for site in ("C3v", "Td_Cd2.83", "Td_Te2.83")],
}
PART = 4
"""One step in so many is held out within a relaxation, and one part of so many at its end."""

PRESET = replace(MODEL, batch_size=1)
"""One cell of 216 atoms a step: on a CPU two take nearly twice as long."""

Train = Callable[[Sequence[Label], int, int], Predict]


def categorical(labels: Sequence[Label], steps: int, seed: int) -> Predict:
    return fit(labels, steps, seed, preset=PRESET).predict


def no_model(labels: Sequence[Label], steps: int, seed: int) -> Predict:
    """Predict the mean energy of each charge and no forces."""
    energies: dict[int, list[float]] = defaultdict(list)
    for label in labels:
        energies[label.charge].append(label.energy)
    means = {charge: np.mean(values, keepdims=True) for charge, values in energies.items()}

    def predict(structures: Sequence[Structure]) -> list[Prediction]:
        return [
            Prediction(float(mean[0]), mean, 0.0, np.zeros((len(s), 3)), np.zeros(len(s)))
            for s, mean in ((s, means[charge_of(s)]) for s in structures)
        ]

    return predict


VARIANTS: dict[str, Train] = {
    "no model": no_model,
    "categorical": categorical,
    "charge-blind, mean energies known": partial(blind, preset=PRESET),
    "charge-blind": partial(fully_blind, preset=PRESET),
}


def read(folders: Sequence[Path]) -> list[Label]:
    """Return the labels of finished calculations, each structure once.

    Not by `ingested_labels`, which refuses CdTe: one of its relaxations is not spin-polarised. Here
    that makes no difference: it ends within 0.2 meV of a spin-polarised one.
    """
    with tempfile.TemporaryDirectory() as workdir:
        store, _ = open_store(Path(workdir))
        ingest(folders, store)
        labels = list(stored_labels(store, {"name": INGESTED}))
        store.close()
    return labels


def relaxations(labels: Sequence[Label]) -> dict[tuple[int, str], list[Label]]:
    """Return steps by charge and family, in the order in which they were calculated."""
    runs: dict[tuple[int, str, str], list[tuple[int, Label]]] = defaultdict(list)
    for label in labels:
        run, _, step = (label.directory or "").rpartition("#")
        runs[label.charge, label.configuration.origin.family, run].append((int(step), label))
    found: dict[tuple[int, str], list[Label]] = {}
    # the runs of a folder go on from each other, each at lower energies
    for key in sorted(runs, key=lambda key: -float(np.mean([x.energy for _, x in runs[key]]))):
        steps = sorted(runs[key], key=lambda item: item[0])
        found.setdefault(key[:2], []).extend(label for _, label in steps)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Fold:
    """Labels to train on, and those held out, by what they tell."""

    train: list[Label]
    tests: dict[str, list[Label]]


def folds(labels: Sequence[Label]) -> list[Fold]:
    """Return steps held out within each relaxation and at its end, then whole families held out.

    The latter only where a charge has several, as in the package: every state keeps labels.
    """
    found = relaxations(labels)
    train, within, end = [], [], []
    for steps in found.values():
        last = len(steps) - len(steps) // PART
        end += steps[last:]
        within += steps[PART // 2 : last : PART]
        train += [x for i, x in enumerate(steps[:last]) if i % PART != PART // 2]
    result = [Fold(train, {"between the steps trained on": within, "end of each relaxation": end})]
    families = Counter(charge for charge, _ in found)
    for (charge, family), steps in found.items():
        if families[charge] > 1:
            others = [x for key, own in found.items() if key != (charge, family) for x in own]
            result.append(Fold(others, {f"all of {family.partition('/')[0]}": steps}))
    return result


def measure(train: Train, fold: Fold, steps: int, seed: int) -> dict[str, dict]:
    """Train and return the errors of each part held out: of all of it, and by charge.

    Errors in the training are those of a part of its labels.
    """
    predict = train(fold.train, steps, seed)
    measured = {}
    for name, test in {"training": fold.train[::PART], **fold.tests}.items():
        predictions = predict([label.configuration.structure for label in test])
        by_charge: dict[int | str, list[tuple[Label, Prediction]]] = defaultdict(list)
        for label, prediction in zip(test, predictions, strict=True):
            by_charge[label.charge].append((label, prediction))
            by_charge["all"].append((label, prediction))
        measured[name] = {
            str(charge): errors(partial(_given, [p for _, p in own]), [x for x, _ in own])
            for charge, own in by_charge.items()
        }
    return measured


def _given(predictions: list[Prediction], structures: Sequence[Structure]) -> list[Prediction]:
    return predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=FOLDERS)
    parser.add_argument("--data", type=Path, default=os.environ.get("DEFECT_WORKFLOWS_TEST_DATA"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("expected --data or the variable DEFECT_WORKFLOWS_TEST_DATA")
    warnings.filterwarnings("ignore", message="Structure charge")
    labels = read([Path(arguments.data) / folder for folder in FOLDERS[arguments.name]])
    charges = sorted({label.charge for label in labels})
    variants = VARIANTS if len(charges) > 1 else {k: VARIANTS[k] for k in list(VARIANTS)[:2]}
    console = Console()
    path = Path(__file__).with_name(f"ingested_{arguments.name}.json")
    output: dict = {
        "fidelities": sorted({label.fidelity for label in labels}),
        "labels": {q: sum(label.charge == q for label in labels) for q in charges},
        "steps": arguments.steps,
        "seed": arguments.seed,
        "folds": [],
    }
    for fold in folds(labels):
        results: dict[str, dict] = {}
        output["folds"].append({"train_labels": len(fold.train), "variants": results})
        for name, train in variants.items():
            results[name] = measure(train, fold, arguments.steps, arguments.seed)
            console.print(name, {part: found["all"] for part, found in results[name].items()})
            path.write_text(json.dumps(output, indent=1) + "\n")
        for part in results["no model"]:
            console.print(_table(part, {name: found[part] for name, found in results.items()}))
    console.print(f"{path.name}: written")


def _table(part: str, results: dict[str, dict]) -> Table:
    table = Table(title=f"{part}: RMSE in meV/atom / meV/Å")
    table.add_column("model")
    charges = sorted(results["no model"], key=lambda charge: (charge == "all", charge))
    for charge in charges:
        number = results["no model"][charge]["labels"]
        table.add_column(f"{charge} ({number})", justify="right")
    for name, found in results.items():
        numbers = [
            f"{found[q]['energy_meV_per_atom']:.3f} / {found[q]['force_meV_per_A']:.1f}"
            for q in charges
        ]
        table.add_row(name, *numbers)
    return table


if __name__ == "__main__":
    main()
