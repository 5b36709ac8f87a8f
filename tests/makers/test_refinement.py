"""Which HSE06 single points the last step to the hybrid minimum takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from jobflow import job

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.search import VerifiedCandidate
from defect_workflows.makers import refinement
from defect_workflows.makers.refinement import (
    COMPARED,
    LEAST_GAIN,
    NEARLY,
    RefinementDepth,
    RefinementMaker,
)
from defect_workflows.search import bowl, refine
from defect_workflows.search.contenders import not_offered_yet, winners
from defect_workflows.search.starts import exchanged_starts
from defect_workflows.search.verify import largest_force

from .toy import (
    SLOW,
    ToyPoint,
    candidate,
    first_candidates,
    memory_store,
    outcome,
    place,
    toy_configuration,
    toy_label,
    toy_minimiser,
    toy_potential,
    toy_states,
    toy_structure,
    toy_verified,
    toy_verify_start,
)


@pytest.mark.parametrize(
    ("force", "gain", "ends"),
    [(1.9, 0.5, True), (1.9, 2.0, False), (2.1, 0.5, False), (np.inf, 0.0, False)],
)
def test_a_refinement_ends_where_neither_forces_nor_gain_are_left(force, gain, ends):
    maker = RefinementMaker(convergence=ConvergenceSettings(final_force=0.03))
    item = VerifiedCandidate.model_construct(
        candidate=candidate("v_O_0"),
        labels=[],
        max_force=force * NEARLY * 0.03 / 2,
        refinement_ended=None,
    )
    reason = maker.not_worth_it(item, gain * LEAST_GAIN)
    assert (reason is not None) is ends


@job(data=["labels"])
def at_rest(x):
    """On the gentle slope of q = -1, where the forces are below what is asked for."""
    label = toy_label(toy_configuration(x, -1))
    assert largest_force(label) < 0.03
    return [toy_verified(label)]


@pytest.mark.parametrize(("x", "points"), [(1.75, 2), (1.85, 1)])  # 3 and 1 meV above the minimum
def test_small_forces_are_no_end_where_energy_is_left(toy_steps, x, points):
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    known, states, potential = at_rest(x), toy_states(), toy_potential()
    depth = RefinementDepth(limit=20, exchanges=0)
    settled = maker.settle(potential.output, known.output, states.output, depth)
    (item,) = outcome([known, states, potential, settled], memory_store())
    assert len(item.labels) == points
    assert item.refinement_ended.startswith("gain of")


@pytest.mark.parametrize(("exchanges", "found"), [(5, 2.0), (1, 0.0)])
def test_what_the_last_steps_lead_to_is_offered_too(monkeypatch, toy_steps, exchanges, found):
    assert largest_force(toy_label(toy_configuration(SLOW, -1))) < COMPARED
    monkeypatch.setattr(refinement, "_worth_offering", lambda potential, offers, known: offers)
    monkeypatch.setattr(refinement, "verify_start", toy_verify_start)
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    first, states, potential = first_candidates(), toy_states(), toy_potential()
    settled = maker.settle(
        potential.output,
        first.output,
        states.output,
        RefinementDepth(limit=20, exchanges=exchanges, trial=3),
    )
    best = winners(outcome([first, states, potential, settled], memory_store()))
    ends = {item.label.charge: place(item.label.configuration.structure) for item in best.values()}
    assert ends == pytest.approx({-1: 2.0, 0: found}, abs=0.05)


@job(data=["labels"])
def one_is_refined():
    """At q = -1 a minimum, which is the lowest of q = 0 too; at q = 0 something to be refined."""
    return [toy_verified(toy_label(toy_configuration(x, q))) for x, q in ((0.5, 0), (2.0, -1))]


def test_what_is_refined_is_offered_before_others_are_refined(monkeypatch, toy_steps):
    monkeypatch.setattr(refinement, "_worth_offering", lambda potential, offers, known: offers)
    monkeypatch.setattr(refinement, "verify_start", toy_verify_start)
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    known, states, potential = one_is_refined(), toy_states(), toy_potential()
    depth = RefinementDepth(limit=20)
    settled = maker.settle(potential.output, known.output, states.output, depth)
    found = outcome([known, states, potential, settled], memory_store())
    ends = {item.label.charge: place(item.label.configuration.structure) for item in found}
    assert ends == pytest.approx({-1: 2.0, 0: 2.0}, abs=0.05)
    assert [len(item.labels) for item in found] == [1, 1, 1]  # worthless now


@pytest.mark.parametrize("unresolved", [True, False])
def test_nothing_is_offered_while_a_lost_start_is_followed(unresolved):
    known = [toy_verified(toy_label(toy_configuration(x, q))) for x, q in ((0.5, 0), (2.0, -1))]
    open_one = known[0].model_copy(update={"unresolved": unresolved})
    both, states = [open_one, known[1]], toy_states.original()

    def offers(verified, finished):
        waiting = not_offered_yet(verified, [open_one], finished)
        return [start.state for start in exchanged_starts(verified, states, waiting)]

    assert offers(both, lambda item: item is known[1]) == ([] if unresolved else ["v_O_0"])
    # but what no search found is, once it is refined
    for how in ("unresolved", "exchanged"):
        ended = known[1].model_copy(update={how: True})
        assert offers([open_one, ended], lambda item, end=ended: item is end) == ["v_O_0"]
        assert offers([open_one, ended], lambda item: False) == ([] if unresolved else ["v_O_0"])


def test_what_no_search_found_is_offered_though_its_state_has_something_to_refine():
    ended = toy_verified(toy_label(toy_configuration(2.0, -1))).model_copy(
        update={"unresolved": True}
    )
    found = ended.model_copy(update={"unresolved": False})
    lost = toy_verified(toy_label(toy_configuration(0.5, -1))).model_copy(
        update={"unresolved": True}
    )

    def waits(winner):
        return not_offered_yet([winner, lost], [lost], lambda item: item is winner)

    assert (waits(ended), waits(found)) == (set(), {"v_O_-1"})


def test_a_lost_start_has_its_trial_before_all_are_compared_again():
    depth = RefinementDepth(limit=20, trial=3, lost_trial=3, lost_limit=40)
    item = toy_verified(toy_label(toy_configuration(0.5, 0)))
    lost = item.model_copy(update={"unresolved": True})
    tried = lost.model_copy(update={"labels": lost.labels * 4})
    assert [depth.now(x).limit_of(x) for x in (item, lost, tried)] == [20, 3, 40]


@job(data=["labels"])
def lost_high():
    """What a search found at q = 0, and 0.8 eV above it where a lost start's relaxation got to."""
    lowest, lost = (toy_label(toy_configuration(place, 0)) for place in (0.0, 2.6))
    return [toy_verified(lowest), toy_verified(lost).model_copy(update={"unresolved": True})]


