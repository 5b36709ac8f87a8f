from __future__ import annotations

import numpy as np
import pytest
from states import cdte

from defect_workflows.campaign import SearchSettings
from defect_workflows.charge import charge_of
from defect_workflows.distortions import closest_contact
from defect_workflows.search.starts import (
    SHAKE,
    Start,
    control_starts,
    neighbour_starts,
    shaken_starts,
    starts,
)

SETTINGS = SearchSettings(distortions=[-0.6, -0.3, 0.3])


@pytest.fixture(scope="module")
def states():
    return {state.name: state for state in cdte().states}


def test_starts_are_shakenbreaks_distortions_in_the_charge_of_the_state(states):
    found = starts(states["v_Cd_-1"], SETTINGS, seed=1)
    assert [start.name for start in found] == [
        "Unperturbed",
        "Rattled",
        "Bond_Distortion_-60.0%",
        "Bond_Distortion_-30.0%",
        "Bond_Distortion_30.0%",
        "Dimer",
        "Antisite_Te",
    ]
    assert {charge_of(start.structure) for start in found} == {-1}
    assert {start.state for start in found} == {"v_Cd_-1"}


def test_a_start_does_not_depend_on_the_others(states):
    fewer = SETTINGS.model_copy(update={"distortions": [0.3], "dimer": False, "antisites": False})
    one = {s.name: s.structure for s in starts(states["v_Cd_0"], SETTINGS, seed=1)}
    other = {s.name: s.structure for s in starts(states["v_Cd_0"], fewer, seed=1)}
    assert set(other) < set(one)
    for name, structure in other.items():
        assert np.array_equal(structure.frac_coords, one[name].frac_coords)


def test_states_are_rattled_differently(states):
    neutral, charged = (
        {s.name: s.structure for s in starts(states[name], SETTINGS, seed=1)}["Rattled"]
        for name in ("v_Cd_0", "v_Cd_-1")
    )
    assert not np.allclose(neutral.frac_coords, charged.frac_coords)


def test_starts_with_atoms_on_top_of_each_other_are_left_out(states):
    # four neighbours of an antisite at 40 % of the bond length stand 0.4 covalent bonds from it
    found = starts(states["Te_Cd_0"], SETTINGS, seed=1)
    assert "Bond_Distortion_-60.0%" not in [start.name for start in found]
    assert min(closest_contact(start.structure) for start in found) > 0.5


def test_the_control_is_the_pristine_supercell_distorted_by_the_extremes():
    found = control_starts(cdte().host.supercell, SETTINGS, seed=1)
    assert found[0].name == "Unperturbed"
    assert {start.state for start in found} == {"bulk"}
    assert {charge_of(start.structure) for start in found} == {0}
    assert "Bond_Distortion_30.0%" in [start.name for start in found]
    assert "Bond_Distortion_-30.0%" not in [start.name for start in found]


def test_minima_go_to_the_neighbouring_charge_states_only(states):
    everything = list(states.values())
    minima = [
        Start(name, "Dimer", states[name].structure)
        for name in ("v_Cd_0", "v_Cd_-1", "v_Cd_-2", "Te_Cd_+2")
    ]
    to_middle = neighbour_starts(states["v_Cd_-1"], everything, minima)
    assert {start.name for start in to_middle} == {"Dimer_from_0", "Dimer_from_-2"}
    assert {charge_of(start.structure) for start in to_middle} == {-1}
    to_last = neighbour_starts(states["v_Cd_-2"], everything, minima)
    assert [start.name for start in to_last] == ["Dimer_from_-1"]
    # the neighbour of 0 is +2 where there is no +1
    to_antisite = neighbour_starts(states["Te_Cd_0"], everything, minima)
    assert [start.name for start in to_antisite] == ["Dimer_from_+2"]
    assert charge_of(minima[0].structure) == 0


def test_minima_are_shaken_in_their_own_charge_state(states):
    minima = [Start(name, "Dimer", states[name].structure) for name in ("v_Cd_0", "v_Cd_-1")]
    found = shaken_starts(minima, seed=1)
    assert [(start.state, start.name) for start in found] == [
        ("v_Cd_0", "Dimer_shaken"),
        ("v_Cd_-1", "Dimer_shaken"),
    ]
    assert [charge_of(start.structure) for start in found] == [0, -1]
    for start, minimum in zip(found, minima, strict=True):
        way = start.structure.cart_coords - minimum.structure.cart_coords
        assert np.sqrt(np.mean(way**2)) == pytest.approx(SHAKE, rel=0.4)
