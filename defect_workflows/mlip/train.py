"""Training of one MACE model: two heads, the charge embedded, E0s and offsets given."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import base64
import hashlib
import io
import logging
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import atomic_numbers
from mace import modules
from mace.tools import MetricsLogger, set_seeds
from mace.tools.torch_geometric.dataloader import DataLoader
from mace.tools.train import evaluate, train_one_epoch
from torch_ema import ExponentialMovingAverage

from defect_workflows.documents.potential import CommitteeMember
from defect_workflows.errors import PotentialError
from defect_workflows.mlip.baseline import Reference, fit_reference
from defect_workflows.mlip.dataset import (
    Splits,
    atomic_data,
    check_labels,
    default_dtype,
    label_atoms,
    split_labels,
    unique,
)
from defect_workflows.mlip.model import build_model
from defect_workflows.mlip.predict import load_model, resolve_device
from defect_workflows.mlip.presets import PRESETS, Preset

if TYPE_CHECKING:
    from mace.data import AtomicData

    from defect_workflows.campaign import PotentialSettings
    from defect_workflows.documents.labels import Label

logger = logging.getLogger(__name__)

OUTPUTS = {"forces": True, "virials": False, "stress": False}


@dataclass(frozen=True)
class Prepared:
    """Labels split and referenced: what every member of a committee shares."""

    splits: Splits
    reference: Reference


def prepare(labels: Sequence[Label], settings: PotentialSettings) -> Prepared:
    """Check, split and reference labels; the same labels and settings give the same result.

    Raises
    ------
    PotentialError, MissingChargeError
        If labels must not be trained on together, or a head has no neutral one.
    """
    labels = unique(labels)
    check_labels(labels)
    splits = split_labels(labels, settings.test_share, settings.seed)
    # references are fitted on what is trained on: the test stays unseen
    return Prepared(splits, fit_reference(splits.train))


def train_member(
    labels: Sequence[Label],
    settings: PotentialSettings,
    seed: int,
    previous: CommitteeMember | None = None,
    directory: Path | str = ".",
    preset: Preset | None = None,
    fingerprint: str = "",
) -> CommitteeMember:
    """Train one member of the committee.

    Parameters
    ----------
    labels
        All labels of the campaign so far; those held out are not trained on.
    settings
        Preset, epochs, device, precision, share held out.
    seed
        Seed of the initial weights and the order of the batches.
    previous
        Model to start from; it must have the same heads and elements.
    directory
        Where MACE's log of losses is written.
    preset
        Default: the preset that `settings` names.
    fingerprint
        Recorded in the result.

    Raises
    ------
    PotentialError
        If the loss is not a number, or `previous` does not fit the labels.
    """
    start = time.perf_counter()
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    preset = preset or PRESETS[settings.preset]
    prepared = prepare(labels, settings)
    device = resolve_device(settings.device)
    dtype = torch.float32 if settings.precision == "float32" else torch.float64
    epochs = settings.epochs or (preset.continued_epochs if previous else preset.epochs)
    with default_dtype(dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_seeds(seed)
        train, valid = (
            _graphs(part, prepared.reference, preset, dtype)
            for part in (prepared.splits.train, prepared.splits.valid)
        )
        if previous is None:
            model = build_model(train, prepared.reference, preset)
        else:
            model = _continued(previous, prepared.reference, device).to(dtype)
        model = _optimise(
            model.to(device),
            train,
            valid,
            preset,
            epochs,
            seed,
            MetricsLogger(directory=str(directory), tag=f"mace_seed_{seed}"),
        )
    content = _dump(model, prepared.reference)
    return CommitteeMember(
        fingerprint=fingerprint,
        seed=seed,
        sha256=hashlib.sha256(content).hexdigest(),
        model=base64.b64encode(content).decode(),
        epochs=epochs,
        seconds=time.perf_counter() - start,
    )


def _graphs(
    labels: Sequence[Label], reference: Reference, preset: Preset, dtype: torch.dtype
) -> list[AtomicData]:
    """Return labels as graphs whose weights let every head count the same in the loss."""
    per_head = Counter(label.fidelity for label in labels)
    return [
        atomic_data(
            label_atoms(
                label,
                reference.offsets[label.fidelity, label.charge],
                weight=len(labels)
                / len(per_head)
                / per_head[label.fidelity]
                / (1 + np.mean(np.square(label.forces)) / preset.soft_force**2),
            ),
            fidelity=label.fidelity,
            heads=reference.heads,
            elements=reference.elements,
            cutoff=preset.cutoff,
            dtype=dtype,
        )
        for label in labels
    ]


def _loader(graphs: Any, batch_size: int, generator: torch.Generator | None = None) -> DataLoader:
    """Return graphs in batches, shuffled by a generator if there is one."""
    return DataLoader(
        graphs, batch_size=batch_size, shuffle=generator is not None, generator=generator
    )


def _optimise(
    model: Any,
    train: list[AtomicData],
    valid: list[AtomicData],
    preset: Preset,
    epochs: int,
    seed: int,
    log: MetricsLogger,
) -> Any:
    """Train with Adam, a one-cycle learning rate and an average of the weights; return that."""
    device = next(model.parameters()).device
    loader = _loader(train, preset.batch_size, torch.Generator().manual_seed(seed))
    watch = _loader(valid, 4 * preset.batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=preset.learning_rate, amsgrad=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, _one_cycle(epochs))
    average = ExponentialMovingAverage(model.parameters(), decay=preset.ema_decay)
    for epoch in range(epochs):
        late = epoch >= epochs * (1 - preset.energy_share)
        loss = modules.WeightedEnergyForcesLoss(
            energy_weight=preset.energy_weight * (preset.energy_boost if late else 1.0),
            forces_weight=preset.force_weight,
        ).to(device)
        train_one_epoch(
            model=model,
            loss_fn=loss,
            data_loader=loader,
            optimizer=optimizer,
            epoch=epoch,
            output_args=OUTPUTS,
            max_grad_norm=10.0,
            ema=average,
            logger=log,
            device=device,
            distributed=False,
        )
        rate.step()
        if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
            raise PotentialError(
                f"training, seed {seed}: the loss is not a number from epoch {epoch + 1} of "
                f"{epochs} on; look for labels with extreme forces or lower the learning rate"
            )
        if valid and (epoch % 10 == 9 or epoch == epochs - 1):
            with average.average_parameters():
                _, errors = evaluate(
                    model=model, loss_fn=loss, data_loader=watch, output_args=OUTPUTS, device=device
                )
            logger.info(
                "seed %d, epoch %d of %d: validation %.2f meV/atom, %.1f meV/Å",
                seed,
                epoch + 1,
                epochs,
                1e3 * errors["rmse_e_per_atom"],
                1e3 * errors["rmse_f"],
            )
    average.copy_to(model.parameters())
    return model


def _one_cycle(epochs: int) -> Callable[[int], float]:
    """Return the learning rate's factor per epoch: a short rise, then a cosine to 1 %."""
    rise = max(1, epochs // 20)

    def factor(epoch: int) -> float:
        if epoch < rise:
            return (epoch + 1) / (rise + 1)
        share = (epoch - rise) / max(1, epochs - rise)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))

    return factor


