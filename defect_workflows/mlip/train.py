"""Training of one MACE model: two heads, the charge embedded, E0s and offsets given."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import base64
import hashlib
import math
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import atomic_numbers
from mace.tools import MetricsLogger, set_seeds

from defect_workflows.documents.defects import BULK
from defect_workflows.documents.potential import CommitteeMember
from defect_workflows.errors import PotentialError
from defect_workflows.fidelity import Fidelity
from defect_workflows.mlip.baseline import Reference, fit_reference
from defect_workflows.mlip.checkpoint import Checkpoint
from defect_workflows.mlip.dataset import (
    Splits,
    atomic_data,
    check_labels,
    default_dtype,
    label_atoms,
    split_labels,
    unique,
)
from defect_workflows.mlip.foundation import align, read_foundation, transplant
from defect_workflows.mlip.load import load_model, resolve_device
from defect_workflows.mlip.localise import bulk_at_every_charge
from defect_workflows.mlip.model import accelerated, build_model, plain
from defect_workflows.mlip.optimise import Training
from defect_workflows.mlip.presets import PRESETS, Preset
from defect_workflows.mlip.weights import to_bytes

if TYPE_CHECKING:
    from mace.data import AtomicData

    from defect_workflows.campaign import PotentialSettings
    from defect_workflows.documents.labels import Label


FEWEST_WATCHED = 10
"""Labels of the validation set from which on it decides when a training ends: what a handful of
them says of an epoch is noise, and weights from before the end of the schedule are not annealed."""


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


def trained_on(prepared: Prepared, settings: PotentialSettings) -> list[Label]:
    """Return the labels to train on: those of the training split, and what settings add to them."""
    labels = prepared.splits.train
    if settings.bulk_at_every_charge:
        return labels + bulk_at_every_charge(labels, prepared.reference)
    return labels


def train_member(
    labels: Sequence[Label],
    settings: PotentialSettings,
    seed: int,
    previous: CommitteeMember | None = None,
    directory: Path | str = ".",
    preset: Preset | None = None,
    fingerprint: str = "",
    checkpoint: Checkpoint | None = None,
) -> CommitteeMember:
    """Train one member of the committee.

    Parameters
    ----------
    labels
        All labels of the campaign so far; those held out are not trained on.
    settings
        Preset, epochs, foundation model, device, precision, share held out.
    seed
        Seed of the initial weights and the order of the batches.
    previous
        Model to start from; it must have the same heads and elements.
    directory
        Where the log of losses is written.
    preset
        Default: the preset that `settings` names.
    fingerprint
        Recorded in the result.
    checkpoint
        Where the training goes on if it was interrupted, and leaves its state while it lasts.

    Raises
    ------
    PotentialError
        If the loss is not a number, or `previous` or the foundation model does not fit the labels.
    """
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    preset = preset or PRESETS[settings.preset]
    prepared = prepare(labels, settings)
    reference = prepared.reference
    device = resolve_device(settings.device)
    dtype = torch.float32 if settings.precision == "float32" else torch.float64
    epochs = settings.epochs or preset.epochs
    if previous is not None:
        epochs = max(1, round(preset.continued_share * epochs))
    with default_dtype(dtype), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_seeds(seed)
        model, foundation = _start(prepared, settings, previous, preset, device)
        cutoff = preset.cutoff if model is None else float(model.r_max)
        # the hybrid's errors decide, as far as any are known
        valid_labels = prepared.splits.valid
        watched = [x for x in valid_labels if x.fidelity == reference.heads[-1]] or valid_labels
        if len(watched) < FEWEST_WATCHED:
            watched = []
        train, valid = (
            graphs_of(part, reference, cutoff, preset.soft_force, dtype)
            for part in (trained_on(prepared, settings), watched)
        )
        if model is None:
            model = build_model(train, reference, preset, settings.charge)
        model = model.to(device, dtype)
        if foundation is not None and previous is None:
            align(model, train)
        model = accelerated(model)
        rate = preset.learning_rate if foundation is None else preset.foundation_learning_rate
        course = Training(model, train, valid, preset, epochs, seed, rate).run(
            MetricsLogger(directory=str(directory), tag=f"mace_seed_{seed}"), checkpoint
        )
        model = plain(model.to("cpu"))
    content = _dump(model, reference)
    if checkpoint is not None:
        checkpoint.remove()
    return CommitteeMember(
        fingerprint=fingerprint,
        seed=seed,
        sha256=hashlib.sha256(content).hexdigest(),
        model=base64.b64encode(content).decode(),
        planned_epochs=course.planned,
        epochs=course.epochs,
        best_epoch=course.best,
        stopped=course.stopped,
        foundation=foundation,
        seconds=course.seconds,
    )


def graphs_of(
    labels: Sequence[Label],
    reference: Reference,
    cutoff: float,
    soft_force: float,
    dtype: torch.dtype,
) -> list[AtomicData]:
    """Return labels as graphs, with their weights in the loss.

    Parameters
    ----------
    labels, reference
        The labels and what is removed from their energies.
    cutoff
        Cutoff radius in Å.
    soft_force, dtype
        As in `label_weights`; precision of the graphs.
    """
    return [
        atomic_data(
            label_atoms(label, reference.offsets[label.fidelity, label.charge], weight),
            fidelity=label.fidelity,
            heads=reference.heads,
            elements=reference.elements,
            cutoff=cutoff,
            dtype=dtype,
        )
        for label, weight in zip(labels, label_weights(labels, soft_force), strict=True)
    ]


def label_weights(labels: Sequence[Label], soft_force: float) -> list[float]:
    """Return the weight of each label in the loss; before the forces count their mean is 1.

    Every head has the same weight in all: the few labels of the expensive functional count as much
    as the many of the cheap one. Within a head the labels of a charge, and those of the bulk, weigh
    the square root of their number together: a group four times smaller than another has half of
    its weight, not a quarter, and a label in it counts twice, not four times, as much.

    Parameters
    ----------
    labels
        The labels.
    soft_force
        RMS force in eV/Å from which on a label counts less, by the inverse square.
    """
    groups = [
        (label.fidelity, label.charge, label.configuration.origin.state == BULK) for label in labels
    ]
    numbers = Counter(groups)
    heads: dict[Fidelity, float] = defaultdict(float)
    for (fidelity, _, _), number in numbers.items():
        heads[fidelity] += math.sqrt(number)
    return [
        len(labels)
        / len(heads)
        / heads[group[0]]
        / math.sqrt(numbers[group])
        / (1 + float(np.mean(np.square(label.forces))) / soft_force**2)
        for label, group in zip(labels, groups, strict=True)
    ]


def _start(
    prepared: Prepared,
    settings: PotentialSettings,
    previous: CommitteeMember | None,
    preset: Preset,
    device: torch.device,
) -> tuple[Any | None, str | None]:
    """Return the model to go on from, if any, and the hash of the foundation model behind it."""
    if previous is not None:
        return _continued(previous, prepared.reference, device), previous.foundation
    if settings.foundation is None:
        return None, None
    foundation, sha256 = read_foundation(settings.foundation)
    # the largest forces too: there the short-range parts of a model show
    by_force = sorted(prepared.splits.train, key=lambda label: np.square(label.forces).mean())
    structures = [label.configuration.structure for label in (by_force[0], by_force[-1])]
    model = transplant(
        foundation,
        settings.foundation,
        prepared.reference,
        preset.embedding_size,
        structures,
        settings.charge,
    )
    return model, sha256


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
    """Return the model file: weights and the settings that build the model."""
    model = model.to("cpu").eval()
    _set_atom_energies(model, reference)
    return to_bytes(model)
