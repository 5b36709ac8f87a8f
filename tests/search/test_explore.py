from __future__ import annotations

import numpy as np
import pytest
from states import cdte

from defect_workflows.campaign import SearchSettings
from defect_workflows.charge import charge_of
from defect_workflows.search.explore import _Run, _unresolved, search
from defect_workflows.search.relax import Relaxation
from defect_workflows.search.risks import risks
from defect_workflows.search.starts import Start

from .toy import BARRIER, TILT, WELL, ToyPotential

SETTINGS = SearchSettings(distortions=[-0.3, 0.3], uncertain=1, rattle=0.05)


@pytest.fixture(scope="module")
def states():
    return [state for state in cdte().states if state.defect == "v_Cd"]


@pytest.fixture(scope="module")
def bulk():
    return cdte().host.supercell


@pytest.fixture(scope="module")
def found(states, bulk):
    potential = ToyPotential.of(states[0].structure, bulk)
    return search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key", round=2)


def of_state(items, name):
    return [item for item in items if item.state == name]


def test_every_start_is_recorded(found):
    names = {
        state: {r.start for r in of_state(found.relaxations, state)}
        for state in ("v_Cd_0", "v_Cd_-1", "v_Cd_-2", "bulk")
    }
    own = {"Unperturbed", "Rattled", "Dimer", "Bond_Distortion_-30.0%", "Bond_Distortion_30.0%"}
    assert own <= names["v_Cd_0"]
    assert own <= names["v_Cd_-1"]
    assert {"Unperturbed", "Rattled", "Dimer"} <= names["v_Cd_-2"]
    assert {"Unperturbed", "Rattled", "Bond_Distortion_-30.0%"} <= names["bulk"]
    # the neighbouring charge states' minima, and those of no other
    assert any(name.endswith("_from_0") for name in names["v_Cd_-1"])
    assert any(name.endswith("_from_-2") for name in names["v_Cd_-1"])
    assert not any(name.endswith("_from_0") for name in names["v_Cd_-2"])
    assert not any("_from_" in name for name in names["bulk"])


def test_the_minima_of_each_state_are_found(found, states):
    lowest = {name: of_state(found.candidates, name)[0] for name in ("v_Cd_0", "v_Cd_-1")}
    place = states[0].structure.cart_coords[0]
    neutral = lowest["v_Cd_0"].structure.cart_coords[0] - place
    assert abs(neutral[0]) == pytest.approx(WELL, abs=0.03)
    assert np.allclose(lowest["v_Cd_-1"].structure.cart_coords[0], place, atol=0.02)
    assert lowest["v_Cd_0"].energy == pytest.approx(-len(states[0].structure) - TILT, abs=2e-2)


def test_candidates_are_sorted_distinct_and_charged(found, states):
    charges = {state.name: state.charge for state in states}
    for name, charge in charges.items():
        candidates = of_state(found.candidates, name)
        assert [c.rank for c in candidates] == list(range(len(candidates)))
        energies = [c.energy for c in candidates]
        assert energies == sorted(energies)
        assert {charge_of(c.structure) for c in candidates} == {charge}
        assert all(c.max_force < SETTINGS.max_force for c in candidates)


def test_the_spread_is_that_of_the_minimum_alone(found, states):
    """How much the committee disagrees on the undistorted structure, 3 eV up, is no matter."""
    lowest = of_state(found.candidates, "v_Cd_0")[0]
    far = np.linalg.norm(lowest.structure.cart_coords - states[0].structure.cart_coords)
    assert lowest.spread == pytest.approx(0.01 * far * np.sqrt(2))


def test_frames_on_the_way_to_what_cannot_be_the_ground_state_are_not(states, bulk):
    sure = ToyPotential.of(states[0].structure, bulk, doubt=0.5, disagreement=0.0)
    found = search(sure, states, bulk, SETTINGS, seed=1, fingerprint="key")
    lowest = {c.state: c for c in found.candidates if c.rank == 0}
    on_the_way = {
        state: {f"v_Cd/search/0/{start}" for start in candidate.starts}
        for state, candidate in lowest.items()
    }
    assert found.uncertain
    assert all(u.origin.family in on_the_way[u.origin.state] for u in found.uncertain)


