from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label
from defect_workflows.search.refine import (
    LONGEST,
    SOFTEST,
    next_structure,
    second_derivatives,
    updated,
)
from defect_workflows.search.relax import with_positions

from .conftest import LEVEL, shaken
from .toy import ToyPotential, springs


class Truth:
    """The functional: other places, and springs stiffer by a share, than the potential knows."""

    def __init__(self, structure, shift, stiffer, seed=0):
        rng = np.random.default_rng(seed)
        self.places = structure.cart_coords + rng.normal(0, shift, (len(structure), 3))
        self.springs = springs(len(structure)).numpy() * (1 + stiffer)

    def label(self, structure) -> Label:
        way = structure.cart_coords - self.places
        configuration = ChargedConfiguration(
            id="", structure=structure, origin=Origin(state="v_Mg_-1", family="", kind="search")
        )
        return Label(
            fingerprint="",
            configuration=configuration,
            fidelity="hse06",
            energy=float((self.springs / 2 * way**2).sum()),
            forces=(-self.springs * way).tolist(),
            stress=np.zeros((3, 3)).tolist(),
            nelect=1,
            level_of_theory=LEVEL,
            rehearsal=True,
        )


def max_force(label: Label) -> float:
    return float(np.linalg.norm(label.forces, axis=1).max())


@pytest.fixture
def anion(vacancy):
    vacancy.properties["charge"] = -1
    return vacancy


def refine(truth, structure, steps):
    potential = ToyPotential.of(structure)
    labels = [truth.label(structure)]
    proposals = []
    for _ in range(steps):
        proposals.append(next_structure(potential, labels))
        labels.append(truth.label(proposals[-1].structure))
    return labels, proposals


def test_a_constant_error_of_the_forces_costs_one_single_point(anion):
    labels, (proposal,) = refine(Truth(anion, shift=0.05, stiffer=0.0), anion, 1)
    assert max_force(labels[0]) > 0.5
    assert max_force(labels[1]) < 0.005
    assert proposal.gain == pytest.approx(labels[0].energy - labels[1].energy, abs=1e-4)


def test_wrong_second_derivatives_are_corrected_on_the_way(anion):
    labels, _ = refine(Truth(anion, shift=0.05, stiffer=0.4), anion, 3)
    forces = [max_force(label) for label in labels]
    assert forces[3] < 0.03
    assert forces[3] < 0.05 * forces[1]
    assert labels[3].energy < 0.001


def test_no_step_is_longer_than_allowed(anion):
    truth = Truth(anion, shift=0.0, stiffer=0.0)
    truth.places[3, 1] += 0.6
    labels, (proposal,) = refine(truth, anion, 1)
    way = proposal.structure.cart_coords - anion.cart_coords
    assert np.linalg.norm(way, axis=1).max() == pytest.approx(LONGEST)
    assert proposal.gain == pytest.approx(labels[0].energy - labels[1].energy, abs=1e-3)


def test_after_a_step_uphill_the_next_is_from_the_lower_point_and_shorter(anion):
    truth = Truth(anion, shift=0.05, stiffer=0.0)
    low, high = truth.label(anion), truth.label(shaken(anion, 0.2, 1))
    assert high.energy > low.energy
    step = np.abs(high.configuration.structure.cart_coords - anion.cart_coords).max()
    proposal = next_structure(ToyPotential.of(anion), [low, high])
    way = proposal.structure.cart_coords - anion.cart_coords
    assert np.abs(way).max() <= step / 2 + 1e-9
    assert truth.label(proposal.structure).energy < low.energy


def test_no_step_is_longer_than_the_parabola_of_the_last_one_uphill(anion):
    truth = Truth(anion, shift=0.1, stiffer=0.0)
    low = truth.label(anion)
    back = -0.05 * np.array(low.forces) / max_force(low)
    high = truth.label(with_positions(anion, anion.cart_coords + back))
    assert high.energy > low.energy
    proposal = next_structure(ToyPotential.of(anion), [low, high])
    way = proposal.structure.cart_coords - anion.cart_coords
    assert np.linalg.norm(way, axis=1).max() <= 0.025 + 1e-9
    assert truth.label(proposal.structure).energy < low.energy
    unhindered = next_structure(ToyPotential.of(anion), [high, low]).structure
    assert np.abs(unhindered.cart_coords - anion.cart_coords).max() > 0.05


def test_what_the_potential_does_not_know_is_learned_on_the_way(anion):
    # springs four times as stiff
    truth = Truth(anion, shift=0.0, stiffer=3.0)
    truth.places += np.random.default_rng(0).choice([-0.1, 0.1], truth.places.shape)
    labels, _ = refine(truth, anion, 4)
    energies = [label.energy for label in labels]
    assert max_force(labels[0]) > 5
    assert min(map(max_force, labels)) < 0.03
    uphill = np.sum(np.array(energies[1:]) > np.minimum.accumulate(energies)[:-1])
    assert uphill <= 2


def test_second_derivatives_are_the_potentials_and_positive(anion):
    found = second_derivatives(ToyPotential.of(anion), anion)
    expected = np.maximum(np.broadcast_to(springs(len(anion)), anion.cart_coords.shape), SOFTEST)
    assert np.allclose(found, np.diag(expected.ravel()), atol=1e-3)
    neutral = anion.copy()
    neutral.properties = {"charge": 0}  # at the top of its barrier
    assert np.linalg.eigvalsh(second_derivatives(ToyPotential.of(neutral), neutral)).min() > 0


def test_the_charge_is_kept(anion):
    _, (proposal,) = refine(Truth(anion, shift=0.05, stiffer=0.0), anion, 1)
    assert proposal.structure.properties["charge"] == -1


def test_positions_in_another_image_are_the_same_positions(anion):
    truth = Truth(anion, shift=0.05, stiffer=0.3)
    first, second = truth.label(anion), truth.label(shaken(anion, 0.02, 1))
    away = second.configuration.structure
    far = with_positions(away, away.cart_coords + away.lattice.matrix[0])
    imaged = second.model_copy(
        update={"configuration": second.configuration.model_copy(update={"structure": far})}
    )
    proposals = [
        next_structure(ToyPotential.of(anion), [first, label]).structure.cart_coords
        for label in (second, imaged)
    ]
    assert np.allclose(*proposals, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_an_update_explains_the_last_step_and_stays_positive(seed):
    rng = np.random.default_rng(seed)
    before, true = (m @ m.T + np.eye(9) for m in rng.normal(size=(2, 9, 9)))
    way = rng.normal(size=9)
    found = updated(before, way, true @ way)
    assert np.allclose(found @ way, true @ way)
    assert np.allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > 0
    assert updated(before, way, -true @ way) is before
    assert updated(before, np.zeros(9), np.zeros(9)) is before
