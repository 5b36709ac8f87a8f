"""How the weight of strongly distorted labels, and the length of the training, show near minima.

    python benchmarks/weights.py runs/demo runs/other --steps 4000 16000 --soft-force 0.5

Trains one model of the preset `small` on all labels of a finished campaign for every `soft_force`
and number of steps, and predicts the HSE06 labels of another campaign of the same states, those
that are far from everything trained on. Prints a table and writes
`benchmarks/weights_<host>_<defect>.json`: errors by height above the lowest label of the state,
before and after `mlip.zero` takes its shifts off.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from strategies import fit, rms

from defect_workflows.documents.defects import BULK, defect_of
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.dataset import Splits, unique
from defect_workflows.mlip.evaluate import parity_points
from defect_workflows.mlip.presets import PRESETS
from defect_workflows.mlip.zero import fit_shifts, shifted
from defect_workflows.running.campaign import dataset_labels, finished_result
from defect_workflows.search.cluster import displacements

FIDELITY = "hse06"
HEIGHTS = (0.0, 0.3, 1.0, 2.0, 4.0)
"""Limits in eV above the lowest label of a state between which errors are averaged."""

UNSEEN = 0.15
"""A label is new if an atom of it is further than this, in Å along an axis, from all others."""


def labels_of(workdir: Path) -> list[Label]:
    """Return every label of a finished campaign."""
    return unique(dataset_labels(workdir, finished_result(workdir).dataset))


def far_from(known: Sequence[Label], label: Label) -> bool:
    """Tell whether a label is of a structure unlike all known ones of its state."""
    structure = label.configuration.structure
    return all(
        np.abs(displacements(one.configuration.structure, structure)).max() > UNSEEN
        for one in known
        if one.configuration.origin.state == label.configuration.origin.state
    )


def bands(points: Sequence[ParityPoint]) -> Iterator[tuple[str, list[ParityPoint]]]:
    """Yield points by split and by their height above the lowest label of their state."""
    lowest: dict[str, float] = {}
    for point in points:
        lowest[point.state] = min(point.energy, lowest.get(point.state, np.inf))
    for split in ("train", "test"):
        for low, high in pairwise(HEIGHTS):
            inside = [
                point
                for point in points
                if point.split == split and low <= point.energy - lowest[point.state] < high
            ]
            if inside:
                yield f"{split}, {low} to {high} eV", inside


def errors(points: Sequence[ParityPoint]) -> dict[str, dict[str, float]]:
    """Return RMSE of energies in meV per cell, shifts taken off or not, and of forces in meV/Å."""
    moved = dict(bands(shifted(points, fit_shifts(points))))
    return {
        band: {
            "labels": len(inside),
            "energy": 1000 * rms(np.array([p.predicted - p.energy for p in inside])),
            "shifted": 1000 * rms(np.array([p.predicted - p.energy for p in moved[band]])),
            "force": 1000 * rms(np.array([p.force_rmse for p in inside])),
        }
        for band, inside in bands(points)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", type=Path, help="work folder of the campaign to train on")
    parser.add_argument("unseen", type=Path, help="work folder of another one")
    parser.add_argument("--steps", type=int, nargs="+", default=[6000])
    parser.add_argument("--soft-force", type=float, nargs="+", default=[2.0, 0.5])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    labels = labels_of(arguments.trained)
    known = [label for label in labels if label.fidelity == FIDELITY]
    unseen = [
        label
        for label in labels_of(arguments.unseen)
        if label.fidelity == FIDELITY
        and label.configuration.origin.state != BULK
        and far_from(known, label)
    ]
    results = {}
    for soft_force, steps in product(arguments.soft_force, arguments.steps):
        preset = replace(PRESETS["small"], soft_force=soft_force)
        trained = fit(labels, steps, arguments.seed, preset=preset)
        points = [
            point
            for point in parity_points(trained.potential, Splits(train=labels, test=unseen))
            if point.fidelity == FIDELITY and point.state != BULK
        ]
        results[f"soft_force {soft_force}, {steps} steps"] = {
            "seconds": trained.seconds,
            "errors": errors(points),
        }
    pristine = next(label for label in labels if label.configuration.origin.state == BULK)
    host = pristine.configuration.structure.composition.reduced_formula
    defect = defect_of(unseen[0].configuration.origin.state)
    output = {
        "rehearsal": labels[0].rehearsal,
        "seed": arguments.seed,
        "labels": len(labels),
        "hse06_labels": len(known),
        "unseen": len(unseen),
        "trainings": results,
    }
    path = Path(__file__).with_name(f"weights_{host}_{defect}.json")
    path.write_text(json.dumps(output, indent=1) + "\n")
    table = Table(title="RMSE: energy, the same shifted (meV per cell) / force (meV/Å)")
    for heading in ("HSE06 labels", "number", *results):
        table.add_column(heading)
    for band, first in next(iter(results.values()))["errors"].items():
        row = [result["errors"][band] for result in results.values()]
        cells = (f"{x['energy']:.0f}, {x['shifted']:.0f} / {x['force']:.0f}" for x in row)
        table.add_row(band, str(first["labels"]), *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
