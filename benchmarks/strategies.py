"""Ways to learn HSE06 and the charge, at equal labels and equal gradient steps.

Each way is what the package does already (`train_member`, a previous model to start from) on labels
put in another form; so nothing here is in the package, and none of it can be chosen by a user.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from pymatgen.core import Structure

from defect_workflows.campaign import PotentialSettings
from defect_workflows.charge import charge_of, with_charge
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import CommitteeMember, PotentialDocument
from defect_workflows.fidelity import Fidelity
from defect_workflows.mlip import train
from defect_workflows.mlip.audit import make_dataset, sides_of
from defect_workflows.mlip.baseline import fit_reference
from defect_workflows.mlip.dataset import Splits, harsh, split_labels
from defect_workflows.mlip.load import Device, load_model, resolve_device
from defect_workflows.mlip.predict import Potential, Prediction
from defect_workflows.mlip.presets import PRESETS, Preset
from defect_workflows.mlip.select import select

MODEL = Preset(
    soft_force=2.0,
    cutoff=4.5,
    channels=16,
    max_l=1,
    max_ell=2,
    correlation=2,
    interactions=2,
    radial=(32, 32),
    learning_rate=0.02,
    batch_size=2,
    epochs=0,
    continued_share=1.0,
)
MODELS = {"quick": MODEL, **PRESETS}
"""What `--preset` may name: the model of the published tables, and the package's own."""

FINE_TUNING = 0.25
"""Learning rate of the second half of a transfer, as a share of the first's."""

Predict = Callable[[Sequence[Structure]], list[Prediction]]


@dataclass(frozen=True)
class Data:
    """Labels to learn from, and held-out ones at HSE06; no geometry is in both."""

    pool: list[Label]
    test: list[Label]

    @classmethod
    def of(cls, labels: Sequence[Label], seed: int) -> Data:
        """Hold out a fifth of the geometries, as the package does it: none that is harsh."""
        splits = split_labels(labels, 0.2, seed)
        return cls(
            pool=splits.train + splits.valid,
            test=[label for label in splits.test if label.fidelity == "hse06"],
        )

    @property
    def cheap(self) -> list[Label]:
        """PBE labels of the pool."""
        return [label for label in self.pool if label.fidelity == "pbe"]

    def candidates(self) -> list[Label]:
        """PBE labels of what may get an HSE06 label: what is not harsh."""
        by_defect: dict[str, list[Label]] = {}
        for label in self.cheap:
            by_defect.setdefault(label.configuration.origin.defect, []).append(label)
        extreme = set().union(*map(harsh, by_defect.values()))
        return [label for label in self.cheap if label.configuration.id not in extreme]

    def expensive(self, chosen: set[str]) -> list[Label]:
        """HSE06 labels of the chosen configurations."""
        return [x for x in self.pool if x.fidelity == "hse06" and x.configuration.id in chosen]

    def learned(self, share: float) -> list[Label]:
        """PBE labels, and HSE06 ones of a share of the geometries as the package selects them."""
        chosen = select([label.configuration for label in self.candidates()], share)
        return self.cheap + self.expensive({configuration.id for configuration in chosen})


def changed(
    label: Label,
    *,
    charge: int | None = None,
    fidelity: Fidelity | None = None,
    energy: float | None = None,
    forces: np.ndarray | None = None,
) -> Label:
    """Return a label in another form; its configuration keeps its id."""
    charge = label.charge if charge is None else charge
    configuration = label.configuration.model_copy(
        update={
            "structure": with_charge(label.configuration.structure, charge),
            # one family of all: train_member then holds nothing out of what it is given
            "origin": label.configuration.origin.model_copy(update={"family": "benchmark"}),
        }
    )
    return label.model_copy(
        update={
            "configuration": configuration,
            "fidelity": fidelity or label.fidelity,
            "energy": label.energy if energy is None else energy,
            "forces": label.forces if forces is None else [tuple(f) for f in forces.tolist()],
        }
    )


@dataclass(frozen=True)
class Trained:
    """A model and the potential around it."""

    member: CommitteeMember
    potential: Potential
    seconds: float

    def predict(self, structures: Sequence[Structure]) -> list[Prediction]:
        """Predict at the most expensive head."""
        return self.potential.predict(structures, self.potential.heads[-1])


