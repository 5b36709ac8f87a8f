from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import SearchSettings
from defect_workflows.documents.search import Candidate
from defect_workflows.search.shortlist import shortlist

ATOM = Structure(Lattice.cubic(3), ["Mg"], [[0, 0, 0]])


def candidates(*energies, state="v_Cd_0", spreads=None):
    return [
        Candidate(
            state=state,
            structure=ATOM,
            energy=energy,
            spread=(spreads or [0.0] * len(energies))[rank],
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
    found = shortlist(both, SearchSettings(shortlist=2))
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


def test_an_unsure_minimum_may_come_from_outside_the_window():
    settings = SearchSettings(shortlist=2, energy_window=0.3)
    assert ranks(shortlist(candidates(0, 0.4), settings)) == [0]
    assert ranks(shortlist(candidates(0, 0.4, spreads=[0, 0.1]), settings)) == [0, 1]


def test_nothing_found_nothing_listed():
    assert shortlist([], SearchSettings()) == []
