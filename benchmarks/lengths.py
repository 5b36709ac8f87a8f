"""How long the preset `small` must be trained, and on how many HSE06 labels, to be good enough.

    python benchmarks/lengths.py runs/labels.jsonl runs/53.jsonl --shares 0.4 1 --steps 3200 12000

The data are those of `dataset.py` and `minima.py`: all PBE labels and a share of the HSE06 ones are
learned; held-out geometries and structures near the minima are tested. Prints a table and writes
`benchmarks/lengths_<data>_<seed>.json` after each training; run again to go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from dataset import read
from rich.console import Console
from rich.table import Table
from strategies import Data, errors, fit

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.presets import PRESETS


def measured(data: Data, minima: Sequence[Label], share: float, steps: int, seed: int) -> dict:
    """Train once and return the errors of the HSE06 head."""
    # all of them: those of harsh geometries too
    labels = data.pool if share == 1 else data.learned(share)
    trained = fit(labels, steps, seed, preset=PRESETS["small"])
    return {
        "share": share,
        "steps": steps,
        "seconds": trained.seconds,
        "labels": len(labels),
        "hse06_labels": sum(label.fidelity == "hse06" for label in labels),
        "trained": errors(trained.predict, [x for x in labels if x.fidelity == "hse06"]),
        "held_out": errors(trained.predict, data.test),
        "near_minima": errors(trained.predict, minima),
    }


def cell(errors: dict[str, float]) -> str:
    """Return errors as a table shows them."""
    return f"{errors['energy_meV_per_atom']:.2f} / {errors['force_meV_per_A']:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("minima", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.4, 1.0])
    parser.add_argument("--steps", type=int, nargs="+", default=[3200, 12000])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data, minima = Data.of(read(arguments.data), 1), read(arguments.minima)
    path = Path(__file__).with_name(f"lengths_{arguments.data.stem}_{arguments.seed}.json")
    results = json.loads(path.read_text()) if path.exists() else []
    done = {(item["share"], item["steps"]) for item in results}
    for steps in arguments.steps:
        for share in arguments.shares:
            if (share, steps) not in done:
                results.append(measured(data, minima, share, steps, arguments.seed))
                path.write_text(json.dumps(results, indent=1) + "\n")
    table = Table(title="RMSE of the HSE06 head: meV/atom / meV/Å")
    for heading in ("share", "HSE06 labels", "steps", "s", "trained", "held out", "near minima"):
        table.add_column(heading)
    for item in results:
        numbers = (item["share"], item["hse06_labels"], item["steps"], round(item["seconds"]))
        cells = (cell(item[name]) for name in ("trained", "held_out", "near_minima"))
        table.add_row(*map(str, numbers), *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