def fit(
    labels: Sequence[Label],
    steps: int,
    seed: int = 1,
    previous: Trained | None = None,
    preset: Preset = MODEL,
    device: Device = "cpu",
    **settings: object,
) -> Trained:
    """Train one model on every label given, for a number of gradient steps.

    Parameters
    ----------
    labels, steps, seed
        What to train on, gradient steps rounded to whole epochs, seed of weights and batches.
    previous
        Model to go on from, with a lower learning rate.
    preset
        Architecture and rates; its number of epochs does not count.
    device
        Where to train and to predict.
    **settings
        Others of `PotentialSettings`.
    """
    preset = slower(preset) if previous else preset
    everything = [changed(label) for label in labels]
    epochs = max(2, round(steps / math.ceil(len(everything) / preset.batch_size)))
    chosen = PotentialSettings(preset="small", epochs=epochs, device=device, **settings)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as logs:
        before = previous.member if previous else None
        member = train.train_member(everything, chosen, seed, before, logs, preset)
    reference = fit_reference(everything)
    energies, baseline = reference.documents()
    sizes = [len(label.forces) for label in everything]
    document = PotentialDocument(
        fingerprint="benchmark",
        heads=reference.heads,
        elements=reference.elements,
        charges=sorted({charge for _, charge in reference.offsets}),
        atoms=(min(sizes), max(sizes)),
        cutoff=preset.cutoff,
        members=[member],
        baseline=baseline,
        atom_energies=energies,
        errors=[],
        parity=[],
        probes=[],
        training_labels=len(everything),
        dataset=make_dataset(everything, [], sides_of(Splits(train=everything))),
        rehearsal=everything[0].rehearsal,
    )
    where = resolve_device(device)
    return Trained(member, Potential(document, [load_model(member, where)], where), member.seconds)


def device_name(device: torch.device) -> str:
    """Return what a table says of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def slower(preset: Preset) -> Preset:
    """Return the settings for going on from a trained model."""
    return replace(preset, learning_rate=FINE_TUNING * preset.learning_rate)


# fidelity


def pretrained(
    data: Data, steps: int, seed: int, preset: Preset = MODEL, device: Device = "cpu"
) -> Trained:
    """Return a model of PBE; its only head is called hse06, so that HSE06 labels can follow."""
    labels = [changed(label, fidelity="hse06") for label in data.cheap]
    return fit(labels, steps, seed, preset=preset, device=device)


def difference_labels(data: Data, expensive: Sequence[Label]) -> list[Label]:
    """Return HSE06 minus PBE on the same geometries, as labels."""
    twins = {label.configuration.id: label for label in data.cheap}
    return [
        changed(
            label,
            energy=label.energy - twin.energy,
            forces=np.array(label.forces) - np.array(twin.forces),
        )
        for label in expensive
        if (twin := twins.get(label.configuration.id)) is not None
    ]


def summed(first: Predict, second: Predict) -> Predict:
    """Return the sum of two models."""

    def predict(structures: Sequence[Structure]) -> list[Prediction]:
        return [
            replace(a, energy=a.energy + b.energy, forces=a.forces + b.forces)
            for a, b in zip(first(structures), second(structures), strict=True)
        ]

    return predict


# charge


def without_charge(
    labels: Sequence[Label],
) -> tuple[list[Label], dict[tuple[Fidelity, int], float]]:
    """Return labels as if neutral, and what was taken off: the mean energy of each charge."""
    offsets = fit_reference([changed(label) for label in labels]).offsets
    neutral = [
        changed(label, charge=0, energy=label.energy - offsets[label.fidelity, label.charge])
        for label in labels
    ]
    return neutral, offsets


def blind(labels: Sequence[Label], steps: int, seed: int = 1, preset: Preset = MODEL) -> Predict:
    """Train without the charge, but for the mean energy of each, which is given back."""
    neutral, offsets = without_charge(labels)
    model = fit(neutral, steps, seed, preset=preset)
    head = model.potential.heads[-1]

    def predict(structures: Sequence[Structure]) -> list[Prediction]:
        predictions = model.predict([with_charge(structure, 0) for structure in structures])
        return [
            replace(p, energy=p.energy + offsets[head, charge_of(structure)])
            for p, structure in zip(predictions, structures, strict=True)
        ]

    return predict


def fully_blind(
    labels: Sequence[Label], steps: int, seed: int = 1, preset: Preset = MODEL
) -> Predict:
    """Train on total energies, without any trace of the charge."""
    model = fit([changed(label, charge=0) for label in labels], steps, seed, preset=preset)
    return lambda structures: model.predict([with_charge(s, 0) for s in structures])


def one_per_charge(labels: Sequence[Label], steps: int, seed: int = 1) -> Predict:
    """Train one model for each charge, on its labels alone, with its share of the steps."""
    charges = sorted({label.charge for label in labels})
    models = {}
    for charge in charges:
        mine = [changed(label, charge=0) for label in labels if label.charge == charge]
        models[charge] = fit(mine, round(steps * len(mine) / len(labels)), seed)

    def predict(structures: Sequence[Structure]) -> list[Prediction]:
        return [models[charge_of(s)].predict([with_charge(s, 0)])[0] for s in structures]

    return predict


# what is measured


def errors(predict: Predict, test: Sequence[Label]) -> dict[str, float | None]:
    """Return the RMSE of a model's predictions, as `root_mean_squares`."""
    predictions = predict([label.configuration.structure for label in test])
    return root_mean_squares([p.energy for p in predictions], [p.forces for p in predictions], test)


