"""What cuequivariance's kernels gain on a GPU, and that they change nothing.

    python benchmarks/kernels.py runs/labels.jsonl

The data are those of `dataset.py`. From the same weights, a few steps old, with and without the
kernels: seconds of a training step (a batch of defect cells) and of a prediction of many cells at
once, and the largest differences of interaction energies and forces between the two, as well as
between a model and what `plain` makes of its accelerated form. Prints a table and writes
`benchmarks/kernels_<preset>_<device>.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from dataset import read
from mace.tools import set_seeds
from mace.tools.torch_geometric.dataloader import Collater
from rich.console import Console
from rich.table import Table
from strategies import MODELS, device_name

from defect_workflows.documents.defects import BULK
from defect_workflows.mlip.baseline import fit_reference
from defect_workflows.mlip.dataset import default_dtype
from defect_workflows.mlip.load import resolve_device
from defect_workflows.mlip.model import accelerated, build_model, plain
from defect_workflows.mlip.optimise import Training
from defect_workflows.mlip.presets import Preset
from defect_workflows.mlip.train import graphs_of

if TYPE_CHECKING:
    from mace.data import AtomicData

    from defect_workflows.documents.labels import Label

WARM_UP = 6
"""Calls before the clock starts: compilers and allocators are done by then."""


def measured(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return milliseconds per call and the peak of the GPU's memory in GB, after a warm-up."""
    for _ in range(WARM_UP):
        call()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return {
        "milliseconds": round(1e3 * (time.perf_counter() - began) / repeats, 2),
        "peak_GB": round(torch.cuda.max_memory_allocated() / 1e9, 2),
    }


def training(model: Any, graphs: list[AtomicData], preset: Preset, steps: int) -> dict[str, float]:
    """Measure steps of a training on one batch; the model is trained."""
    course = Training(
        model,
        graphs,
        [],
        preset,
        epochs=WARM_UP + steps,
        seed=1,
        learning_rate=preset.learning_rate,
    )
    return measured(course.train_epoch, steps)


def outputs(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return energies without E0s in eV, and forces in eV/Å."""
    output = model(batch.to_dict(), compute_force=True)
    return output["interaction_energy"].detach(), output["forces"].detach()


def difference(one: Any, other: Any, batch: Any) -> dict[str, float]:
    """Return the largest differences of two models, and what they are differences of."""
    (energy, forces), (other_energy, other_forces) = outputs(one, batch), outputs(other, batch)
    return {
        "energy_eV": float((energy - other_energy).abs().max()),
        "force_eV_per_A": float((forces - other_forces).abs().max()),
        "largest_energy_eV": float(energy.abs().max()),
        "largest_force_eV_per_A": float(forces.abs().max()),
    }


def compared(
    labels: list[Label],
    preset: Preset,
    dtype: torch.dtype,
    device: torch.device,
    cells: int,
    repeats: int,
) -> dict[str, Any]:
    """Return times and differences in one precision."""
    reference = fit_reference(labels)
    graphs = graphs_of(labels, reference, preset.cutoff, preset.soft_force, dtype)
    few = graphs[: preset.batch_size]
    collate = Collater([None], [None])
    some, many = collate(few).to(device), collate(graphs[:cells]).to(device)
    set_seeds(1)
    slow = build_model(few, reference, preset).to(device, dtype)
    step = training(slow, few, preset, repeats)
    fast = accelerated(slow)
    if fast is slow:
        raise SystemExit("cuequivariance: found none in use, expected its packages and a GPU")
    back = plain(accelerated(slow).to("cpu")).to(device)
    return {
        "cuequivariance_against_e3nn": difference(slow, fast, some),
        "plain_against_e3nn": difference(slow, back, some),
        "prediction": {
            "e3nn": measured(lambda: outputs(slow, many), repeats),
            "cuequivariance": measured(lambda: outputs(fast, many), repeats),
        },
        "training_step": {
            "e3nn": step,
            "cuequivariance": training(fast, few, preset, repeats),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="standard", choices=MODELS)
    parser.add_argument("--cells", type=int, default=33, help="cells predicted at once")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    preset, device = MODELS[arguments.preset], resolve_device("cuda")
    labels = [
        label
        for label in read(arguments.data)
        if label.fidelity == "pbe" and label.configuration.origin.state != BULK
    ]
    precisions = {}
    for dtype in (torch.float64, torch.float32):
        with default_dtype(dtype):
            precisions[str(dtype).removeprefix("torch.")] = compared(
                labels, preset, dtype, device, arguments.cells, arguments.repeats
            )
    output = {
        "preset": arguments.preset,
        "device": device_name(device),
        "torch": torch.__version__,
        "atoms": len(labels[0].forces),
        "cells_per_step": preset.batch_size,
        "cells_per_prediction": min(arguments.cells, len(labels)),
        "precisions": precisions,
    }
    name = f"kernels_{arguments.preset}_{output['device'].replace(' ', '_')}.json"
    Path(__file__).with_name(name).write_text(json.dumps(output, indent=1) + "\n")
    _print(output)


def _print(output: dict[str, Any]) -> None:
    table = Table(title=f"{output['preset']}, {output['atoms']} atoms, {output['device']}")
    for heading in ("precision", "what", "e3nn, ms", "cuequivariance, ms", "ratio", "GB", "GB"):
        table.add_column(heading, justify="right")
    for precision, found in output["precisions"].items():
        for what in ("training_step", "prediction"):
            slow, fast = found[what]["e3nn"], found[what]["cuequivariance"]
            ratio = slow["milliseconds"] / fast["milliseconds"]
            numbers = (slow["milliseconds"], fast["milliseconds"], f"{ratio:.2f}")
            memory = (slow["peak_GB"], fast["peak_GB"])
            table.add_row(precision, what.replace("_", " "), *map(str, numbers + memory))
    console = Console()
    console.print(table)
    for precision, found in output["precisions"].items():
        for which in ("cuequivariance_against_e3nn", "plain_against_e3nn"):
            console.print(precision, which.replace("_", " "), found[which])


if __name__ == "__main__":
    main()
