"""Which verified candidates may be ground states, and which are refined next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defect_workflows.documents.search import VerifiedCandidate
from defect_workflows.search.cluster import farthest
from defect_workflows.search.contenders import (
    NEAR_BOWL,
    WIDEST_BOWL,
    contenders,
    may_be_lowest,
    may_fall_into,
    next_refinements,
)

from .conftest import shaken, symmetric_copies, turned


def once(item):
    return 1


def thrice(item):
    return 3


def test_contenders_are_low_and_different(verified, vacancy):
    other = shaken(vacancy, 0.5, 1)
    lowest = verified(0, [-1.0, -3.0])
    copy = verified(0, [-2.95])
    different = verified(0, [-2.9], other)
    high = verified(0, [-2.0], shaken(vacancy, 0.5, 2))
    charged = verified(-1, [5.0])
    found = contenders([high, copy, different, charged, lowest], window=0.2)
    assert [id(item) for item in found] == [id(lowest), id(different), id(charged)]


def test_only_what_may_get_lowest_is_refined_and_the_lowest_first(verified, vacancy):
    # 15 atoms with forces of 0.1 eV/Å along each axis may gain twice 0.075 eV
    lowest = verified(0, [-3.0], forces=0.1)
    near = verified(0, [-2.86], shaken(vacancy, 0.5, 1), forces=0.1)
    far = verified(0, [-2.84], shaken(vacancy, 0.5, 2), forces=0.1)
    relaxed = verified(0, [-2.99], shaken(vacancy, 0.5, 3), forces=0.001)
    assert [may_be_lowest(item, lowest) for item in (near, far, relaxed)] == [True, False, False]
    charged = verified(-1, [4.0], forces=0.1)
    everything = [relaxed, far, near, charged, lowest]
    chosen = next_refinements(everything, 0.2, lambda item: False)
    assert [id(everything[index]) for index in chosen] == [id(lowest), id(charged)]
    then = next_refinements(everything, 0.2, lambda item: item in (lowest, charged))
    assert [id(everything[index]) for index in then] == [id(near)]
    # what a neighbour offered has its trial, however high it begins, and no more than that
    offered = verified(0, [2.0], shaken(vacancy, 0.5, 7)).model_copy(update={"exchanged": True})
    ended = (lowest, charged, near)
    several = [*everything, offered]
    assert next_refinements(several, 0.2, lambda item: item in ended, once) == [len(everything)]
    assert next_refinements(several, 0.2, lambda item: item in ended) == []
    tried = offered.model_copy(update={"labels": offered.labels * 2})
    assert next_refinements([*everything, tried], 0.2, lambda item: item in ended, once) == []
    assert next_refinements(everything, 0.02, lambda item: item in (lowest, charged)) == []


def test_an_exchanged_structure_goes_on_while_its_pace_leads_below_the_lowest(verified, vacancy):
    lowest = verified(0, [-3.0], forces=0.001)

    def goes_on(energies):
        item = verified(0, energies, shaken(vacancy, 0.5, 7)).model_copy(update={"exchanged": True})
        return next_refinements([lowest, item], 0.1, lambda item: item is lowest, thrice) == [1]

    assert goes_on([0.0, 1.0, 2.0])  # its trial, whatever comes of it
    assert goes_on([0.0, -0.5, -1.0, -1.6])  # -1.6 eV more would do
    assert not goes_on([0.0, -0.5, -1.0, -1.4])
    # steps uphill are no gain, and the gain of long ago is no pace
    assert goes_on([0.0, -1.6, -1.0, -1.2])
    assert not goes_on([0.0, -1.6, -1.0, -1.2, -1.1])


def test_what_the_search_found_high_is_followed_if_its_forces_promise_it(verified, vacancy):
    lowest = verified(0, [-3.0], forces=0.001)

    def followed(energies, forces, ended=(lowest,)):
        found = verified(0, energies, shaken(vacancy, 0.5, 7), forces=forces)
        places = next_refinements([lowest, found], 0.1, lambda item: item in ended, thrice)
        return places == [1]

    assert followed([-2.5], forces=0.3)  # 0.68 eV may be left
    assert not followed([-2.5], forces=0.3, ended=())  # after the lowest
    assert not followed([-2.5], forces=0.2)
    assert followed([-2.5, -2.6, -2.7, -2.8], forces=0.001)  # its pace
    assert not followed([-2.5, -2.55, -2.6, -2.7], forces=0.3)


def test_a_lost_start_is_followed_if_its_forces_promise_more_than_the_lowest(verified, vacancy):
    lowest = verified(0, [-3.0], forces=0.1)
    found = verified(-1, [5.0], forces=0.1)

    def followed(energies, forces, ended=()):
        item = verified(0, energies, shaken(vacancy, 0.5, 7), forces=forces)
        item = item.model_copy(update={"unresolved": True})
        chosen = next_refinements(
            [lowest, found, item], 0.1, lambda one: any(one is other for other in ended), thrice
        )
        return 2 in chosen

    assert followed([-1.0], forces=1.0)  # 7.5 eV may be left: before the lowest is refined
    assert not followed([5.0], forces=1.0)
    assert not followed([-1.0], forces=0.1)
    assert not followed([5.0], forces=1.0, ended=[lowest])  # nor after it
    assert followed([-1.0, -1.1, -1.2], forces=1.0)  # its trial
    assert not followed([-1.0, -1.1, -1.2, -1.3], forces=1.0)  # slower than it promised
    assert followed([-1.0, -1.5, -2.0, -2.2], forces=1.0)


def test_all_charge_states_of_a_defect_wait_while_a_lost_start_is_followed(verified, vacancy):
    neutral = verified(0, [-3.0], forces=0.1)
    charged = verified(-1, [5.0], forces=0.1)
    offered = verified(-1, [5.5], shaken(vacancy, 0.5, 3)).model_copy(update={"exchanged": True})
    lost = verified(0, [-1.0], shaken(vacancy, 0.5, 7), forces=1.0)
    lost = lost.model_copy(update={"unresolved": True})
    elsewhere = charged.candidate.model_copy(update={"state": "v_O_-1"})
    other = charged.model_copy(update={"candidate": elsewhere})

    def chosen(items, ended=()):
        places = next_refinements(
            items, 0.1, lambda item: any(item is one for one in ended), thrice
        )
        return [items[place] for place in places]

    everything = [neutral, charged, offered, lost, other]
    assert chosen(everything) == [lost, other]
    lowest = lost.model_copy(update={"labels": verified(0, [-4.0], forces=0.1).labels})
    assert chosen([neutral, charged, lowest]) == [lowest]
    assert chosen(everything, ended=[lost]) == [neutral, charged, other]


def test_what_was_offered_and_is_lowest_comes_before_lost_starts(verified, vacancy):
    neutral = verified(0, [-3.0], forces=0.1)
    charged = verified(-1, [5.0], forces=0.1)
    offered = verified(-1, [4.5], shaken(vacancy, 0.5, 3), forces=0.1)
    offered = offered.model_copy(update={"exchanged": True})
    lost = verified(0, [-1.0], shaken(vacancy, 0.5, 7), forces=1.0)
    lost = lost.model_copy(update={"unresolved": True})
    everything = [neutral, charged, offered, lost]
    assert next_refinements(everything, 0.1, lambda item: False, thrice) == [2]
    assert next_refinements(everything, 0.1, lambda item: item is offered, thrice) == [3]


def test_of_two_lost_starts_both_are_tried_and_one_is_followed(verified, vacancy):
    def lost(charge, energies):
        item = verified(charge, energies, shaken(vacancy, 0.5, 7), forces=1.0)
        return item.model_copy(update={"unresolved": True})

    found = [verified(0, [-3.0], forces=0.1), verified(-1, [5.0], forces=0.1)]

    def chosen(*items):
        items = [*found, *items]
        return [items[place] for place in next_refinements(items, 0.1, lambda item: False, thrice)]

    first, second = lost(0, [1.0, 0.0, -1.0]), lost(-1, [8.0, 7.0, 6.0])
    assert chosen(first, second) == [first, second]
    # compared with what the search found in the same state
    high, low = lost(0, [1.0, 0.0, -1.0, -1.9]), lost(-1, [8.0, 7.0, 5.5, 4.9])
    assert chosen(high, low) == [low]
    # one is followed when all have had their trial; what has begun goes on
    assert chosen(first, low) == [first]
    assert chosen(high, lost(0, [-1.5])) == [high]


def at(verified, vacancy, way, energy, forces, charge=0, searched=False) -> VerifiedCandidate:
    """Make what a charge state offered with its atoms displaced by `way`, shape (n, 3)."""
    structure = vacancy.copy()
    for index, vector in enumerate(way):
        structure.translate_sites([index], vector, frac_coords=False, to_unit_cell=True)
    made = verified(charge, [energy], structure)
    label = made.labels[0].model_copy(update={"forces": forces.tolist()})
    return made.model_copy(update={"labels": [label], "exchanged": not searched})


def quadratic(way):
    """Energy in eV and forces in eV/Å around a minimum, softer and stiffer directions mixed."""
    stiffness = np.linspace(1.0, 20.0, way.size).reshape(way.shape)
    return float(np.sum(stiffness * way**2) / 2), -stiffness * way


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # they make things
@given(
    way=arrays(float, (15, 3), elements=st.floats(-0.4, 0.4)).filter(
        lambda way: np.abs(way).max() > 0.01
    ),
    part=st.floats(0, 0.9),
)
def test_what_lies_in_the_bowl_of_a_minimum_falls_into_it(verified, vacancy, way, part):
    high = at(verified, vacancy, way, *quadratic(way))
    low = at(verified, vacancy, part * way, *quadratic(part * way))
    assert may_fall_into(high, [low]) == [0]
    assert may_fall_into(low, [high]) == []


@pytest.mark.parametrize("number", range(5, 48, 14))
def test_a_symmetric_copy_of_a_minimum_is_fallen_into(verified, vacancy, number):
    """Another orientation of the distortion: the way to it is longer than the bowl is wide."""
    operation = symmetric_copies(vacancy)[number]
    way = np.random.default_rng(number).uniform(-0.4, 0.4, (15, 3))
    way -= way.mean(axis=0)
    high = at(verified, vacancy, way, *quadratic(way))
    low = at(verified, vacancy, 0.3 * way, *quadratic(0.3 * way))
    copy = turned(low.label, operation)
    places = high.label.configuration.structure, copy.configuration.structure
    assert farthest(*places) > WIDEST_BOWL
    assert may_fall_into(high, [low.model_copy(update={"labels": [copy]})]) == [0]
    # the forces there turn with it
    wrong = copy.model_copy(update={"forces": low.label.forces})
    assert may_fall_into(high, [low.model_copy(update={"labels": [wrong]})]) == []


def test_other_minima_states_and_far_structures_are_not_fallen_into(verified, vacancy):
    flat = np.zeros((15, 3))
    low = at(verified, vacancy, flat, 0.0, flat)
    way = flat.copy()
    way[0, 0] = 0.5
    behind_a_barrier = at(verified, vacancy, way, 0.1, flat)
    assert not may_fall_into(behind_a_barrier, [low])
    away = at(verified, vacancy, way, 0.1, 0.4 * way / 0.5)
    assert not may_fall_into(away, [low])
    downhill = at(verified, vacancy, way, 0.1, -0.4 * way / 0.5)
    assert may_fall_into(downhill, [low])
    flat_way = 0.02 * way  # what forces at both tell by chance
    level = at(verified, vacancy, way, 0.01, -flat_way / 0.5)
    assert not may_fall_into(level, [at(verified, vacancy, flat, 0.0, -flat_way / 0.5)])
    charged = at(verified, vacancy, way, 0.1, -0.4 * way / 0.5, charge=-1)
    assert not may_fall_into(charged, [low])
    too_far = way * 1.1 * WIDEST_BOWL / 0.5
    assert not may_fall_into(at(verified, vacancy, too_far, *quadratic(too_far)), [low])


@pytest.mark.parametrize(("far", "falls"), [(0.9, True), (1.1, False)])
def test_minima_of_the_potential_are_one_only_if_they_are_near(verified, vacancy, far, falls):
    flat = np.zeros((15, 3))
    way = flat.copy()
    way[0, 0] = far * NEAR_BOWL
    low = at(verified, vacancy, flat, 0.0, flat)
    high = at(verified, vacancy, way, *quadratic(way), searched=True)
    assert may_fall_into(high, [low]) == ([0] if falls else [])


def test_only_what_is_known_to_end_in_the_lowest_is_fallen_into(verified, vacancy):
    flat = np.zeros((15, 3))
    way = flat.copy()
    way[0, 0] = 0.5
    high = at(verified, vacancy, way, *quadratic(way))
    lower = at(verified, vacancy, 0.5 * way, *quadratic(0.5 * way))
    lowest = at(verified, vacancy, -3 * way, -5.0, flat)
    assert may_fall_into(high, [lowest, lower]) == []
    fallen = lower.model_copy(update={"known_minimum": True})
    assert may_fall_into(high, [lowest, fallen]) == [1]
    # what is lowest is no other's business
    assert may_fall_into(lowest, [fallen]) == []
