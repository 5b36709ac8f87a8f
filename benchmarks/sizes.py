"""How the error of a charged potential grows with the cell: trained at 53 atoms, asked at 107.

    python benchmarks/sizes.py runs/labels.jsonl runs/53.jsonl runs/107.jsonl

The data are those of `dataset.py` and `minima.py`. Writes
`benchmarks/sizes_<name of the data>.json` after each training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dataset import read
from rich.console import Console
from strategies import Data, Predict, Trained, errors, fit, geometries, rms

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.predict import Potential

VARIANTS: dict[str, dict[str, object]] = {
    "categorical": {},
    "categorical, bulk at every charge": {"bulk_at_every_charge": True},
    "continuous": {"charge": "continuous"},
    "continuous, bulk at every charge": {"charge": "continuous", "bulk_at_every_charge": True},
}


def at_any_size(trained: Trained) -> Predict:
    """Return a model without the refusal of other cell sizes, which is what is measured here."""
    potential = trained.potential
    document = potential.document.model_copy(update={"atoms": (1, 10_000)})
    return Trained(
        trained.member, Potential(document, potential.models, potential.device), trained.seconds
    ).predict


def measured(predict: Predict, labels: Sequence[Label]) -> dict:
    """Return the errors at one size: of charge differences and of relaxation energies, meV.

    A charge difference is E(q) - E(0) at one geometry. Its mean error is a constant for each
    charge, which would shift a level; the rest is what differs between geometries. A relaxation
    energy is E(first start) - E(relaxed at q), both at q: no offset enters.
    """
    groups = geometries(labels)
    differences: dict[int, list[tuple[float, float]]] = {}
    energies: dict[tuple[str, int], tuple[float, float]] = {}
    for group in groups:
        predictions = predict([label.configuration.structure for label in group])
        at = {x.charge: (x.energy, p.energy) for x, p in zip(group, predictions, strict=True)}
        for charge, (true, predicted) in at.items():
            energies[group[0].configuration.origin.family.split("/")[-1], charge] = true, predicted
            if charge != 0:
                differences.setdefault(charge, []).append((true - at[0][0], predicted - at[0][1]))
    relaxation = {
        charge: [
            energies["start 0", charge][i] - energies[f"relaxed at {charge:+d}", charge][i]
            for i in (0, 1)
        ]
        for charge in sorted({charge for _, charge in energies})
    }
    return {
        "atoms": len(labels[0].forces),
        **errors(predict, labels),
        "differences": [
            {
                "charge": charge,
                "stand_in_eV": float(np.mean([true for true, _ in pairs])),
                "mean_error_meV": 1e3 * float(np.mean([p - t for t, p in pairs])),
                "scatter_meV": 1e3 * float(np.std([p - t for t, p in pairs])),
            }
            for charge, pairs in sorted(differences.items())
        ],
        "relaxation": [
            {"charge": charge, "stand_in_eV": true, "error_meV": 1e3 * (predicted - true)}
            for charge, (true, predicted) in relaxation.items()
        ],
        "relaxation_rms_meV": 1e3 * rms(np.array([p - t for t, p in relaxation.values()])),
    }


def changes(sizes: Sequence[dict]) -> list[dict]:
    """Return how E(q) - E(0) changes from the first size to each other, eV.

    The stand-in's change is the electrostatics of charged cells; a short-ranged model has none, so
    its own change should be 0.
    """
    return [
        {
            "atoms": size["atoms"],
            "charge": after["charge"],
            "stand_in_eV": (true := after["stand_in_eV"] - before["stand_in_eV"]),
            "model_eV": true + 1e-3 * (after["mean_error_meV"] - before["mean_error_meV"]),
        }
        for size in sizes[1:]
        for before, after in zip(sizes[0]["differences"], size["differences"], strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("minima", type=Path, nargs="+", help="one file per size")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data = Data.of(read(arguments.data), arguments.seed)
    labels = data.learned(arguments.share)
    console, results = Console(), {}
    path = Path(__file__).with_name(f"sizes_{arguments.data.stem}.json")
    for name, settings in VARIANTS.items():
        trained = fit(labels, arguments.steps, arguments.seed, **settings)
        sizes = [measured(at_any_size(trained), read(path)) for path in arguments.minima]
        results[name] = {
            "seconds": round(trained.seconds),
            "test": errors(trained.predict, data.test),
            "sizes": sizes,
            "changes": changes(sizes),
        }
        for size in sizes:
            errors_of = [
                f"q={d['charge']:+d}: {d['mean_error_meV']:.0f} ± {d['scatter_meV']:.0f}"
                for d in size["differences"]
            ]
            console.print(
                f"{name}, {size['atoms']} atoms: E(q)-E(0) wrong by {', '.join(errors_of)} meV; "
                f"relaxation {size['relaxation_rms_meV']:.0f} meV, "
                f"forces {size['force_meV_per_A']:.0f} meV/Å"
            )
        output = {"steps": arguments.steps, "share": arguments.share, "variants": results}
        path.write_text(json.dumps(output, indent=1) + "\n")
    console.print(f"{path}: written")


if __name__ == "__main__":
    main()
