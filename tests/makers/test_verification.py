"""What a round spends HSE06 single points on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder
from pymatgen.core import Lattice, Structure

from defect_workflows import reuse
from defect_workflows.campaign import ConvergenceSettings, SearchSettings
from defect_workflows.charge import with_charge
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.labels import Label, LevelOfTheory, RefusedLabel
from defect_workflows.documents.search import Candidate, SearchDocument, VerifiedCandidate
from defect_workflows.makers import verification
from defect_workflows.makers.labelling import MultiFidelityMaker
from defect_workflows.makers.verification import (
    COMPARED,
    LEAST_GAIN,
    NEARLY,
    RefinementDepth,
    RefinementMaker,
    VerificationMaker,
)
from defect_workflows.mlip.predict import Potential
from defect_workflows.search import refine
from defect_workflows.search.contenders import winners
from defect_workflows.search.refine import Proposal
from defect_workflows.search.starts import exchanged_starts
from defect_workflows.search.verify import largest_force

ATOM = with_charge(Structure(Lattice.cubic(3), ["Mg"], [[0, 0, 0]]), 0)


def candidate(state):
    return Candidate(
        state=state,
        structure=ATOM,
        energy=0.0,
        spread=0.0,
        uncertainty=0.0,
        energy_uncertainty=0.0,
        max_force=0.0,
        starts=[],
        rank=0,
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


# A toy of two charge states: one atom moves along x, the others do not matter. In both, what lies
# left of a barrier leads to x = 0. Right of it, at q = -1 a gentle slope leads to x = 2, so gentle
# that only the last steps follow it; at q = 0 the minimum at x = 2 is the lowest.
HOST = Structure(Lattice.cubic(7), ["Mg", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]])
BARRIER = {0: 1.5, -1: 0.6}
LEFT = {0: (0.0, 2.0), -1: (0.5, 2.0)}
RIGHT = {0: (-1.0, 10.0), -1: (0.0, 0.1)}
SLOW = 1.2


def toy_minimum(x, charge):
    """Energy in eV and place in Å of the minimum that x leads to, and its spring in eV/Å^2."""
    energy, spring = (LEFT if x < BARRIER[charge] else RIGHT)[charge]
    return energy, 0.0 if x < BARRIER[charge] else 2.0, spring


def place(structure):
    return (structure[0].frac_coords[0] + 0.5) % 1 * 7 - 3.5


def toy_structure(x, charge):
    structure = HOST.copy()
    structure.translate_sites([0], [x, 0, 0], frac_coords=False)
    return with_charge(structure, charge)


def toy_label(configuration):
    x = place(configuration.structure)
    energy, minimum, spring = toy_minimum(x, configuration.charge)
    forces = np.zeros((len(HOST), 3))
    forces[0, 0] = -spring * (x - minimum)
    return Label(
        fingerprint=f"{configuration.charge} {x:.6f}",
        configuration=configuration,
        fidelity="hse06",
        energy=energy + spring * (x - minimum) ** 2 / 2,
        forces=forces.tolist(),
        stress=np.zeros((3, 3)).tolist(),
        nelect=10,
        level_of_theory=LevelOfTheory(
            functional="PE+HF", exact_exchange=0.25, screening=0.2, encut=300,
            precision="Accurate", spin_polarized=False, dispersion=0, kpoints=[(0, 0, 0)],
            potcars=[],
        ),
        rehearsal=True,
        seconds=0.0,
    )  # fmt: skip


def toy_verified(label, exchanged=False):
    return VerifiedCandidate(
        candidate=candidate(label.configuration.origin.state),
        labels=[label],
        energy_error=0.0,
        force_error=0.0,
        max_force=largest_force(label),
        exchanged=exchanged,
    )


def toy_configuration(x, charge):
    origin = Origin(state=f"v_O_{charge}", family="v_O/x", kind="search")
    return ChargedConfiguration.of(toy_structure(x, charge), origin)


@dataclass
class ToyPoint:
    """HSE06 single points of the toy."""

    def make(self, configuration, prev_dir=None):
        return toy_point(configuration)


@job
def toy_point(configuration):
    return toy_label(configuration)


@job(data=["labels"])
def toy_verify_start(potential, point):
    return None if isinstance(point, RefusedLabel) else toy_verified(point, exchanged=True)


def toy_minimiser(potential, labels):
    """Half an Å at most to the toy's minimum, from the last single point."""
    charge, x = labels[-1].charge, place(labels[-1].configuration.structure)
    energy, minimum, _ = toy_minimum(x, charge)
    step = np.clip(minimum - x, -0.5, 0.5)
    return Proposal(toy_structure(x + step, charge), labels[-1].energy - energy, abs(step))


