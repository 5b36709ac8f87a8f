"""Which verified candidates go on, and what a round is judged by."""

from __future__ import annotations

import numpy as np
import pytest

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label
from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.search.jobs import gather
from defect_workflows.search.starts import exchanged_starts, verified_starts
from defect_workflows.search.verify import assess, contenders

from .conftest import shaken
from .test_refine import LEVEL


@pytest.fixture
def verified(vacancy):
    """Make a verified candidate of a state: one HSE06 energy per single point."""

    def make(charge, energies, structure=None, energy_error=0.0):
        structure = (structure or vacancy).copy()
        structure.properties = {"charge": charge}
        state = f"v_Mg_{charge:+d}" if charge else "v_Mg_0"
        origin = Origin(state=state, family="v_Mg/x", kind="search")
        labels = [
            Label(
                fingerprint=f"{state} {number} {energy}",
                configuration=ChargedConfiguration.of(structure, origin),
                fidelity="hse06",
                energy=energy,
                forces=np.zeros((len(structure), 3)).tolist(),
                stress=np.zeros((3, 3)).tolist(),
                nelect=1,
                level_of_theory=LEVEL,
                rehearsal=True,
            )
            for number, energy in enumerate(energies)
        ]
        candidate = Candidate(
            state=state,
            structure=structure,
            energy=energies[0],
            spread=0.0,
            max_force=0.0,
            starts=["Dimer"],
            rank=0,
        )
        return VerifiedCandidate(
            candidate=candidate,
            labels=labels,
            energy_error=energy_error,
            force_error=0.01,
            max_force=0.1,
        )

    return make


def test_contenders_are_low_and_different(verified, vacancy):
    other = shaken(vacancy, 0.5, 1)
    lowest = verified(0, [-1.0, -3.0])
    copy = verified(0, [-2.95])
    different = verified(0, [-2.9], other)
    high = verified(0, [-2.0], shaken(vacancy, 0.5, 2))
    charged = verified(-1, [5.0])
    found = contenders([high, copy, different, charged, lowest], window=0.2)
    assert [id(item) for item in found] == [id(lowest), id(different), id(charged)]


def test_winners_are_offered_to_neighbours_that_do_not_know_them(verified, vacancy):
    from states import cdte

    names = {0: "v_Mg_0", -1: "v_Mg_-1"}
    template = next(state for state in cdte().states if state.name == "v_Cd_0")
    states = [
        template.model_copy(update={"name": name, "defect": "v_Mg", "charge": charge})
        for charge, name in names.items()
    ]
    elsewhere = shaken(vacancy, 0.5, 3)
    neutral, charged = verified(0, [-1.0]), verified(-1, [-2.0], elsewhere)
    offered = exchanged_starts([neutral, charged], states)
    assert [(start.state, start.name) for start in offered] == [
        ("v_Mg_0", "Winner_from_-1"),
        ("v_Mg_-1", "Winner_from_0"),
    ]
    assert [start.structure.properties["charge"] for start in offered] == [0, -1]
    # the neutral state has tried the other one's structure already, and dismissed it
    tried = verified(0, [0.0], elsewhere)
    again = exchanged_starts([neutral, charged, tried], states)
    assert [start.state for start in again] == ["v_Mg_-1"]


def test_verified_structures_are_starts_of_the_next_search(verified):
    (start,) = verified_starts([verified(-1, [1.0, 0.5])])
    assert (start.state, start.name) == ("v_Mg_-1", "Verified_1")
    assert start.structure.properties["charge"] == -1


def test_refined_candidates_take_the_place_of_the_unrefined(verified):
    first, second, third = (verified(charge, [1.0]) for charge in (0, -1, -2))
    longer = verified(-1, [1.0, 0.5])
    together = gather.original([first, second, third], [longer, None], [1])
    assert [len(item.labels) for item in together] == [1, 1, 2]
    assert second not in together


def test_a_round_is_judged_by_its_errors_and_the_refined_levels(verified):
    states = {"v_Mg_0": "v_Mg", "v_Mg_-1": "v_Mg"}
    settings = ConvergenceSettings(energy_error=0.02, force_error=0.05, level_change=0.02)
    found = [verified(0, [-1.0], energy_error=0.01), verified(-1, [-2.0], energy_error=-0.01)]
    first = assess(found, found, states, [], settings)
    assert not first.converged
    assert first.reasons == ["levels: no earlier round to compare with"]
    second = assess(found, found, states, [first], settings)
    assert second.converged
    refined = [found[0], verified(-1, [-2.0, -2.5])]
    third = assess(found, refined, states, [first], settings)
    assert third.level_change == pytest.approx(0.5)
    assert not third.converged
    wrong = [found[0], verified(-1, [-2.0], energy_error=0.5)]
    assert any(
        "energy error +0.500" in r for r in assess(wrong, found, states, [first], settings).reasons
    )
