"""The index of the labels that a potential is trained on, and what is odd about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from defect_workflows.documents.dataset import (
    DatasetDocument,
    DuplicateRecord,
    LabelCount,
    LabelRecord,
    OutlierRecord,
    RefusedRecord,
    Split,
)
from defect_workflows.mlip.dataset import check_labels, force_rms, sampled, unique
from defect_workflows.reuse import fingerprint

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from defect_workflows.documents.labels import Label, RefusedLabel
    from defect_workflows.fidelity import Fidelity
    from defect_workflows.mlip.dataset import Splits

Side = Mapping[tuple[str, "Fidelity"], Split | None]
"""Side of the split by configuration and fidelity."""

SAME_PLACE = 1e-3
"""Structures whose atoms are this close to each other, in Å, are one: at 1 eV/Å on an atom their
energies differ by no more than `SAME_ENERGY`."""

SAME_ENERGY = 1e-3
"""Energies of one structure that differ by more, in eV, are of two electronic states."""

FAR = 5.0
"""Robust standard deviations from the median that are far."""

FEWEST_PEERS = 8
"""Labels of a kind from which on their median and spread say something."""

NOTABLE = 2.0
"""Robust standard deviations of the forces from which on they explain a high energy."""

LEAST_ENERGY, LEAST_FORCE = 0.01, 0.1
"""A robust standard deviation is taken for no smaller, eV/atom and eV/Å: minima that a search found
are so close to each other that every metastable one would be far."""

GAUSSIAN = 1.4826
"""From a median absolute deviation to a standard deviation, of a normal distribution."""


def sides_of(splits: Splits) -> dict[tuple[str, Fidelity], Split]:
    """Return the side of every label of splits, by configuration and fidelity."""
    parts: list[tuple[Split, list[Label]]] = [
        ("train", splits.train),
        ("valid", splits.valid),
        ("test", splits.test),
    ]
    return {_key(label): name for name, part in parts for label in part}


def make_dataset(
    labels: Sequence[Label], refused: Iterable[RefusedLabel], sides: Side
) -> DatasetDocument:
    """Return the index and the audit of labels; their order leaves no trace.

    Parameters
    ----------
    labels
        Labels; of several of one configuration and fidelity that which is trained on is indexed.
    refused
        What is no label.
    sides
        Where the potential had them, by configuration and fidelity; it has not seen the others.

    Raises
    ------
    PotentialError, MissingChargeError
        If labels must not be trained on together: those of a rehearsal with real ones, say.
    """
    kept = unique(labels)
    check_labels(kept)
    theories = {fingerprint(item.level_of_theory): item.level_of_theory for item in kept}
    order = sorted(theories, key=lambda key: (theories[key].functional or "", key))
    records = [_record(label, sides, order) for label in kept]
    counts = Counter((item.state, item.charge, item.fidelity, item.split) for item in records)
    far, unjudged = outliers(kept)
    return DatasetDocument(
        labels=records,
        levels_of_theory=[theories[key] for key in order],
        counts=[
            LabelCount(state=state, charge=charge, fidelity=fidelity, split=split, labels=number)
            for (state, charge, fidelity, split), number in sorted(
                counts.items(), key=lambda item: (*item[0][:3], item[0][3] or "")
            )
        ],
        duplicates=[*repeated(labels), *duplicates(kept, sides)],
        outliers=far,
        unjudged=unjudged,
        refused=_refused(refused),
        rehearsal=kept[0].rehearsal,
    )


def repeated(labels: Iterable[Label]) -> list[DuplicateRecord]:
    """Return the labels that contradict another one of the same configuration and fidelity."""
    by_key: dict[tuple[str, Fidelity], list[Label]] = defaultdict(list)
    for label in labels:
        by_key[_key(label)].append(label)
    records = []
    for key in sorted(by_key):
        (first,) = unique(by_key[key])
        others = {label.fingerprint: label for label in by_key[key]}
        for _, other in sorted(others.items()):
            if abs(other.energy - first.energy) > SAME_ENERGY:
                records.append(_duplicate(other, first, 0.0, leak=False))
    return records


def duplicates(labels: Sequence[Label], sides: Side) -> list[DuplicateRecord]:
    """Return the labels of configurations that are one structure under different ids.

    Symmetric copies are one structure too. Of several the earliest is the original.

    Parameters
    ----------
    labels
        One label per configuration and fidelity.
    sides
        Side of the split of each.
    """
    by_id: dict[str, dict[Fidelity, Label]] = defaultdict(dict)
    for label in labels:
        by_id[label.configuration.id][label.fidelity] = label
    alike: dict[tuple[str, int], list[dict[Fidelity, Label]]] = defaultdict(list)
    for found in by_id.values():
        configuration = next(iter(found.values())).configuration
        alike[configuration.structure.composition.formula, configuration.charge].append(found)
    records: list[DuplicateRecord] = []
    for key in sorted(alike):
        members = sorted(alike[key], key=_age)
        structures = [next(iter(found.values())).configuration.structure for found in members]
        for original, copy, distance in same_structures(structures):
            records += _compared(members[copy], members[original], distance, sides)
    return records


def same_structures(structures: Sequence[Structure]) -> Iterator[tuple[int, int, float]]:
    """Yield the structures that are the same as an earlier one.

    Sorted distances between atoms change by at most twice what the atoms move by, under whatever
    symmetry: structures in which they do not are compared by pymatgen's `StructureMatcher`.

    Parameters
    ----------
    structures
        Structures of one composition.

    Yields
    ------
    tuple
        Indices of the earlier one and the later one, and the largest distance between equivalent
        atoms in Å.
    """
    if len(structures) < 2:
        return
    seen = [np.sort(s.distance_matrix[np.triu_indices(len(s), 1)]) for s in structures]
    means = np.array([distances.mean() if distances.size else 0.0 for distances in seen])
    originals: list[int] = []
    for index in range(len(structures)):
        for original in originals:
            if (
                abs(means[index] - means[original]) <= 2 * SAME_PLACE
                and np.abs(seen[index] - seen[original]).max(initial=0.0) <= 2 * SAME_PLACE
                and (distance := _distance(structures[original], structures[index])) is not None
            ):
                yield original, index, distance
                break
        else:
            originals.append(index)


def outliers(labels: Iterable[Label]) -> tuple[list[OutlierRecord], int]:
    """Return the labels far from their peers, and how many have too few peers to tell.

    Peers are labels of one composition, charge and fidelity, sampled ones and those of searches
    apart, which are near minima. Far is `FAR` robust standard deviations (1.4826 times the median
    absolute deviation) from the median in energy per atom, or above it in the root mean square of
    the forces: that relaxed structures have small ones is no flaw.

    Parameters
    ----------
    labels
        One label per configuration and fidelity.
    """
    groups: dict[tuple[str, int, Fidelity, bool], list[Label]] = defaultdict(list)
    for label in labels:
        formula = label.configuration.structure.composition.formula
        groups[formula, label.charge, label.fidelity, sampled(label)].append(label)
    records: list[OutlierRecord] = []
    unjudged = 0
    for key in sorted(groups):
        peers = groups[key]
        if len(peers) < FEWEST_PEERS:
            unjudged += len(peers)
            continue
        energies = _deviations([energy_per_atom(label) for label in peers], LEAST_ENERGY)
        forces = _deviations([force_rms(label) for label in peers], LEAST_FORCE)
        records += [
            _outlier(label, len(peers), energy, force)
            for label, energy, force in zip(peers, energies, forces, strict=True)
            if abs(energy.robust) > FAR or force.robust > FAR
        ]
    return records, unjudged


def energy_per_atom(label: Label) -> float:
    """Return the energy of a label in eV per atom."""
    return label.energy / len(label.forces)


@dataclass(frozen=True)
class _Deviation:
    """Distance of a value from the median of its kind: as it is, and in robust deviations."""

    plain: float
    robust: float


def _deviations(values: Sequence[float], least: float) -> list[_Deviation]:
    distances = np.asarray(values) - np.median(values)
    spread = max(GAUSSIAN * float(np.median(np.abs(distances))), least)
    return [_Deviation(float(distance), float(distance / spread)) for distance in distances]


def _outlier(label: Label, peers: int, energy: _Deviation, force: _Deviation) -> OutlierRecord:
    parts = []
    if abs(energy.robust) > FAR:
        where = "above" if energy.plain > 0 else "below"
        parts.append(
            f"energy {abs(energy.plain):.3f} eV/atom {where} the median of {peers} peers "
            f"({abs(energy.robust):.1f} robust standard deviations)"
        )
    if force.robust > FAR:
        parts.append(
            f"RMS force {force.plain:.2f} eV/Å above the median of {peers} peers "
            f"({force.robust:.1f} robust standard deviations)"
        )
    geometry = force.robust > NOTABLE and energy.plain > 0
    if not geometry:
        parts.append("its forces are not: another minimum or electronic state?")
    return OutlierRecord(
        id=label.configuration.id,
        state=label.configuration.origin.state,
        charge=label.charge,
        fidelity=label.fidelity,
        family=label.configuration.origin.family,
        energy_per_atom=energy_per_atom(label),
        force=force_rms(label),
        energy_deviation=energy.robust,
        force_deviation=force.robust,
        geometry=geometry,
        reason="; ".join(parts),
    )


def _distance(first: Structure, second: Structure) -> float | None:
    """Return the largest distance between equivalent atoms in Å; None if it is not `SAME_PLACE`."""
    spacing = (first.volume / len(first)) ** (1 / 3)
    matcher = StructureMatcher(
        ltol=SAME_PLACE / min(first.lattice.abc),
        stol=2 * SAME_PLACE / spacing,
        angle_tol=0.01,
        primitive_cell=False,
        scale=False,
    )
    found = matcher.get_rms_dist(first, second)
    distance = None if found is None else float(found[1]) * spacing
    return distance if distance is not None and distance <= SAME_PLACE else None


def _compared(
    copy: Mapping[Fidelity, Label], original: Mapping[Fidelity, Label], distance: float, sides: Side
) -> list[DuplicateRecord]:
    """Return what two labelled configurations of one structure say, fidelity by fidelity."""
    held_out = [
        {sides.get(_key(label)) == "test" for label in found.values()} for found in (copy, original)
    ]
    leak = any(one != other for one in held_out[0] for other in held_out[1])
    shared = sorted(copy.keys() & original.keys())
    if shared:
        return [_duplicate(copy[head], original[head], distance, leak) for head in shared]
    one, other = next(iter(copy.values())), next(iter(original.values()))
    record = _duplicate(one, other, distance, leak)
    nothing = {"fidelity": None, "energy_difference": None, "conflict": False}
    return [record.model_copy(update=nothing)]


def _duplicate(label: Label, original: Label, distance: float, leak: bool) -> DuplicateRecord:
    difference = label.energy - original.energy
    # what moving every atom by that distance along its force changes
    explained = distance * float(np.linalg.norm(original.forces, axis=1).sum())
    return DuplicateRecord(
        id=label.configuration.id,
        same_as=original.configuration.id,
        charge=label.charge,
        fidelity=label.fidelity,
        family=label.configuration.origin.family,
        same_as_family=original.configuration.origin.family,
        distance=distance,
        energy_difference=difference,
        conflict=abs(difference) > SAME_ENERGY + explained,
        leak=leak,
    )


def _record(label: Label, sides: Side, theories: Sequence[str]) -> LabelRecord:
    configuration = label.configuration
    return LabelRecord(
        id=configuration.id,
        fingerprint=label.fingerprint,
        charge=label.charge,
        fidelity=label.fidelity,
        split=sides.get(_key(label)),
        atoms=len(configuration.structure),
        directory=label.directory,
        level_of_theory=theories.index(fingerprint(label.level_of_theory)),
        **configuration.origin.model_dump(),
    )


def _refused(refused: Iterable[RefusedLabel]) -> list[RefusedRecord]:
    found = {
        (item.configuration.id, item.fidelity, item.fingerprint, item.reason): item
        for item in refused
    }
    return [
        RefusedRecord(
            id=item.configuration.id,
            charge=item.configuration.charge,
            fidelity=item.fidelity,
            reason=item.reason,
            directory=item.directory,
            **item.configuration.origin.model_dump(),
        )
        for _, item in sorted(found.items())
    ]


def _key(label: Label) -> tuple[str, Fidelity]:
    return label.configuration.id, label.fidelity


def _age(found: Mapping[Fidelity, Label]) -> tuple[int, str]:
    configuration = next(iter(found.values())).configuration
    return configuration.origin.round, configuration.id
