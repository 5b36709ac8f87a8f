"""What a round spends HSE06 single points on."""

from __future__ import annotations

import pytest
from jobflow import Flow, job, run_locally
from monty.json import MontyDecoder

from defect_workflows import reuse
from defect_workflows.campaign import ConvergenceSettings, SearchSettings
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.documents.labels import Label
from defect_workflows.documents.search import SearchDocument
from defect_workflows.makers import verification
from defect_workflows.makers.labelling import MultiFidelityMaker
from defect_workflows.makers.verification import VerificationMaker

from .toy import (
    candidate,
    first_candidates,
    memory_store,
    place,
    toy_configuration,
    toy_point,
    toy_structure,
)


@job
def toy_search():
    """The search finds what is known at q = 0, and something new at q = -1."""
    found = [
        candidate(f"v_O_{q}").model_copy(update={"structure": toy_structure(x, q)})
        for x, q in ((0.06, 0), (2.0, -1))
    ]
    return SearchDocument(fingerprint="toy", candidates=found, relaxations=[], control_gain=0.0)


@reuse.job
def toy_collect(points, settings, previous):
    """Labels so far, and what is new."""
    assert previous.fingerprint == "labels"
    return SearchDocument(
        fingerprint=f"{previous.fingerprint} and {len(points)} more",
        candidates=[],
        relaxations=[],
        control_gain=0.0,
    )


@reuse.job(data=["labels"])
def toy_verify(potential, candidates, points, labels, lost):
    """Return the points, if everything else is what it should be."""
    assert potential.fingerprint == "potential"
    assert labels.fingerprint.startswith("labels and ")
    return points


@job
def document(name):
    """The potential, or the labels so far: something else than what the search found."""
    return SearchDocument(fingerprint=name, candidates=[], relaxations=[], control_gain=0.0)


def verified_by(maker, found, number, known=None):
    """Return the jobs of a verification, each of its inputs another document."""
    potential, labels = document("potential"), document("labels")
    made = maker.make(found.output, potential.output, labels.output, number, known)
    return [potential, labels, made]


def test_a_label_next_to_a_candidate_is_used_again(monkeypatch):
    def pair(self, configuration):
        point = toy_point(configuration)
        return Flow([point], {"pbe": point.output, "hse06": point.output})

    monkeypatch.setattr(MultiFidelityMaker, "make", pair)
    monkeypatch.setattr(verification, "collect_labels", toy_collect)
    monkeypatch.setattr(verification, "verify_candidates", toy_verify)
    first, found = first_candidates(), toy_search()
    jobs = verified_by(VerificationMaker(), found, 1, first.output)
    made, store = jobs[-1], memory_store()
    responses = run_locally([first, found, *jobs], store=store, log=False, ensure_success=True)
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


@pytest.mark.parametrize(
    ("number", "competitors", "calculated"), [(0, 6, [0.5, 2.0]), (1, 6, [2.0]), (1, 0, [0.5, 2.0])]
)
def test_the_last_round_leaves_all_but_the_surest_to_the_competition(
    monkeypatch, number, competitors, calculated
):
    made = []

    def pair(self, frame, **_):
        made.append(round(place(frame.structure), 1))
        single = toy_point(frame)
        return Flow([single], {"pbe": single.output, "hse06": single.output})

    monkeypatch.setattr(MultiFidelityMaker, "make", pair)
    monkeypatch.setattr(verification, "collect_labels", toy_collect)
    monkeypatch.setattr(verification, "verify_candidates", toy_verify)
    found = two_minima()
    rounds = ConvergenceSettings(max_rounds=2, max_competitors=competitors)
    jobs = verified_by(VerificationMaker(convergence=rounds), found, number)
    run_locally([found, *jobs], store=memory_store(), log=False, ensure_success=True)
    assert sorted(made) == calculated


@job
def two_minima():
    """The surest, and one that may be lower."""
    surest, other = (
        candidate("v_O_0").model_copy(
            update={"structure": toy_structure(x, 0), "energy": energy, "uncertainty": uncertainty}
        )
        for x, energy, uncertainty in ((2.0, -0.5, 0.1), (0.5, 0.0, 1.0))
    )
    return SearchDocument(
        fingerprint="toy", candidates=[surest, other], relaxations=[], control_gain=0.0
    )


@pytest.mark.parametrize(
    ("number", "pbe", "both"),
    [(0, [2.5, 1.5], [0.5, 1.0, 2.0]), (1, [2.5, 1.0, 1.5], [0.5, 2.0]), (3, [], [])],
)
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
    jobs = verified_by(maker, found, number)
    run_locally([found, *jobs], store=memory_store(), log=False, ensure_success=True)
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