@pytest.fixture
def toy_steps(monkeypatch):
    """Refinements of the toy propose its own steps."""
    monkeypatch.setattr(Potential, "from_document", lambda document, device: document)
    monkeypatch.setattr(refine, "next_structure", toy_minimiser)


@job(data=["labels"])
def first_candidates():
    return [toy_verified(toy_label(toy_configuration(x, q))) for x, q in ((0.04, 0), (SLOW, -1))]


@job
def toy_states():
    return [
        DefectState(
            name=f"v_O_{charge}",
            defect="v_O",
            charge=charge,
            structure=toy_structure(0, charge),
            site=(0.0, 0.0, 0.0),
            entry={},
        )
        for charge in (0, -1)
    ]


@job
def toy_potential():
    """Something with a fingerprint and a round: the toy's energies are its own."""
    return SearchDocument(fingerprint="toy", candidates=[], relaxations=[], control_gain=0.0)


def memory_store():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def outcome(jobs, store):
    """What the last job, or what it was replaced by, returns."""
    responses = run_locally(jobs, store=store, log=False, ensure_success=True)
    last = max(responses[jobs[-1].uuid])
    output = store.get_output(jobs[-1].uuid, which=last, load=True)
    return MontyDecoder().process_decoded(output)


@pytest.mark.parametrize(("exchanges", "found"), [(5, 2.0), (1, 0.0)])
def test_what_the_last_steps_lead_to_is_offered_too(monkeypatch, toy_steps, exchanges, found):
    assert largest_force(toy_label(toy_configuration(SLOW, -1))) < COMPARED
    monkeypatch.setattr(verification, "_worth_offering", lambda potential, offers, known: offers)
    monkeypatch.setattr(verification, "verify_start", toy_verify_start)
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
    monkeypatch.setattr(verification, "_worth_offering", lambda potential, offers, known: offers)
    monkeypatch.setattr(verification, "verify_start", toy_verify_start)
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
    offers = verification._offers(both, states, [open_one], lambda item: item is known[1])
    assert [start.state for start in offers] == ([] if unresolved else ["v_O_0"])
    # but what another one that was followed has led to is
    ended = known[1].model_copy(update={"unresolved": True})
    offers = verification._offers([open_one, ended], states, [open_one], lambda item: True)
    assert [start.state for start in offers] == ["v_O_0"]
    offers = verification._offers([open_one, ended], states, [open_one], lambda item: False)
    assert [start.state for start in offers] == ([] if unresolved else ["v_O_0"])


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
    depth = RefinementDepth(limit=20, trial=trial)
    refined = maker.make(potential.output, both.output[0], both.output, depth, COMPARED)
    # 1.96, 0.81, 0.16, 0 eV, the lowest being at -1
    assert len(outcome([both, potential, refined], memory_store()).labels) == points


