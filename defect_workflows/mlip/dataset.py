"""Labels as MACE's training data: checked, counted, split by family, with their charge."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import atomic_numbers
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable

from defect_workflows.charge import TRAINING_KEY, charge_of, charge_of_atoms, to_atoms
from defect_workflows.documents.dataset import ENERGY_KEY, FORCES_KEY
from defect_workflows.documents.defects import PRISTINE
from defect_workflows.errors import PotentialError
from defect_workflows.fidelity import FIDELITIES, Fidelity
from defect_workflows.reuse import fingerprint

if TYPE_CHECKING:
    from ase import Atoms

    from defect_workflows.documents.labels import Label

KEYS = KeySpecification(
    info_keys={"energy": ENERGY_KEY, TRAINING_KEY: TRAINING_KEY},
    arrays_keys={"forces": FORCES_KEY},
)
"""Where MACE finds energy, forces and the charge: named, so that nothing is filled in with 0."""


HARSH = 4.0
"""RMS force, as a multiple of the median of a defect's labels, above which a geometry is harsh."""


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default precision for a while; unlike MACE's own, also across exceptions."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Splits:
    """Labels for training, for watching it, and held out; no geometry is in two of them."""

    train: list[Label] = field(default_factory=list)
    valid: list[Label] = field(default_factory=list)
    test: list[Label] = field(default_factory=list)

    def items(self) -> list[tuple[str, list[Label]]]:
        """Return names and labels of the splits."""
        return [("train", self.train), ("valid", self.valid), ("test", self.test)]


def elements_of(labels: Iterable[Label]) -> list[str]:
    """Return the element symbols of labels, by atomic number."""
    symbols = {site.specie.symbol for label in labels for site in label.configuration.structure}
    return sorted(symbols, key=atomic_numbers.__getitem__)


def heads_of(labels: Iterable[Label]) -> list[Fidelity]:
    """Return the fidelities of labels in the order of `FIDELITIES`: the heads of the model."""
    present = {label.fidelity for label in labels}
    return [fidelity for fidelity in FIDELITIES if fidelity in present]


def sampled(label: Label) -> bool:
    """Return whether a label is of the sampling, not of a search on a potential."""
    return label.configuration.origin.kind != "search"


def unique(labels: Iterable[Label]) -> list[Label]:
    """Return one label per configuration and fidelity, in an order of their own.

    Equal calculations that differ only in what they keep (site potentials, say) count once: the one
    of the earliest round, of the sampling rather than of a search, and the lowest of these. The
    order in which labels came in leaves no trace.
    """
    kept: dict[tuple[str, Fidelity], Label] = {}
    for label in sorted(labels, key=_precedence):
        kept.setdefault((label.configuration.id, label.fidelity), label)
    return [kept[key] for key in sorted(kept)]


def _precedence(label: Label) -> tuple[int, bool, float, str, str]:
    origin = label.configuration.origin
    return origin.round, not sampled(label), label.energy, label.fingerprint, origin.family


def ids(labels: Iterable[Label]) -> set[str]:
    """Return the configurations of labels."""
    return {label.configuration.id for label in labels}


def force_rms(label: Label) -> float:
    """Return the root mean square of the force components of a label in eV/Å."""
    return float(np.sqrt(np.mean(np.square(label.forces))))


def harsh(labels: Sequence[Label]) -> set[str]:
    """Return the configurations whose forces are several times those of their peers.

    Atoms nearly on top of each other: worth a cheap label, which keeps the potential repulsive
    there, not an expensive one, and no place to measure a potential at.
    """
    forces = {id(label): force_rms(label) for label in labels}
    limit = HARSH * float(np.median(list(forces.values()))) if forces else 0.0
    return ids(label for label in labels if forces[id(label)] > limit)


def check_labels(labels: Sequence[Label]) -> None:
    """Refuse labels that must not be trained on together.

    Raises
    ------
    MissingChargeError
        If a label's structure carries no charge.
    PotentialError
        If there are none, if labels of VASP and of its stand-in are mixed, or if a number is
        missing or not finite.
    """
    if not labels:
        raise PotentialError("labels: found none, expected some to train on")
    stand_in = sum(label.rehearsal for label in labels)
    if stand_in not in (0, len(labels)):
        raise PotentialError(
            f"labels: found {stand_in} of {len(labels)} made by the stand-in for VASP, "
            "expected all or none"
        )
    for label in labels:
        name = f"label {label.configuration.id[:12]} ({label.fidelity})"
        charge_of(label.configuration.structure)
        if not (np.isfinite(label.energy) and np.isfinite(label.forces).all()):
            raise PotentialError(f"{name}: found a value that is not finite")
        if np.shape(label.forces) != (len(label.configuration.structure), 3):
            raise PotentialError(
                f"{name}: found {len(label.forces)} forces, "
                f"expected {len(label.configuration.structure)}"
            )


