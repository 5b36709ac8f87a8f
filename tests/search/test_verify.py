"""What is offered to neighbouring charge states, and what a round is judged by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.labels import LabelSet, RefusedLabel
from defect_workflows.documents.search import RelaxationRecord
from defect_workflows.mlip.predict import Potential
from defect_workflows.search import starts
from defect_workflows.search.jobs import gather, verify_candidates
from defect_workflows.search.relax import relax
from defect_workflows.search.starts import Start, exchanged_starts, verified_starts, worth_offering
from defect_workflows.search.verify import assess, verify

from .conftest import shaken
from .toy import TILT, WELL, ToyPotential


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
    settings = ConvergenceSettings(level_change=0.02)
    found = [verified(0, [-1.0], energy_error=0.01), verified(-1, [-2.0], energy_error=-0.01)]
    first = assess([], found, found, states, [], settings)
    assert not first.converged
    assert first.reasons == ["levels: no earlier round to compare with"]
    assert first.unconverged == list(states)
    second = assess([], found, found, states, [first], settings)
    assert second.converged
    assert second.unconverged == []
    refined = [found[0], verified(-1, [-2.0, -2.5])]
    third = assess([], found, refined, states, [first], settings)
    assert third.level_change == pytest.approx(0.5)
    assert not third.converged
    assert third.unconverged == ["v_Mg_-1"]  # the other one is what it was
    # another round may lower it as much again; what rose was a mistake of the round before
    assert {risk.state: risk.lowered for risk in third.risks} == {"v_Mg_0": 0.0, "v_Mg_-1": 0.5}
    back = assess([], found, found, states, [third], settings)
    assert [risk.lowered for risk in [*first.risks, *back.risks]] == [0.0] * 4
    # a start that left the domain of the potential is nothing that it found
    lost = verified(0, [-5.0], energy_error=0.5).model_copy(update={"unresolved": True})
    assert assess([], [lost, *found], found, states, [first], settings).converged
    # levels come from single points: what the potential is wrong by is told, and no criterion
    wrong = verified(-1, [-2.0], energy_error=0.5).model_copy(update={"force_error": 3.0})
    told = assess([], [found[0], wrong], found, states, [first], settings)
    assert told.converged
    assert [(c.energy_error, c.force_error) for c in told.checks] == [(0.01, 0.01), (0.5, 3.0)]
    # a state without a single point, one whose level changed within the limit
    alone = assess([], found[:1], found[:1], states, [first], settings)
    assert alone.reasons == [
        "v_Mg_-1: no verified candidate",
        "levels: no earlier round to compare with",
    ]
    near = [verified(0, [-1.015]), found[1]]
    assert assess([], near, near, states, [first], settings).converged


def record(verdict, state="v_Mg_0", start="Dimer", **more):
    return RelaxationRecord(
        state=state, start=start, start_energy=0, energy=0, max_force=0, steps=1,
        verdict=verdict, cluster=None, **more,
    )  # fmt: skip


def test_starts_whose_end_is_not_known_are_a_reason_to_go_on(verified):
    winner = verified(0, [-3.0], uncertainty=0.02)
    relaxations = [
        record("minimum"),
        record("runaway"),
        record("not_converged"),
        record("not_converged"),
        record("out_of_domain", "v_Mg_-1"),
    ]
    rest = ([winner.candidate], [winner], [winner], {"v_Mg_0": "v_Mg"}, [], ConvergenceSettings())
    told = assess(*rest, relaxations)
    (risk,) = told.risks
    assert (risk.unresolved, risk.unfinished, risk.starts) == (1, 2, 4)
    assert told.reasons[:2] == [
        "starts left the domain of the potential: v_Mg_0 (1 of 4)",
        "starts were not relaxed to the end: v_Mg_0 (2 of 4)",
    ]
    assert told.unconverged == ["v_Mg_0"]
    assert not any("starts" in reason for reason in assess(*rest, relaxations[:1]).reasons)


def test_an_offer_that_the_potential_rules_out_costs_nothing(verified, vacancy, monkeypatch):
    uneven = shaken(vacancy, 0.2, 9)  # else the two wells are mirror images

    def at(place):
        structure = uneven.copy()
        structure.translate_sites([0], [place, 0, 0], frac_coords=False, to_unit_cell=False)
        return structure

    winner = verified(0, [-5.0], at(WELL))  # the lower one of two wells
    higher = verified(0, [-5.0], at(-WELL))
    offers = [Start("v_Mg_0", "higher", at(-WELL)), Start("v_Mg_0", "between", at(0.3 * WELL))]
    sure = ToyPotential.of(uneven, disagreement=0.0, floor=TILT / 10)
    assert worth_offering(sure, offers, [winner]) == []  # the second one leads to the winner
    assert [start.name for start in worth_offering(sure, offers, [higher])] == ["between"]
    unsure = ToyPotential.of(uneven, disagreement=0.0, floor=2 * TILT)
    assert [start.name for start in worth_offering(unsure, offers, [winner])] == ["higher"]
    assert worth_offering(sure, offers, []) == offers
    # an uncertainty that is not known rules nothing out but what begins in the winner's bowl
    unknown = replace(sure, calibrated=False)
    assert [start.name for start in worth_offering(unknown, offers, [winner])] == ["higher"]
    monkeypatch.setattr(starts, "WIDEST_BOWL", 0.5 * WELL)
    assert worth_offering(unknown, offers, [winner]) == offers
    # where the potential has left its domain it has no say
    lost = [
        replace(end, verdict="out_of_domain")
        for end in relax(
            sure,
            [start.structure for start in offers],
            max_force=0.05,
            max_steps=100,
            references=[0.0, 0.0],
        )
    ]
    monkeypatch.setattr(starts, "relax", lambda *_, **__: lost)
    assert worth_offering(sure, offers, [winner]) == offers


def test_the_potential_is_compared_where_the_label_is(verified, vacancy):
    moved = vacancy.copy()
    moved.translate_sites([3], [0, 0.04, 0], frac_coords=False, to_unit_cell=False)
    potential = ToyPotential.of(vacancy)
    item = verified(-1, [2.0], moved)
    structure = item.label.configuration.structure
    (there,) = potential.predict([structure], "hse06")
    candidate = item.candidate.model_copy(update={"structure": with_charge(vacancy, -1)})
    (found,) = verify(potential, [(candidate, item.label)])
    assert found.energy_error == pytest.approx(there.energy - 2.0)


def test_where_the_potential_lost_its_way_is_kept_apart(verified, vacancy, monkeypatch):
    monkeypatch.setattr(
        Potential, "from_document", lambda document, device: ToyPotential.of(vacancy)
    )
    found, lost = verified(0, [-1.0]), verified(-1, [-2.0]).label
    origin = lost.configuration.origin.model_copy(update={"family": "v_Mg/search/0/Dimer_shaken"})
    configuration = lost.configuration.model_copy(update={"origin": origin})
    lost = lost.model_copy(update={"configuration": configuration})
    refused = RefusedLabel(
        fingerprint="x", configuration=configuration, fidelity="hse06", reason="not converged"
    )
    labels = LabelSet(labels=[], refused=[])
    document = verify_candidates.original(
        None, [found.candidate], [found.label], labels, [lost, refused]
    )
    assert [item.unresolved for item in document.verified] == [False, True]
    candidate = document.verified[1].candidate
    assert (candidate.state, candidate.starts) == ("v_Mg_-1", ["Dimer_shaken"])
