from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import SearchSettings
from defect_workflows.documents.search import Candidate
from defect_workflows.search.shortlist import SAME_PLACE, expected_gain, label_at, shortlist

from .conftest import shaken, symmetric_copies, turned

ATOM = Structure(Lattice.cubic(3), ["Mg"], [[0, 0, 0]])


def candidates(*energies, state="v_Cd_0", spreads=None):
    return [
        Candidate(
            state=state,
            structure=ATOM,
            energy=energy,
            spread=0.0,
            distance=0.0,
            uncertainty=(spreads or [0.0] * len(energies))[rank],
            energy_uncertainty=0.0,
            max_force=0,
            starts=[],
            rank=rank,
        )
        for rank, energy in enumerate(energies)
    ]


def ranks(found):
    return [candidate.rank for candidate in found]


@pytest.mark.parametrize(
    ("length", "expected"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (9, [0, 1, 2])]
)
def test_the_lowest_within_the_window(length, expected):
    settings = SearchSettings(shortlist=length, energy_window=0.3)
    assert ranks(shortlist(candidates(0, 0.1, 0.2, 0.4), settings)) == expected


def test_every_state_has_its_own_list():
    both = candidates(0, 0.1, 0.2) + candidates(5, 5.1, 5.2, state="v_Cd_-1")
    found = shortlist(both, SearchSettings(shortlist=2, energy_window=0.3))
    assert [(c.state, c.rank) for c in found] == [
        ("v_Cd_0", 0),
        ("v_Cd_0", 1),
        ("v_Cd_-1", 0),
        ("v_Cd_-1", 1),
    ]


def test_a_hole_does_not_displace_what_is_sure():
    hole = candidates(-3.0, -0.4, -0.1, spreads=[2.0, 0.1, 0.05])
    assert ranks(shortlist(hole, SearchSettings(shortlist=1))) == [1]
    assert ranks(shortlist(hole, SearchSettings(shortlist=2))) == [1, 0]


def test_an_unsure_minimum_is_verified_before_a_sure_one_above_the_lowest():
    unsure = candidates(0, 0.10, 0.15, spreads=[0, 0, 0.1])
    assert ranks(shortlist(unsure, SearchSettings(shortlist=2))) == [0, 2]
    assert ranks(shortlist(unsure, SearchSettings(shortlist=3, energy_window=0.3))) == [0, 2, 1]


def test_what_cannot_be_the_ground_state_costs_nothing():
    sure = candidates(0, 0.10, 0.15, spreads=[0.02, 0.02, 0.02])
    assert ranks(shortlist(sure, SearchSettings(shortlist=3))) == [0]
    # the same minima on a potential that is worse
    unsure = candidates(0, 0.10, 0.15, spreads=[0.06, 0.06, 0.06])
    assert ranks(shortlist(unsure, SearchSettings(shortlist=3))) == [0, 1]


def test_a_known_structure_is_not_verified_again_unless_it_is_the_surest(verified, vacancy):
    settings = SearchSettings(shortlist=3, energy_window=0.5)
    found = candidates(0, 0.1, 0.2, state="v_Mg_0")
    for candidate, seed in zip(found, (1, 2, 3), strict=True):
        candidate.structure = shaken(vacancy, 0.5, seed)
    copies = [verified(0, [0.0], found[rank].structure) for rank in (0, 1)]
    assert ranks(shortlist(found, settings, copies)) == [0, 2]
    elsewhere = verified(-1, [0.0], found[1].structure)
    assert ranks(shortlist(found, settings, [elsewhere])) == [0, 1, 2]


@pytest.mark.parametrize(("above", "uncertainty"), [(0.1, 0.1), (-0.05, 0.02), (0.3, 0.1)])
def test_the_expected_gain_is_the_mean_of_what_is_lower(above, uncertainty):
    energies = np.random.default_rng(0).normal(above, uncertainty, 200_000)
    gain = np.maximum(0, -energies).mean()
    assert expected_gain(above, uncertainty) == pytest.approx(gain, abs=3e-4)


def test_nothing_unsure_nothing_to_be_expected():
    assert expected_gain(0.1, 0.0) == 0
    assert expected_gain(-0.1, 0.0) == pytest.approx(0.1)


def test_an_unsure_minimum_may_come_from_outside_the_window():
    settings = SearchSettings(shortlist=2, energy_window=0.3)
    assert ranks(shortlist(candidates(0, 0.4), settings)) == [0]
    assert ranks(shortlist(candidates(0, 0.4, spreads=[0, 0.1]), settings)) == [0, 1]


def test_nothing_found_nothing_listed():
    assert shortlist([], SearchSettings()) == []


def test_a_label_next_to_a_candidate_is_found(verified, vacancy):
    (found,) = candidates(0, state="v_Mg_0")
    places = {"far": 1.1 * SAME_PLACE, "near": 0.9 * SAME_PLACE, "nearer": -0.5 * SAME_PLACE}
    moved = {name: vacancy.copy() for name in places}
    for name, way in places.items():
        moved[name].translate_sites([3], [0, way, 0], frac_coords=False, to_unit_cell=True)
    found.structure = vacancy
    far = verified(0, [-1.0, -2.0], moved["far"])
    assert label_at(found, [far]) is None
    assert label_at(found, [verified(-1, [0.0], vacancy)]) is None
    labels = [
        verified(0, [energy], moved[name]).label
        for energy, name in enumerate(("far", "near", "nearer"))
    ]
    near = far.model_copy(update={"labels": labels})
    assert label_at(found, [far, near]) == (1, 2)
    # a symmetric copy tells as much
    found.structure = shaken(vacancy, 0.2, 1)
    known = verified(0, [-1.0], found.structure)
    assert label_at(found, [known]) == (0, 0)
    copy = turned(known.label, symmetric_copies(vacancy)[31])
    assert label_at(found, [known.model_copy(update={"labels": [copy]})]) == (0, 0)
    other = verified(0, [-1.0], shaken(vacancy, 0.2, 2)).label
    assert label_at(found, [known.model_copy(update={"labels": [other]})]) is None
