"""How much each label counts."""

from __future__ import annotations

from collections import defaultdict

import pytest

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.train import label_weights

from .solid import make_labels


def test_heads_weigh_the_same_and_charges_by_the_root_of_their_number() -> None:
    labels = make_labels(geometries=16, bulk=4, expensive=4)
    weights = label_weights(labels, float("inf"))
    assert sum(weights) == pytest.approx(len(labels))
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for label, weight in zip(labels, weights, strict=True):
        sums[label.fidelity, label.configuration.origin.state] += weight
    heads = [sum(x for (f, _), x in sums.items() if f == head) for head in ("pbe", "hse06")]
    assert heads[0] == pytest.approx(heads[1])
    assert sums["pbe", "v_O_0"] == pytest.approx(sums["pbe", "v_O_-2"])
    # 16 labels against 4: twice the weight; the bulk is not lost among the neutral defects
    assert sums["pbe", "v_O_0"] == pytest.approx(2 * sums["pbe", "bulk"])


def test_a_rare_charge_is_not_blown_up() -> None:
    labels = make_labels(geometries=16, bulk=4, expensive=0)
    rare = next(label for label in labels if label.charge == -2)
    kept = [label for label in labels if label.charge != -2] + [rare]
    weights = label_weights(kept, float("inf"))
    common = weights[next(i for i, label in enumerate(kept) if label.charge == -1)]
    assert weights[-1] == pytest.approx(4 * common)


def test_large_forces_count_less(labels: list[Label]) -> None:
    hard = labels[0].model_copy(update={"forces": [(20.0, 0.0, 0.0)] * 7})
    assert label_weights([hard], 2.0)[0] == pytest.approx(1 / (1 + 400 / 3 / 4))