def test_uncertainties_are_calibrated(states, bulk):
    potential = ToyPotential.of(states[0].structure, bulk, slope=3.0, floor=0.2)
    found = search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key")
    for candidate in found.candidates:
        assert candidate.uncertainty == pytest.approx(np.hypot(3 * candidate.distance, 0.2))
        assert candidate.energy_uncertainty == 2 * candidate.distance


def test_known_structures_do_not_follow_the_guide(states, bulk):
    """The guide has a hole that everything falls into: what is known is found without it."""
    potential = ToyPotential.of(states[0].structure, bulk, guide_hole=True)
    known = [Start("v_Cd_-2", "Verified_1", states[-1].structure)]
    assert known[0].state == states[-1].name
    found = search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key", known=known)
    assert [(c.state, c.starts) for c in found.candidates] == [("v_Cd_-2", ["Verified_1"])]
    (record,) = (r for r in found.relaxations if r.start == "Verified_1")
    assert (record.verdict, record.energy) == ("minimum", found.candidates[0].energy)
    assert {r.verdict for r in found.relaxations if r is not record} == {"runaway"}


def test_what_is_known_stands_for_its_minimum(states, bulk):
    """The undistorted start is a little lower on the guide, in the same minimum."""
    potential = ToyPotential.of(states[0].structure, bulk)
    known = [Start("v_Cd_-2", "Verified_1", shaken(states[-1].structure, 0.05))]
    found = search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key", known=known)
    (minimum,) = of_state(found.candidates, "v_Cd_-2")
    assert "Unperturbed" in minimum.starts
    assert minimum.starts[0] == "Verified_1"


def shaken(structure, size):
    moved = structure.copy()
    for site, way in enumerate(np.random.default_rng(3).normal(0, size, (len(moved), 3))):
        moved.translate_sites([site], way, frac_coords=False)
    return moved


def test_what_is_known_is_relaxed_to_its_surest_minimum(states, bulk):
    """The potential is sure of the undistorted structure: doubt moves a minimum towards it."""
    place = states[0].structure.cart_coords

    def end(disagreement, *known):
        potential = ToyPotential.of(states[0].structure, bulk, disagreement=disagreement)
        found = search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key", known=known)
        surest = min(of_state(found.candidates, "v_Cd_0"), key=lambda c: c.upper_bound)
        (there,) = potential.predict([surest.structure], "hse06")
        assert surest.energy == pytest.approx(there.energy)  # without the doubt
        return surest.structure

    minimum = end(0.1)
    known = Start("v_Cd_0", "Verified_1", minimum)
    far = [np.linalg.norm(one.cart_coords - place) for one in (minimum, end(0.1, known))]
    assert far[0] == pytest.approx(WELL, abs=0.1)
    assert far[1] < far[0] - 0.01


def test_minima_that_the_committee_guesses_are_out_of_domain(states, bulk):
    guessing = ToyPotential.of(states[0].structure, bulk, apart=2.0)
    guessed = search(guessing, states, bulk, SETTINGS, seed=1, fingerprint="key")
    assert guessed.candidates == []
    assert {r.verdict for r in guessed.relaxations} == {"out_of_domain"}
    assert {r.cluster for r in guessed.relaxations} == {None}
    # short of that, what the committee is unsure of is to be verified, not dismissed
    unsure = ToyPotential.of(states[0].structure, bulk, apart=1.0)
    doubted = search(unsure, states, bulk, SETTINGS, seed=1, fingerprint="key")
    assert {c.state for c in doubted.candidates} == {state.name for state in states}


def test_starts_and_clusters_agree(found):
    for candidate in found.candidates:
        members = [
            record.start
            for record in of_state(found.relaxations, candidate.state)
            if record.cluster == candidate.rank
        ]
        assert sorted(members) == sorted(candidate.starts)
        assert members


def test_the_control_gains_nothing_from_a_good_potential(found, bulk):
    assert found.control_gain == pytest.approx(0, abs=1e-3)


def test_the_control_tells_when_the_host_itself_is_unstable(states, bulk):
    # In charge 0 the toy's first atom leaves its place, in the pristine supercell too.
    potential = ToyPotential.of(states[0].structure, bulk, stable_bulk=False, tilt=0.0)
    unstable = search(potential, states[:1], bulk, SETTINGS, seed=1, fingerprint="key")
    assert unstable.control_gain > BARRIER / 2