def root_mean_squares(
    energies: Sequence[float], forces: Sequence[np.ndarray], test: Sequence[Label]
) -> dict[str, float | None]:
    """Return RMSE of energies (meV/atom), forces (meV/Å) and charge differences (meV per cell).

    The last is that of E(q) - E(q') at one geometry: what a level is made of.
    """
    energy = np.array([e - x.energy for e, x in zip(energies, test, strict=True)])
    atoms = np.array([len(label.forces) for label in test])
    force = np.concatenate(
        [(f - np.array(x.forces)).ravel() for f, x in zip(forces, test, strict=True)]
    )
    pairs = [
        energy[i] - energy[j]
        for i, j in combinations(range(len(test)), 2)
        if test[i].charge != test[j].charge and same_geometry(test[i], test[j])
    ]
    return {
        "labels": len(test),
        "energy_meV_per_atom": 1e3 * rms(energy / atoms),
        "force_meV_per_A": 1e3 * rms(force),
        "charge_difference_meV": 1e3 * rms(np.array(pairs)) if pairs else None,
    }


def best_without_charge(
    test: Sequence[Label], means_known: bool
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return energies and forces that no model can be better than if it does not see the charge.

    One energy and one set of forces for each geometry, and one energy for each charge where the
    means are known, chosen for the least squares on what is tested itself.

    Returns
    -------
    Energies in eV, shape (labels,), and for each label its forces in eV/Å.
    """
    shared: dict[str, tuple[int, np.ndarray]] = {}
    for number, group in enumerate(geometries(test)):
        mean = np.mean([label.forces for label in group], axis=0)
        shared |= {label.fingerprint: (number, mean) for label in group}
    geometry, forces = zip(*(shared[label.fingerprint] for label in test), strict=True)
    columns = np.eye(len(test))[list(geometry)]
    if means_known:
        charges = np.array([label.charge for label in test])
        columns = np.hstack([columns, charges[:, None] == np.unique(charges)])
    energies = np.array([label.energy for label in test])
    best = columns @ np.linalg.lstsq(columns, energies - energies.mean())[0] + energies.mean()
    return best, list(forces)


def levels(energy: Mapping[int, float]) -> dict[tuple[int, int], float]:
    """Return [E(q') - E(q)] / (q - q') of every two charges in eV, without VBM and corrections."""
    return {
        (q, other): (energy[other] - energy[q]) / (q - other)
        for q, other in combinations(sorted(energy, reverse=True), 2)
    }


def same_geometry(one: Label, other: Label) -> bool:
    """Tell whether two labels are of the same positions."""
    a, b = one.configuration.structure, other.configuration.structure
    return len(a) == len(b) and np.allclose(a.cart_coords, b.cart_coords, atol=1e-6)


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def geometries(labels: Sequence[Label]) -> list[list[Label]]:
    """Return labels grouped by geometry, in the order of the labels."""
    groups: dict[bytes, list[Label]] = {}
    for label in labels:
        key = np.round(label.configuration.structure.cart_coords, 6).tobytes()
        groups.setdefault(key, []).append(label)
    return list(groups.values())
