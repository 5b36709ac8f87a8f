from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from states import cdte

from defect_workflows.campaign import SamplingSettings
from defect_workflows.charge import charge_of
from defect_workflows.defects.sample import sample
from defect_workflows.distortions import closest_contact

SETTINGS = SamplingSettings(per_state=12, bulk=3)


@pytest.fixture(scope="module")
def states():
    return cdte().states


@pytest.fixture(scope="module")
def bulk():
    return cdte().host.supercell


@pytest.fixture(scope="module")
def configurations(states, bulk):
    return sample(states, bulk, SETTINGS)


def by_state(configurations, state):
    return [item for item in configurations if item.origin.state == state]


def test_every_state_gets_its_number_and_its_charge(states, configurations):
    for state in states:
        found = by_state(configurations, state.name)
        assert len(found) == 12
        assert {charge_of(item.structure) for item in found} == {state.charge}
        assert all(item.structure.composition == state.structure.composition for item in found)


def test_charge_states_share_their_geometries(configurations):
    neutral = by_state(configurations, "v_Cd_0")
    for state in ("v_Cd_-1", "v_Cd_-2"):
        for one, other in zip(neutral, by_state(configurations, state), strict=True):
            assert one.origin.family == other.origin.family
            assert np.array_equal(one.structure.frac_coords, other.structure.frac_coords)
            assert one.id != other.id


def test_ids_are_unique(configurations):
    assert len({item.id for item in configurations}) == len(configurations)


def test_a_family_is_one_geometry(configurations):
    geometries: dict[str, set[bytes]] = {}
    for item in configurations:
        geometries.setdefault(item.origin.family, set()).add(item.structure.frac_coords.tobytes())
    assert all(len(found) == 1 for found in geometries.values())
    assert {family.split("/")[0] for family in geometries} == {"bulk", "v_Cd", "Te_Cd"}


def test_more_configurations_leave_the_earlier_ones(states, bulk, configurations):
    more = sample(states, bulk, SETTINGS.model_copy(update={"per_state": 15, "bulk": 4}))
    for state in [*(state.name for state in states), "bulk"]:
        few = [item.id for item in by_state(configurations, state)]
        assert [item.id for item in by_state(more, state)][: len(few)] == few


def test_the_order_of_the_states_does_not_matter(states, bulk, configurations):
    turned = sample(states[::-1], bulk, SETTINGS)
    assert {item.id for item in turned} == {item.id for item in configurations}


def test_another_seed_is_another_sample(states, bulk, configurations):
    other = sample(states, bulk, SETTINGS.model_copy(update={"seed": 2}))
    assert not {item.id for item in other} & {item.id for item in configurations}


def test_all_kinds_are_there(configurations):
    kinds = Counter(item.origin.kind for item in by_state(configurations, "v_Cd_0"))
    assert set(kinds) == {"rattle", "distortion", "path"}
    families = {item.origin.family for item in by_state(configurations, "v_Cd_-2")}
    assert any("Dimer" in family for family in families)
    assert any("Antisite_Te" in family for family in families)
    # also distortions that only other charge states would get
    assert any("2NN_Bond_Distortion" in family for family in families)
    assert any("1NN_Bond_Distortion" in family for family in families)


def test_the_pristine_supercell_is_rattled(bulk, configurations):
    found = by_state(configurations, "bulk")
    assert len(found) == 3
    for item in found:
        assert item.origin.kind == "bulk"
        assert item.charge == 0
        assert item.structure.composition == bulk.composition
        way = item.structure.cart_coords - bulk.cart_coords
        assert 0.01 < np.sqrt(np.mean(way**2)) < 0.3


def test_no_atoms_on_top_of_each_other(configurations):
    assert min(closest_contact(item.structure) for item in configurations) > 0.5


def test_atoms_too_close_are_left_out_and_replaced(states, bulk):
    # An antisite pulls four neighbours to a tenth of the bond: no such configuration remains.
    extreme = SETTINGS.model_copy(update={"distortions": [-0.9]})
    found = by_state(sample(states, bulk, extreme), "Te_Cd_0")
    assert len(found) == 12
    assert min(closest_contact(item.structure) for item in found) > 0.5