def test_where_the_committee_agrees_no_frame_is_worth_a_label(found):
    assert found.uncertain == []


def test_the_most_uncertain_frames_are_handed_on(states, bulk):
    unsure = ToyPotential.of(states[0].structure, bulk, doubt=0.5, floor=10.0)
    found = search(unsure, states, bulk, SETTINGS, seed=1, fingerprint="key", round=2)
    assert {u.origin.state for u in found.uncertain} == {state.name for state in states}
    assert len({u.id for u in found.uncertain}) == len(found.uncertain)
    for state in {u.origin.state for u in found.uncertain}:
        frames = [u for u in found.uncertain if u.origin.state == state]
        assert len(frames) == SETTINGS.uncertain
    assert {u.origin.round for u in found.uncertain} <= {2}
    assert {u.origin.kind for u in found.uncertain} <= {"search"}


def test_the_search_is_reproducible(found, states, bulk):
    potential = ToyPotential.of(states[0].structure, bulk)
    again = search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key", round=2)
    drop = {"seconds"}
    assert again.model_dump(exclude=drop) == found.model_dump(exclude=drop)


def test_every_start_says_what_it_was_made_of(states, bulk):
    potential = ToyPotential.of(states[0].structure, bulk)
    known = [Start("v_Cd_-2", "Verified_1", states[-1].structure)]
    found = search(potential, states, bulk, SETTINGS, seed=1, fingerprint="key", known=known)
    kinds = {record.start: record.kind for record in found.relaxations}
    assert kinds["Verified_1"] == "hse06"
    made = {name for name, kind in kinds.items() if kind == "minimum"}
    assert made
    assert made == {name for name in kinds if "_from_" in name or name.endswith("_shaken")}


def test_too_few_steps_are_told_apart_from_leaving_the_domain(states, bulk):
    potential = ToyPotential.of(states[0].structure, bulk)
    few = SETTINGS.model_copy(update={"max_steps": 2})
    found = search(potential, states, bulk, few, seed=1, fingerprint="key", known=[])
    lost = [r for r in found.relaxations if r.state != "bulk" and r.verdict != "minimum"]
    assert lost
    assert {record.verdict for record in lost} == {"not_converged"}
    (risk, *_) = risks([], [], [], [state.name for state in states], found.relaxations)
    assert (risk.unresolved, risk.unfinished > 0) == (0, True)


def test_starts_that_leave_the_domain_are_handed_on(states):
    """What was given up, at rest or on the way, is labelled; what was found is not."""
    state = states[0]

    def run(name, verdict, energy=0.0, force=1.0, place=0.0, doubtful=None):
        structure = state.structure.copy()
        structure.translate_sites([0], [place, 0, 0], frac_coords=False, to_unit_cell=False)
        relaxation = Relaxation(structure, 0.0, energy, force, 5, verdict, 2.0, doubtful)
        return _Run(
            Start(state.name, name, state.structure),
            relaxation,
            0 if verdict == "minimum" else None,
        )

    on_the_way = state.structure.copy()
    on_the_way.translate_sites([0], [0, 1.2, 0], frac_coords=False, to_unit_cell=False)
    runs = [
        run("found", "minimum", force=0.0),
        run("fallen", "runaway", energy=-9.0, place=2.0),  # no frame of it is worth a label
        run("way", "runaway", energy=-8.0, doubtful=on_the_way),
        run("rest", "out_of_domain", energy=-3.0, force=0.01, place=0.6),
        run("copy", "out_of_domain", energy=-2.9, force=0.01, place=0.6),
    ]
    frames = _unresolved(runs, states, 4, round=1)
    families = [frame.origin.family for frame in frames]
    assert families == ["v_Cd/search/1/rest", "v_Cd/search/1/way"]
    rest, way = (frame.id for frame in frames)
    assert {run.start.name: run.frame for run in runs} == {
        "found": None, "fallen": None, "way": way, "rest": rest, "copy": rest,
    }  # fmt: skip
    assert len(_unresolved(runs, states, 1, round=1)) == 1