def test_a_refinement_that_is_repeated_takes_the_same_steps(monkeypatch, toy_steps):
    maker = RefinementMaker(hse06=ToyPoint(), convergence=ConvergenceSettings(final_force=0.03))
    depth = RefinementDepth(limit=20, trial=2)
    store = memory_store()

    def labels():
        both, potential = offered_high(-1.4), toy_potential()
        refined = maker.make(potential.output, both.output[0], both.output, depth, COMPARED)
        return [x.fingerprint for x in outcome([both, potential, refined], store).labels]

    def rounded(potential, known):
        proposal = toy_minimiser(potential, known)
        x = place(proposal.structure) + 1e-5
        return replace(proposal, structure=toy_structure(x, known[-1].charge))

    first = labels()
    monkeypatch.setattr(refine, "next_structure", rounded)
    assert len(first) == 4
    assert labels() == first


@job
def toy_search():
    """The search finds what is known at q = 0, and something new at q = -1."""
    found = [
        candidate(f"v_O_{q}").model_copy(update={"structure": toy_structure(x, q)})
        for x, q in ((0.06, 0), (2.0, -1))
    ]
    return SearchDocument(fingerprint="toy", candidates=found, relaxations=[], control_gain=0.0)


@job
def toy_collect(points, settings, previous):
    return len(points)


@reuse.job(data=["labels"])
def toy_verify(potential, candidates, points, labels, lost):
    return points


def test_a_label_next_to_a_candidate_is_used_again(monkeypatch):
    def pair(self, configuration):
        point = toy_point(configuration)
        return Flow([point], {"pbe": point.output, "hse06": point.output})

    monkeypatch.setattr(MultiFidelityMaker, "make", pair)
    monkeypatch.setattr(verification, "collect_labels", toy_collect)
    monkeypatch.setattr(verification, "verify_candidates", toy_verify)
    first, found = first_candidates(), toy_search()
    made = VerificationMaker().make(found.output, found.output, found.output, 1, first.output)
    store = memory_store()
    responses = run_locally([first, found, made], store=store, log=False, ensure_success=True)
    last = max(responses[made.uuid])
    points = store.get_output(made.uuid, which=last, load=True)
    labels = [MontyDecoder().process_decoded(point) for point in points]
    assert [(x.charge, round(place(x.configuration.structure), 2)) for x in labels] == [
        (0, 0.04),  # the known one
        (-1, 2.0),
    ]
    calculated = [response for uuid in responses for response in responses[uuid].values()]
    outputs = [r.output for r in calculated if isinstance(r.output, Label)]
    assert [label.charge for label in outputs] == [-1]


@pytest.mark.parametrize(("number", "pbe", "both"), [(0, [2.5, 1.5], [0.5, 1.0, 2.0]), (3, [], [])])
def test_few_of_the_lost_frames_get_the_hybrid_functional(monkeypatch, number, pbe, both):
    made = {"pbe": [], "both": []}

    def point(self, frame):
        made["pbe"].append(round(place(frame.structure), 1))
        return toy_point(frame)

    def pair(self, frame, **_):
        made["both"].append(round(place(frame.structure), 1))
        single = toy_point(frame)
        return Flow([single], {"pbe": single.output, "hse06": single.output})

    monkeypatch.setattr(SinglePointMaker, "make", point)
    monkeypatch.setattr(MultiFidelityMaker, "make", pair)
    monkeypatch.setattr(verification, "collect_labels", toy_collect)
    monkeypatch.setattr(verification, "verify_candidates", toy_verify)
    found = lost_search()
    rounds = ConvergenceSettings(max_rounds=4)
    maker = VerificationMaker(search=SearchSettings(unresolved_hse06=2), convergence=rounds)
    verified = maker.make(found.output, found.output, found.output, number)
    run_locally([found, verified], store=memory_store(), log=False, ensure_success=True)
    assert made == {"pbe": pbe, "both": both}


@job
def lost_search():
    """Nothing but frames of starts that left the domain: three at q = 0, one at q = -1."""
    frames = [toy_configuration(x, q) for x, q in ((0.5, 0), (1.0, 0), (1.5, 0), (2.0, -1))]
    return SearchDocument(
        fingerprint="toy",
        candidates=[],
        relaxations=[],
        control_gain=0.0,
        uncertain=[toy_configuration(2.5, 0)],
        unresolved=frames,
    )
