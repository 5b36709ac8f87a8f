"""Labels on their way to MACE: refused, counted, split by family."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch

from defect_workflows.campaign import PotentialSettings
from defect_workflows.charge import to_atoms
from defect_workflows.documents.defects import PRISTINE
from defect_workflows.documents.labels import Label
from defect_workflows.errors import MissingChargeError, PotentialError
from defect_workflows.mlip.dataset import (
    atomic_data,
    check_labels,
    default_dtype,
    label_atoms,
    split_labels,
    unique,
)
from defect_workflows.mlip.train import prepare

from .solid import make_label, make_labels


def sides(labels: list[Label], **kwargs) -> dict[str, set[str]]:
    splits = split_labels(labels, **{"test_share": 0.2, "seed": 1, **kwargs})
    return {
        name: {label.configuration.origin.family for label in part} for name, part in splits.items()
    }


def test_no_family_is_on_two_sides_and_none_is_lost(labels: list[Label]) -> None:
    found = sides(labels)
    assert not found["train"] & found["test"]
    assert not found["train"] & found["valid"]
    assert not found["test"] & found["valid"]
    splits = split_labels(labels, 0.2, 1)
    assert sum(len(part) for _, part in splits.items()) == len(labels)


def test_every_state_and_head_is_tested(labels: list[Label]) -> None:
    tested = defaultdict(set)
    for label in split_labels(labels, 0.2, 1).test:
        tested[label.configuration.origin.state].add(label.fidelity)
    assert set(tested) == {"v_O_0", "v_O_-1", "v_O_-2", "bulk"}
    assert all(heads == {"pbe", "hse06"} for heads in tested.values())


def test_most_expensive_labels_are_trained_on(labels: list[Label]) -> None:
    splits = split_labels(labels, 0.2, 1)
    expensive = [label for label in splits.train if label.fidelity == "hse06"]
    total = [label for label in labels if label.fidelity == "hse06"]
    assert len(expensive) >= 2 * len(total) // 3
    assert not [label for label in splits.valid if label.fidelity == "hse06"]


def test_the_split_follows_from_the_seed_alone(labels: list[Label]) -> None:
    assert sides(labels) == sides(labels[::-1]) == sides(list(labels))
    assert any(sides(labels) != sides(labels, seed=seed) for seed in (2, 3, 4))


def test_what_a_search_found_is_trained_on_and_moves_nothing(labels: list[Label]) -> None:
    structure = labels[0].configuration.structure
    found = make_label(
        structure.copy().perturb(0.01), -1, "hse06", "v_O/search-0-1--1", kind="search"
    )
    before, after = split_labels(labels, 0.2, 1), split_labels([*labels, found], 0.2, 1)
    assert after.test == before.test
    assert after.valid == before.valid
    assert after.train == [*before.train, found]


def test_a_defect_with_two_families_keeps_both_for_the_training() -> None:
    few = make_labels(geometries=2, bulk=2)
    assert split_labels(few, 0.2, 1).train == few


def test_no_state_loses_its_last_label_at_a_fidelity() -> None:
    rare = make_labels(geometries=6, bulk=3, expensive=1)
    trained = split_labels(rare, 0.3, 1).train
    kinds = [{(x.configuration.origin.state, x.fidelity) for x in some} for some in (trained, rare)]
    assert kinds[0] == kinds[1]


def test_the_pristine_supercell_is_trained_on() -> None:
    labels = make_labels(geometries=3, bulk=4)
    origin = labels[-1].configuration.origin.model_copy(update={"family": PRISTINE})
    configuration = labels[-1].configuration.model_copy(update={"origin": origin})
    pristine = labels[-1].model_copy(update={"configuration": configuration})
    for seed in range(6):
        assert pristine in split_labels([*labels[:-1], pristine], 0.4, seed).train


def test_a_label_without_charge_is_refused(labels: list[Label]) -> None:
    structure = labels[0].configuration.structure.copy()
    structure.properties = {}
    bare = labels[0].configuration.model_copy(update={"structure": structure})
    label = labels[0].model_copy(update={"configuration": bare})
    with pytest.raises(MissingChargeError):
        check_labels([label])


def test_mixed_origins_are_refused(labels: list[Label]) -> None:
    real = labels[0].model_copy(update={"rehearsal": False})
    with pytest.raises(PotentialError, match="1 of 2 made by the stand-in"):
        check_labels([real, labels[1]])


def test_ingested_frames_of_real_calculations_do_not_join_a_rehearsal(labels: list[Label]) -> None:
    origin = labels[0].configuration.origin.model_copy(update={"kind": "ingested"})
    configuration = labels[0].configuration.model_copy(update={"origin": origin, "id": "ingested"})
    real = labels[0].model_copy(update={"rehearsal": False, "configuration": configuration})
    with pytest.raises(PotentialError, match="made by the stand-in for VASP"):
        prepare([*labels, real], PotentialSettings(preset="small"))


def test_a_label_that_is_not_a_number_is_refused(labels: list[Label]) -> None:
    with pytest.raises(PotentialError, match="not finite"):
        check_labels([labels[0].model_copy(update={"energy": float("nan")})])


def test_equal_calculations_count_once(labels: list[Label]) -> None:
    twin = labels[0].model_copy(update={"fingerprint": "with site potentials"})
    assert len(unique([*labels, twin])) == len(labels)
    assert unique(labels) == unique(labels[::-1])


def test_of_contradicting_labels_the_earliest_then_the_lowest_counts(labels: list[Label]) -> None:
    first = labels[0]
    higher = first.model_copy(update={"energy": first.energy + 1, "fingerprint": "0"})
    origin = first.configuration.origin.model_copy(update={"round": 1, "kind": "search"})
    configuration = first.configuration.model_copy(update={"origin": origin})
    later = first.model_copy(
        update={"energy": first.energy - 1, "configuration": configuration, "fingerprint": "1"}
    )
    for order in ([first, higher, later], [later, higher, first]):
        assert unique(order) == [first]


def test_graphs_carry_charge_head_energy_and_forces(labels: list[Label]) -> None:
    label = next(x for x in labels if x.charge == -2 and x.fidelity == "hse06")
    graph = atomic_data(
        label_atoms(label, offset=1.5, weight=3.0), fidelity="hse06", heads=["pbe", "hse06"],
        elements=["O", "Mg"], cutoff=3.0, dtype=torch.float64,
    )  # fmt: skip
    assert graph.total_charge.item() == -2
    assert graph.head.item() == 1
    assert graph.energy.item() == pytest.approx(label.energy - 1.5, abs=1e-12)
    assert graph.weight.item() == 3.0
    torch.testing.assert_close(graph.forces, torch.tensor(label.forces, dtype=torch.float64))


def test_atoms_without_charge_make_no_graph(labels: list[Label]) -> None:
    atoms = to_atoms(labels[0].configuration.structure)
    del atoms.info["total_charge"]
    with pytest.raises(MissingChargeError):
        atomic_data(
            atoms, fidelity="pbe", heads=["pbe"], elements=["O", "Mg"], cutoff=3.0,
            dtype=torch.float64,
        )  # fmt: skip


def test_the_default_precision_comes_back_after_an_error() -> None:
    before = torch.get_default_dtype()
    with pytest.raises(RuntimeError), default_dtype(torch.float64):
        raise RuntimeError
    assert torch.get_default_dtype() == before
