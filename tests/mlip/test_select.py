"""The choice of configurations for the expensive fidelity."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_workflows.documents.defects import ChargedConfiguration
from defect_workflows.documents.labels import LabelSet
from defect_workflows.errors import PotentialError
from defect_workflows.mlip.dataset import split_labels
from defect_workflows.mlip.jobs import select_configurations
from defect_workflows.mlip.select import farthest_points, select

from .solid import make_labels


@pytest.fixture(scope="module")
def configurations() -> list[ChargedConfiguration]:
    return [label.configuration for label in make_labels(12, 6, 0) if label.fidelity == "pbe"]


def test_share_minimum_and_pairs(configurations: list[ChargedConfiguration]) -> None:
    chosen = select(configurations, 0.25)
    states = Counter(configuration.origin.state for configuration in chosen)
    assert states == {"v_O_0": 3, "v_O_-1": 3, "v_O_-2": 3, "bulk": 2}
    families = Counter(c.origin.family for c in chosen if c.origin.state != "bulk")
    assert set(families.values()) == {3}


def test_a_tiny_share_still_serves_every_state(configurations: list[ChargedConfiguration]) -> None:
    states = Counter(c.origin.state for c in select(configurations, 0.01))
    assert set(states.values()) == {2}
    assert len(states) == 4


def test_a_state_with_its_own_geometries_gets_its_share(
    configurations: list[ChargedConfiguration],
) -> None:
    alone = [c for c in configurations if c.charge == 0 or c.origin.family.endswith("/0")]
    states = Counter(c.origin.state for c in select(alone, 0.1))
    assert states["v_O_-1"] == states["v_O_-2"] == 1  # all it has
    assert states["v_O_0"] >= 2


def test_the_choice_depends_on_nothing_but_the_configurations(
    configurations: list[ChargedConfiguration],
) -> None:
    first = {c.id for c in select(configurations, 0.3)}
    assert first == {c.id for c in select(configurations[::-1], 0.3)}
    assert first != {c.id for c in select(configurations, 0.6)}


def test_all_of_them(configurations: list[ChargedConfiguration]) -> None:
    assert select(configurations, 1.0) == configurations


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_a_share_that_is_none_is_refused(
    configurations: list[ChargedConfiguration], share: float
) -> None:
    with pytest.raises(PotentialError, match=r"expected at least one and 0 < share <= 1"):
        select(configurations, share)


def test_what_has_an_expensive_label_is_not_chosen_again() -> None:
    labels = LabelSet(labels=make_labels(6, 4, 3), refused=[])
    done = {label.configuration.id for label in labels.labels if label.fidelity == "hse06"}
    chosen = select_configurations.original(labels, 0.3)
    assert chosen.configurations
    assert not done & {c.id for c in chosen.configurations}


def test_a_harsh_geometry_gets_no_expensive_label_and_is_no_test() -> None:
    cheap = make_labels(6, 4, 0)
    family = "v_O/Rattled/3"
    labels = [
        label.model_copy(update={"forces": [(9.0, 9.0, -9.0)] * len(label.forces)})
        if label.configuration.origin.family == family
        else label
        for label in cheap
    ]
    for data, chosen_before in ((cheap, True), (labels, False)):
        chosen = select_configurations.original(LabelSet(labels=data, refused=[]), 1.0)
        assert (family in {c.origin.family for c in chosen.configurations}) == chosen_before
    for seed in range(6):
        assert family in {
            x.configuration.origin.family for x in split_labels(labels, 0.4, seed).train
        }


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10_000))
def test_farthest_points_are_farthest(number: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(number, 3))
    order = farthest_points(points)
    assert sorted(order) == list(range(number))
    for k in range(1, number):
        distance = np.linalg.norm(points[:, None] - points[order[:k]], axis=-1).min(axis=1)
        assert distance[order[k]] == pytest.approx(distance.max())