def _continued(previous: CommitteeMember, reference: Reference, device: torch.device) -> Any:
    """Return the previous model, ready to train on."""
    model = load_model(previous, device)
    numbers = [atomic_numbers[element] for element in reference.elements]
    if list(model.heads) != list(reference.heads) or model.atomic_numbers.tolist() != numbers:
        raise PotentialError(
            f"model of seed {previous.seed}: found heads {', '.join(model.heads)} and elements "
            f"{model.atomic_numbers.tolist()}, expected {', '.join(reference.heads)} and {numbers}"
        )
    _set_atom_energies(model, reference)
    for parameter in model.parameters():
        parameter.requires_grad = True
    return model.train()


def _set_atom_energies(model: Any, reference: Reference) -> None:
    """Write E0s in double precision: thousands of eV in single would cost tenths of a meV."""
    model.atomic_energies_fn.atomic_energies = torch.tensor(
        reference.atom_energies, dtype=torch.float64
    )


def _dump(model: Any, reference: Reference) -> bytes:
    """Return the model file: the pickled module, as every MACE tool reads it."""
    model = model.to("cpu").eval()
    for parameter in model.parameters():
        parameter.grad = None
        parameter.requires_grad = False
    _set_atom_energies(model, reference)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    return buffer.getvalue()
