"""The index of a data set and its audit: what is there twice, far off, contradicts, or leaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from defect_workflows.charge import with_charge
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.documents.labels import Label, RefusedLabel
from defect_workflows.errors import PotentialError
from defect_workflows.mlip.audit import FEWEST_PEERS, make_dataset, same_structures, sides_of
from defect_workflows.mlip.dataset import Splits, split_labels, unique

from .solid import make_label, make_labels, rattled

LABELS = make_labels(geometries=10)
SIDES = sides_of(split_labels(unique(LABELS), 0.2, 1))
VACANCY = LABELS[0].configuration.structure


def refusal(label: Label, reason: str) -> RefusedLabel:
    return RefusedLabel(
        fingerprint=f"refused {reason}", configuration=label.configuration,
        fidelity=label.fidelity, reason=reason, directory="host:/there",
    )  # fmt: skip


REFUSED = [refusal(LABELS[0], "SCF not converged"), refusal(LABELS[3], "a force of 60 eV/Å")]


def audited(*more: Label, labels: Sequence[Label] = LABELS) -> DatasetDocument:
    return make_dataset([*labels, *more], REFUSED, SIDES)


def copied(label: Label, structure: Structure, shift: float = 0.0, family: str = "copy") -> Label:
    """A label of another structure, with the energy of the first and a shift."""
    made = make_label(with_charge(structure, label.charge), label.charge, label.fidelity, family)
    return made.model_copy(update={"energy": label.energy + shift})


def turned(structure: Structure) -> Structure:
    """The mirror image, moved, with its atoms in another order: a symmetric copy."""
    fractions = (structure.frac_coords[:, [1, 0, 2]] + [0.2, 0.1, 0.7])[::-1]
    return Structure(structure.lattice, structure.species[::-1], fractions)


def test_every_label_is_indexed_with_its_side() -> None:
    dataset = audited()
    assert len(dataset.labels) == len(LABELS)
    by_key = {(record.id, record.fidelity): record for record in dataset.labels}
    for label in LABELS:
        record = by_key[label.configuration.id, label.fidelity]
        origin = label.configuration.origin
        assert (record.state, record.family, record.kind) == (
            origin.state, origin.family, origin.kind,
        )  # fmt: skip
        assert record.charge == label.charge
        assert record.fingerprint == label.fingerprint
        assert record.split == SIDES[record.id, record.fidelity]
        assert dataset.levels_of_theory[record.level_of_theory] == label.level_of_theory
    assert {record.split for record in dataset.labels} == {"train", "valid", "test"}
    assert dataset.rehearsal


def test_counts_add_up() -> None:
    dataset = audited()
    totals: dict[tuple[str, int, str], int] = {}
    for count in dataset.counts:
        key = (count.state, count.charge, count.fidelity)
        totals[key] = totals.get(key, 0) + count.labels
    assert totals["v_O_-2", -2, "pbe"] == 10
    assert totals["v_O_-2", -2, "hse06"] == 5
    assert sum(totals.values()) == len(LABELS)


def test_what_the_potential_has_not_seen_has_no_side() -> None:
    found = make_label(VACANCY.copy().perturb(0.05), -1, "hse06", "v_O/search", kind="search")
    dataset = audited(found)
    assert dataset.unseen == 1
    assert next(r for r in dataset.labels if r.split is None).id == found.configuration.id


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(len(LABELS) + 3)), st.permutations(range(2)))
def test_the_order_leaves_no_trace(order: list[int], refusals: list[int]) -> None:
    twin = LABELS[0].model_copy(update={"fingerprint": "twin", "energy": LABELS[0].energy + 1})
    copy = copied(LABELS[4], turned(LABELS[4].configuration.structure), 0.2)
    odd = LABELS[5].model_copy(update={"energy": LABELS[5].energy - 90, "fingerprint": "odd"})
    labels = [*LABELS, twin, copy, odd]
    mixed = make_dataset([labels[i] for i in order], [REFUSED[i] for i in refusals], SIDES)
    assert mixed == make_dataset(labels, REFUSED, SIDES)
    assert mixed.duplicates


def test_a_sane_data_set_has_nothing_to_show() -> None:
    dataset = audited()
    assert dataset.duplicates == []
    assert dataset.outliers == []
    # five at hse06 per state, two and four of the bulk
    assert dataset.unjudged == sum(count for count in (5, 5, 5, 2, 4) if count < FEWEST_PEERS)


@pytest.mark.parametrize("change", [turned, lambda s: s.copy().translate_sites(range(7), 0.3)])
def test_symmetric_copies_are_duplicates(change) -> None:
    label = LABELS[0]
    copy = copied(label, change(label.configuration.structure), 2e-4)
    (found,) = audited(copy).duplicates
    assert {found.id, found.same_as} == {label.configuration.id, copy.configuration.id}
    assert abs(found.energy_difference) == pytest.approx(2e-4, abs=1e-9)
    assert found.distance < 1e-4
    assert not found.conflict


def test_a_little_further_is_another_structure() -> None:
    structure = LABELS[0].configuration.structure
    near, far = structure.copy(), structure.copy()
    near.translate_sites([3], [5e-4, 0, 0], frac_coords=False)
    far.translate_sites([3], [5e-3, 0, 0], frac_coords=False)
    pairs = [(a, b) for a, b, _ in same_structures([structure, near, far])]
    assert pairs == [(0, 1)]


def test_other_charges_of_a_geometry_are_no_duplicates() -> None:
    ids = {label.configuration.id for label in LABELS if label.configuration.origin.family ==
           LABELS[0].configuration.origin.family}  # fmt: skip
    assert len(ids) == 3
    assert not audited().duplicates


def test_copies_that_disagree_are_a_conflict() -> None:
    label = LABELS[0]
    (found,) = audited(copied(label, turned(label.configuration.structure), 0.05)).duplicates
    assert found.conflict
    assert found.fidelity == label.fidelity


def test_a_configuration_calculated_twice_with_two_energies_is_a_conflict() -> None:
    label = LABELS[0]
    again = label.model_copy(update={"fingerprint": "again", "energy": label.energy + 0.05})
    same = label.model_copy(update={"fingerprint": "same"})
    (found,) = audited(again, same).duplicates
    assert found.id == found.same_as == label.configuration.id
    assert found.energy_difference == pytest.approx(0.05)
    assert found.conflict
    assert len(audited(again).labels) == len(LABELS)


def test_copies_without_a_common_fidelity_are_not_compared() -> None:
    label = next(x for x in LABELS if (x.configuration.id, "hse06") not in SIDES)
    copy = make_label(turned(label.configuration.structure), label.charge, "hse06", "copy")
    (found,) = audited(copy).duplicates
    assert found.fidelity is None
    assert found.energy_difference is None
    assert not found.conflict


def test_a_copy_of_a_held_out_label_in_the_training_is_a_leak() -> None:
    held_out = next(x for x in LABELS if SIDES[x.configuration.id, x.fidelity] == "test")
    trained = next(x for x in LABELS if SIDES[x.configuration.id, x.fidelity] == "train")
    for label, leak in ((held_out, True), (trained, False)):
        copy = copied(label, turned(label.configuration.structure))
        sides = {**SIDES, (copy.configuration.id, copy.fidelity): "train"}
        found = make_dataset([*LABELS, copy], [], sides).duplicates
        assert [item.leak for item in found] == [leak]


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_an_energy_that_the_forces_do_not_explain_is_an_outlier(shift: float) -> None:
    labels = list(LABELS)
    labels[4] = labels[4].model_copy(update={"energy": labels[4].energy + shift})
    (found,) = audited(labels=labels).outliers
    assert found.id == labels[4].configuration.id
    assert np.sign(found.energy_deviation) == np.sign(shift)
    assert not found.geometry
    assert ("above" if shift > 0 else "below") in found.reason


def test_an_extreme_geometry_is_told_from_a_doubtful_label() -> None:
    crushed = LABELS[0].configuration.structure.copy()
    crushed.translate_sites([3], [0.9, 0, 0], frac_coords=False)
    (found,) = audited(make_label(crushed, 0, "pbe", "v_O/crushed")).outliers
    assert found.family == "v_O/crushed"
    assert found.geometry
    assert "RMS force" in found.reason


def test_relaxed_structures_are_no_outliers() -> None:
    minimum = LABELS[0].model_copy(
        update={"forces": [(0.0, 0.0, 0.0)] * len(LABELS[0].forces), "fingerprint": "relaxed"}
    )
    assert not audited(labels=[minimum, *LABELS[1:]]).outliers


def test_sampled_geometries_are_not_judged_by_those_that_searches_found() -> None:
    sampled = [
        make_label(rattled(VACANCY, 0.25, seed), 0, "pbe", f"v_O/Rattled/{seed}")
        for seed in range(200, 200 + FEWEST_PEERS)
    ]
    found = [
        make_label(rattled(VACANCY, 0.003, seed), 0, "pbe", f"v_O/search-{seed}", kind="search")
        for seed in range(300, 330)
    ]
    assert not make_dataset([*sampled, *found], [], {}).outliers
    as_sampled = [
        make_label(x.configuration.structure, 0, "pbe", x.configuration.origin.family)
        for x in found
    ]
    assert make_dataset([*sampled, *as_sampled], [], {}).outliers


def test_refused_labels_are_listed_once_with_their_reasons() -> None:
    dataset = make_dataset(LABELS, [*REFUSED, REFUSED[0]], SIDES)
    assert sorted(item.reason for item in dataset.refused) == [
        "SCF not converged",
        "a force of 60 eV/Å",
    ]
    assert {item.state for item in dataset.refused} <= {"v_O_0", "v_O_-1", "v_O_-2"}


def test_a_rehearsal_and_real_calculations_make_no_data_set() -> None:
    real = make_label(VACANCY.copy().perturb(0.05), 0, "pbe", "run", kind="ingested",
                      rehearsal=False)  # fmt: skip
    with pytest.raises(PotentialError, match="made by the stand-in"):
        audited(real)


def test_sides_are_those_of_the_splits() -> None:
    splits = Splits(train=LABELS[:2], test=LABELS[2:3])
    assert sorted(sides_of(splits).values()) == ["test", "train", "train"]
