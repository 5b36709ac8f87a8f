"""What is verified as it may be lower than the winners."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from jobflow import job

from defect_workflows import reuse
from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.labels import RefusedLabel
from defect_workflows.makers import competition
from defect_workflows.makers.competition import CompetitionMaker
from defect_workflows.makers.refinement import RefinementDepth, RefinementMaker
from defect_workflows.search.contenders import winners

from .toy import (
    ToyPoint,
    candidate,
    memory_store,
    outcome,
    place,
    toy_configuration,
    toy_label,
    toy_potential,
    toy_states,
    toy_structure,
    toy_verified,
)

PLACES = ((0.0, 0), (0.9, 0), (2.0, 0), (1.3, 0), (2.0, -1))
"""Minima of the potential: the first and the last are verified, the third is q = 0's lowest."""


def minimum(x, charge, energy):
    update = {"structure": toy_structure(x, charge), "energy": energy, "uncertainty": 0.4}
    return candidate(f"v_O_{charge}").model_copy(update=update)


@job
def toy_minima():
    energies = (0.0, 9.0, 0.2, 0.1, 0.0)
    return [minimum(*where, energy) for where, energy in zip(PLACES, energies, strict=True)]


@job(data=["labels"])
def shortlisted():
    return [toy_found(minimum(*PLACES[index], 0.0)) for index in (0, -1)]


def toy_found(found):
    label = toy_label(toy_configuration(place(found.structure), found.charge))
    error = found.energy - label.energy
    return toy_verified(label).model_copy(update={"candidate": found, "energy_error": error})


@reuse.job(data=["labels"])
def toy_compared(potential, candidates, points):
    pairs = zip(candidates, points, strict=True)
    return [toy_found(found) for found, point in pairs if not isinstance(point, RefusedLabel)]


def competed(monkeypatch, toy_steps, point=None, most=6):
    monkeypatch.setattr(competition, "verify_competitors", toy_compared)
    refinement = RefinementMaker(
        hse06=point or ToyPoint(),
        convergence=ConvergenceSettings(max_competitors=most, final_force=0.03),
    )
    known, minima = shortlisted(), toy_minima()
    states, potential = toy_states(), toy_potential()
    made = CompetitionMaker(refinement=refinement).make(
        minima.output,
        potential.output,
        known.output,
        states.output,
        RefinementDepth(limit=20, exchanges=0),
    )
    return outcome([known, minima, states, potential, made], memory_store())


def test_what_may_be_lower_is_verified_until_nothing_is(monkeypatch, toy_steps):
    settled = competed(monkeypatch, toy_steps)
    lowest = winners(settled)
    assert place(lowest["v_O_0"].label.configuration.structure) == pytest.approx(2.0, abs=0.05)
    # the likeliest one is high at HSE06, the next is the ground state; 9 eV above competes nothing
    tried = [place(item.candidate.structure) for item in settled]
    assert sorted(tried) == pytest.approx([0.0, 1.3, 2.0, 2.0])


@job
def refused_point(configuration):
    return RefusedLabel(
        fingerprint="toy", configuration=configuration, fidelity="hse06", reason="toy"
    )


@dataclass
class Refusing:
    def make(self, configuration, prev_dir=None):
        return refused_point(configuration)


def test_a_refused_one_is_tried_once(monkeypatch, toy_steps):
    assert len(competed(monkeypatch, toy_steps, point=Refusing())) == 2


def test_no_more_are_verified_than_were_asked_for(monkeypatch, toy_steps):
    assert len(competed(monkeypatch, toy_steps, most=1)) == 3  # it was not the ground state
    assert len(competed(monkeypatch, toy_steps, most=0)) == 2
