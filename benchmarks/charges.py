"""What knowing the charge is worth, and in which form: the same labels, five ways.

    python benchmarks/charges.py runs/labels.jsonl runs/53.jsonl

The data are those of `dataset.py` and `minima.py`; all PBE labels and a share of the HSE06 ones,
and the same number of gradient steps each (one model per charge: its share of them). One
blind model keeps the mean energy of each charge: what is hidden from it is how forces, and
differences between geometries, depend on the charge. The other knows nothing of the charge. Beside
them, from the labels alone, what no blind model can be better than. Writes
`benchmarks/charges_<data>_<steps>.json` after each training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from dataset import read
from rich.console import Console
from strategies import (
    Data,
    Predict,
    best_without_charge,
    blind,
    errors,
    fit,
    fully_blind,
    levels,
    one_per_charge,
    root_mean_squares,
)

from defect_workflows.documents.labels import Label


def categorical(labels: Sequence[Label], steps: int, seed: int) -> Predict:
    return fit(labels, steps, seed).predict


def continuous(labels: Sequence[Label], steps: int, seed: int) -> Predict:
    return fit(labels, steps, seed, charge="continuous").predict


VARIANTS: dict[str, Callable[[Sequence[Label], int, int], Predict]] = {
    "categorical": categorical,
    "continuous": continuous,
    "charge-blind, mean energies known": blind,
    "charge-blind": fully_blind,
    "one per charge": one_per_charge,
}


def level_errors(predict: Predict, minima: Sequence[Label]) -> list[dict]:
    """Return levels between the structures relaxed at each charge, eV, and the model's errors.

    VBM and corrections are the same for both.
    """
    own = {
        label.charge: label
        for label in minima
        if label.configuration.origin.family.endswith(f"relaxed at {label.charge:+d}")
    }
    predictions = predict([label.configuration.structure for label in own.values()])
    true = levels({charge: label.energy for charge, label in own.items()})
    model = levels({charge: p.energy for charge, p in zip(own, predictions, strict=True)})
    return [
        {
            "charges": list(pair),
            "stand_in_eV": true[pair],
            "error_meV": 1e3 * (model[pair] - true[pair]),
        }
        for pair in true
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("minima", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    data, minima = Data.of(read(arguments.data), arguments.seed), read(arguments.minima)
    labels = data.learned(arguments.share)
    charges = sorted({label.charge for label in data.test})
    console, results = Console(), {}
    limits = {
        name: {
            "test": root_mean_squares(*best_without_charge(data.test, known), data.test),
            "near_minima": root_mean_squares(*best_without_charge(minima, known), minima),
        }
        for name, known in {"means known": True, "charge-blind": False}.items()
    }
    console.print("no blind model can be better than", limits)
    path = Path(__file__).with_name(f"charges_{arguments.data.stem}_{arguments.steps}.json")
    for name in arguments.variants:
        predict = VARIANTS[name](labels, arguments.steps, arguments.seed)
        results[name] = {
            "test": errors(predict, data.test),
            "test_per_charge": [
                {"charge": q, **errors(predict, [x for x in data.test if x.charge == q])}
                for q in charges
            ],
            "near_minima": errors(predict, minima),
            "levels": level_errors(predict, minima),
        }
        console.print(name, results[name]["test"])
        output = {
            "steps": arguments.steps,
            "share": arguments.share,
            "best_possible_without_charge": limits,
            "variants": results,
        }
        path.write_text(json.dumps(output, indent=1) + "\n")
    console.print(f"{path}: written")


if __name__ == "__main__":
    main()
