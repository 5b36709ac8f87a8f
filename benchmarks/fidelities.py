"""Which way of learning HSE06 needs the fewest HSE06 labels, and which labels are worth most.

    python benchmarks/fidelities.py runs/labels.jsonl runs/53.jsonl

The data are those of `dataset.py` and `minima.py`; every strategy spends the same number of
gradient steps in all (transfer and Delta learning half of them on PBE). Writes its results after
each training, by default to `benchmarks/fidelities_<data>_<preset>_<steps>_<seed>.json`; run again
to go on. With `--preset standard --device cuda` it trains what the package trains on a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from dataset import read
from rich.console import Console
from rich.table import Table
from strategies import (
    MODELS,
    Data,
    Predict,
    device_name,
    difference_labels,
    errors,
    fit,
    geometries,
    pretrained,
    summed,
)

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.dataset import ids
from defect_workflows.mlip.load import Device, resolve_device
from defect_workflows.mlip.select import select

SHARES = (0.05, 0.1, 0.2, 0.4)
SELECTION_SHARES = (0.1, 0.2)
STRATEGIES = ("multi-fidelity", "HSE06 only", "Delta", "transfer")


class Benchmark:
    """Trains once what several strategies share."""

    def __init__(self, data: Data, steps: int, seed: int, preset: str, device: Device) -> None:
        self.data = data
        self.steps = steps
        self.seed = seed
        settings = {"preset": MODELS[preset], "device": device}
        self.fit = partial(fit, **settings)
        self.base = cache(partial(self.fit, data.cheap, steps // 2))
        self.start = cache(partial(pretrained, data, steps // 2, **settings))

    def multi_fidelity(self, expensive: list[Label]) -> Predict:
        return self.fit(self.data.cheap + expensive, self.steps, self.seed).predict

    def hse06_only(self, expensive: list[Label]) -> Predict:
        return self.fit(expensive, self.steps, self.seed).predict

    def delta(self, expensive: list[Label]) -> Predict:
        labels = difference_labels(self.data, expensive)
        difference = self.fit(labels, self.steps // 2, self.seed)
        return summed(self.base(self.seed).predict, difference.predict)

    def transfer(self, expensive: list[Label]) -> Predict:
        return self.fit(expensive, self.steps // 2, self.seed, self.start(self.seed)).predict

    def uncertainty(self, share: float) -> set[str]:
        """Choose the geometries on whose forces two PBE models disagree most, in all charges."""
        models = [self.base(self.seed), self.base(self.seed + 1)]
        groups = geometries(self.data.candidates())

        def spread(group: Sequence[Label]) -> float:
            structures = [label.configuration.structure for label in group]
            one, two = (model.predict(structures) for model in models)
            pairs = zip(one, two, strict=True)
            return float(np.mean([np.square(a.forces - b.forces).mean() for a, b in pairs]))

        order = sorted(groups, key=spread, reverse=True)
        return taken(order, share)

    def random(self, share: float) -> set[str]:
        """Choose geometries by lot, each in all of its charges."""
        groups = geometries(self.data.candidates())
        order = np.random.default_rng(self.seed).permutation(len(groups))
        return taken([groups[i] for i in order], share)

    def farthest_point(self, share: float) -> set[str]:
        """Choose as the package does."""
        candidates = [label.configuration for label in self.data.candidates()]
        return {configuration.id for configuration in select(candidates, share)}


def taken(order: Sequence[Sequence[Label]], share: float) -> set[str]:
    """Return the first geometries of an order, the share of the bulk and of the defects apart.

    As many of each kind as farthest-point selection takes: only the geometries differ.
    """
    chosen: set[str] = set()
    total = [label for group in order for label in group]
    for kind in (True, False):
        mine = [g for g in order if (g[0].configuration.origin.state == "bulk") == kind]
        available = sum((x.configuration.origin.state == "bulk") == kind for x in total)
        wanted = max(2 if kind else 6, int(np.ceil(share * available)))
        count = 0
        for group in mine:
            if count >= wanted:
                break
            chosen |= ids(group)
            count += len(group)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("minima", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, choices=STRATEGIES)
    parser.add_argument("--preset", default="quick", choices=MODELS)
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--output", type=Path, help="file of the results")
    arguments = parser.parse_args()
    steps, seed, preset = arguments.steps, arguments.seed, arguments.preset
    data = Data.of(read(arguments.data), 1)
    benchmark = Benchmark(data, steps, seed, preset, arguments.device)
    minima = read(arguments.minima)
    name = f"fidelities_{arguments.data.stem}_{preset}_{steps}_{seed}.json"
    path = arguments.output or Path(__file__).with_name(name)
    console = Console()
    header = {
        "preset": preset,
        "device": device_name(resolve_device(arguments.device)),
        "steps": steps,
        "seed": seed,
        "pbe_labels": len(data.cheap),
        "test_labels": len(data.test),
        "results": [],
    }
    output = json.loads(path.read_text()) if path.exists() else header | {"results": []}
    if output | {"results": []} != header:
        raise SystemExit(f"{path}: found results of other data, steps or models; move it away")
    ways_to_learn = (
        benchmark.multi_fidelity,
        benchmark.hse06_only,
        benchmark.delta,
        benchmark.transfer,
    )
    strategies = dict(zip(STRATEGIES, ways_to_learn, strict=True))
    shares, ways = arguments.shares, ("random", "uncertainty")
    plan = [(share, name, "farthest point") for share in shares for name in arguments.strategies]
    if set(arguments.strategies) == set(STRATEGIES):
        compared = [share for share in SELECTION_SHARES if share in shares]
        plan += [(share, "multi-fidelity", how) for share in compared for how in ways]
    selections = {
        "farthest point": benchmark.farthest_point,
        "random": benchmark.random,
        "uncertainty": benchmark.uncertainty,
    }
    done = {(r["share"], r["strategy"], r["selection"]) for r in output["results"]}
    # the middle of the curve first: a run that is stopped has shown something
    for share, name, how in sorted(plan, key=lambda item: item[0] not in SELECTION_SHARES):
        if (share, name, how) in done:
            continue
        expensive = data.expensive(selections[how](share))
        began = time.perf_counter()
        predict = strategies[name](expensive)
        record = {
            "share": share,
            "strategy": name,
            "selection": how,
            "hse06_labels": len(expensive),
            "seconds": round(time.perf_counter() - began),
            "test": errors(predict, data.test),
            "near_minima": errors(predict, minima),
        }
        output["results"].append(record)
        path.write_text(json.dumps(output, indent=1) + "\n")
        console.print(record)
    _print(console, output)


def _print(console: Console, output: dict) -> None:
    table = Table(title=f"HSE06: {output['test_labels']} held-out labels, and near the minima")
    for heading in ("share", "labels", "strategy", "selection"):
        table.add_column(heading)
    for heading in ("meV/atom", "meV/Å", "E(q)-E(q'), meV") * 2:
        table.add_column(heading, justify="right")
    for r in sorted(output["results"], key=lambda r: (r["share"], r["strategy"], r["selection"])):
        numbers = [
            f"{r[where][key]:.{digits}f}"
            for where in ("test", "near_minima")
            for key, digits in (
                ("energy_meV_per_atom", 1),
                ("force_meV_per_A", 0),
                ("charge_difference_meV", 0),
            )
        ]
        row = (f"{r['share']:.0%}", str(r["hse06_labels"]), r["strategy"], r["selection"])
        table.add_row(*row, *numbers)
    console.print(table)


if __name__ == "__main__":
    main()