@pytest.mark.parametrize(("trial", "found"), [(3, 2.0), (0, 0.0)])
def test_where_a_lost_start_leads_is_found_at_the_hybrid_functional(toy_steps, trial, found):
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    known, states, potential = lost_high(), toy_states(), toy_potential()
    # other candidates get no point at all
    depth = RefinementDepth(limit=0, exchanges=0, lost_trial=trial, lost_limit=20)
    settled = maker.settle(potential.output, known.output, states.output, depth)
    (best,) = winners(outcome([known, states, potential, settled], memory_store())).values()
    assert place(best.label.configuration.structure) == pytest.approx(found, abs=0.05)


@pytest.mark.parametrize(("before", "states"), [(1.2, ["v_O_0"]), (1.5, [])])
def test_what_was_offered_is_not_offered_again_a_little_lower(before, states):
    # 32 and 12.5 meV above the end, both far from it
    first, last = (toy_label(toy_configuration(x, -1)) for x in (before, 2.0))
    winner = toy_verified(first).model_copy(update={"labels": [first, last]})
    lowest, had = (toy_verified(toy_label(toy_configuration(x, 0))) for x in (0.0, before))
    offered = exchanged_starts([winner, lowest], toy_states.original())
    assert [start.state for start in offered if start.state == "v_O_0"] == ["v_O_0"]
    offered = exchanged_starts([winner, lowest, had], toy_states.original())
    assert [start.state for start in offered if start.state == "v_O_0"] == states


@job(data=["labels"])
def offered_high(x):
    """The ground state at q = 0, and what another charge state offered, 1.2 eV or more above."""
    lowest, offered = (toy_label(toy_configuration(place, 0)) for place in (2.0, x))
    return [toy_verified(offered, exchanged=True), toy_verified(lowest)]


@pytest.mark.parametrize(("trial", "points"), [(0, 1), (1, 2), (2, 4)])
def test_an_offered_structure_waits_when_its_pace_will_not_do(toy_steps, trial, points):
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    both, potential = offered_high(-1.4), toy_potential()
    depth = RefinementDepth(limit=20, trial=trial, to_the_end=False)
    refined = maker.make(potential.output, both.output[0], both.output, depth)
    # 1.96, 0.81, 0.16, 0 eV, the lowest being at -1
    assert len(outcome([both, potential, refined], memory_store()).labels) == points


def test_a_refinement_that_is_repeated_takes_the_same_steps(monkeypatch, toy_steps):
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    depth = RefinementDepth(limit=20, trial=2, to_the_end=False)
    store = memory_store()

    def labels():
        both, potential = offered_high(-1.4), toy_potential()
        refined = maker.make(potential.output, both.output[0], both.output, depth)
        return [x.fingerprint for x in outcome([both, potential, refined], store).labels]

    def rounded(potential, known):
        proposal = toy_minimiser(potential, known)
        x = place(proposal.structure) + 1e-5
        return replace(proposal, structure=toy_structure(x, known[-1].charge))

    first = labels()
    monkeypatch.setattr(refine, "next_structure", rounded)
    assert len(first) == 4
    assert labels() == first


@job(data=["labels"])
def in_the_bowl():
    """The minimum at x = 0 of q = 0, and what was offered 0.36 eV above it and leads to it."""
    return [toy_verified(toy_label(toy_configuration(x, 0)), x > 0) for x in (0.0, 0.6)]


@pytest.mark.parametrize(("elsewhere", "points"), [(False, 1), (True, 3)])
def test_what_falls_into_a_known_minimum_ends_unless_the_potential_leads_past_it(
    monkeypatch, toy_steps, elsewhere, points
):
    monkeypatch.setattr(bowl, "leads_elsewhere", lambda potential, high, low: elsewhere)
    maker = RefinementMaker(
        hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03, refine_window=1.0)
    )
    both, potential = in_the_bowl(), toy_potential()
    depth = RefinementDepth(limit=20, trial=20, to_the_end=False)
    refined = maker.make(potential.output, both.output[1], both.output, depth)
    found = outcome([both, potential, refined], memory_store())
    assert len(found.labels) == points
    assert found.known_minimum is not elsewhere
    if not elsewhere:
        assert found.refinement_ended == "falls into a known minimum, 0.360 eV below"