def split_labels(labels: Sequence[Label], test_share: float, seed: int) -> Splits:
    """Split labels by geometry family, so that paired geometries stay on one side.

    Held out is what relaxations pass: geometries that are `harsh` stay in the training, and so
    does the pristine supercell, to which every level is referred. Whole families are taken within
    each defect (and the bulk) in an order that follows from the seed: for the test first those
    with the expensive labels too, without which nothing could be said of that head, at most a
    third of them; for the validation set, which only watches the training, those without, as far
    as there are any. What a search on the potential found is always trained on: a family keeps its
    side for the whole campaign, so that no model is tested on what its predecessor was trained on.

    Parameters
    ----------
    labels
        All labels of a campaign.
    test_share
        Share of the families of each defect held out for the test, and half of it for
        validation; at least one each for a defect with three families or more, as far as every
        state keeps a label at each fidelity.
    seed
        Seed of the order.
    """
    families: dict[str, dict[str, list[Label]]] = defaultdict(lambda: defaultdict(list))
    for label in filter(sampled, labels):
        origin = label.configuration.origin
        families[origin.defect][origin.family].append(label)
    side: dict[tuple[str, str], list[Label]] = {}
    splits = Splits()
    for defect, members in families.items():
        left = Counter(map(_kind, (label for own in members.values() for label in own)))
        extreme = harsh([label for own in members.values() for label in own])
        drawn = sorted(
            (f for f, own in members.items() if f != PRISTINE and not extreme & ids(own)),
            key=lambda family: fingerprint(seed, family),
        )
        if len(drawn) < 3:
            continue
        heads = {family: len({label.fidelity for label in members[family]}) for family in drawn}
        several = [family for family in drawn if heads[family] > 1]
        test = max(1, round(test_share * len(drawn)))
        expensive = max(1, min(test, len(several) // 3))
        # sorted() is stable: those with fewer fidelities first, each kind as drawn
        rest = sorted((f for f in drawn if f not in several[:expensive]), key=heads.__getitem__)
        queue = several[:expensive] + rest
        wanted = [splits.test] * test + [splits.valid] * max(1, round(test_share * len(drawn) / 2))
        for family in queue:
            taken = Counter(map(_kind, members[family]))
            # no state loses its last label at a fidelity: what is not trained on is refused
            if wanted and all(left[kind] > number for kind, number in taken.items()):
                left -= taken
                side[defect, family] = wanted.pop(0)
    for label in labels:
        key = (label.configuration.origin.defect, label.configuration.origin.family)
        (side.get(key, splits.train) if sampled(label) else splits.train).append(label)
    return splits


def _kind(label: Label) -> tuple[str, Fidelity]:
    return label.configuration.origin.state, label.fidelity


def atomic_data(
    atoms: Atoms,
    *,
    fidelity: Fidelity,
    heads: Sequence[str],
    elements: Sequence[str],
    cutoff: float,
    dtype: torch.dtype,
) -> AtomicData:
    """Return atoms as MACE's graph with the charge and the head.

    Raises
    ------
    MissingChargeError
        If the atoms carry no charge.
    """
    charge_of_atoms(atoms)
    table = AtomicNumberTable([atomic_numbers[element] for element in elements])
    configuration = config_from_atoms(atoms, key_specification=KEYS, head_name=fidelity)
    with default_dtype(dtype):
        return AtomicData.from_config(
            configuration, z_table=table, cutoff=cutoff, heads=list(heads)
        )


def label_atoms(label: Label, offset: float, weight: float = 1.0) -> Atoms:
    """Return a label as atoms under MACE's keys.

    Parameters
    ----------
    label
        The label.
    offset
        Charge offset in eV that is removed from its energy.
    weight
        Weight of the label in the loss.
    """
    atoms = to_atoms(label.configuration.structure)
    atoms.info[ENERGY_KEY] = label.energy - offset
    atoms.info["config_weight"] = weight
    atoms.arrays[FORCES_KEY] = np.array(label.forces)
    return atoms
