"""How the size of a batch shows at structures that later searches of a campaign lead to.

    python benchmarks/batches.py runs/demo --sizes 4 8 --seeds 1 2

Trains one model of the preset `small` on the labels that a finished campaign began with, for every
size and seed, and predicts the HSE06 labels of its searches and refinements. Prints a table and
writes `benchmarks/batches_<host>_<defect>.json`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from strategies import fit, rms
from weights import labels_of

from defect_workflows.documents.defects import BULK, defect_of
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.dataset import Splits, sampled
from defect_workflows.mlip.evaluate import parity_points
from defect_workflows.mlip.presets import PRESETS

FIDELITY = "hse06"


def errors(points: Sequence[ParityPoint]) -> dict[str, float]:
    """Return the number of points, RMSE of energies in meV per cell and of forces in meV/Å."""
    return {
        "labels": len(points),
        "energy": 1000 * rms(np.array([point.predicted - point.energy for point in points])),
        "force": 1000 * rms(np.array([point.force_rmse for point in points])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path, help="work folder of a finished campaign")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=PRESETS["small"].epochs)
    arguments = parser.parse_args()
    labels = labels_of(arguments.workdir)
    begun = [label for label in labels if sampled(label)]
    later = [label for label in labels if not sampled(label) and label.fidelity == FIDELITY]
    results = []
    for size in arguments.sizes:
        for seed in arguments.seeds:
            preset = replace(PRESETS["small"], batch_size=size)
            steps = arguments.epochs * math.ceil(len(begun) / size)
            trained = fit(begun, steps, seed, preset=preset)
            points = [
                point
                for point in parity_points(trained.potential, Splits(train=begun, test=later))
                if point.fidelity == FIDELITY and point.state != BULK
            ]
            results.append(
                {
                    "batch_size": size,
                    "seed": seed,
                    "seconds": trained.seconds,
                    "trained": errors([point for point in points if point.split == "train"]),
                    "later": errors([point for point in points if point.split == "test"]),
                }
            )
    host = next(x for x in labels if x.configuration.origin.state == BULK)
    formula = host.configuration.structure.composition.reduced_formula
    output = {
        "rehearsal": labels[0].rehearsal,
        "labels": len(begun),
        "epochs": arguments.epochs,
        "results": results,
    }
    defect = defect_of(later[0].configuration.origin.state)
    path = Path(__file__).with_name(f"batches_{formula}_{defect}.json")
    path.write_text(json.dumps(output, indent=1) + "\n")
    table = Table(title="RMSE at HSE06: energy (meV per cell) / force (meV/Å)")
    for heading in ("batch", "seed", "s", "labels trained on", "labels of later searches"):
        table.add_column(heading)
    for item in results:
        cells = (f"{item[x]['energy']:.0f} / {item[x]['force']:.0f}" for x in ("trained", "later"))
        table.add_row(str(item["batch_size"]), str(item["seed"]), f"{item['seconds']:.0f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
