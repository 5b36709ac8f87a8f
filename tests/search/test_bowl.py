"""Whether the potential agrees that a candidate leads into a known minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_workflows.charge import with_charge
from defect_workflows.search.bowl import TwoPointModel, leads_elsewhere
from defect_workflows.search.cluster import displacements, farthest
from defect_workflows.search.contenders import WIDEST_BOWL
from defect_workflows.search.relax import FIDELITY, with_positions

from .conftest import symmetric_copies, turned
from .test_refine import Truth
from .toy import WELL, ToyPotential


@pytest.fixture
def anion(vacancy):
    return with_charge(vacancy, -1)


def moved(structure, x):
    """The structure with its first atom moved along x."""
    positions = structure.cart_coords.copy()
    positions[0, 0] += x
    return with_positions(structure, positions)


@pytest.mark.parametrize("seed", range(3))
def test_a_point_in_the_bowl_leads_to_its_minimum(anion, seed):
    """However wrong the potential is about where that is, and by 40 % about how stiff."""
    truth = Truth(anion, shift=0.15, stiffer=0.4, seed=seed)
    minimum = with_positions(anion, truth.places)
    assert np.abs(displacements(anion, minimum)).max() > 0.3
    assert not leads_elsewhere(ToyPotential.of(anion), truth.label(anion), truth.label(minimum))


def exact_label(potential, structure):
    """The single point of a functional that is the potential."""
    (prediction,) = potential.predict([structure], FIDELITY)
    label = Truth(structure, 0.0, 0.0).label(structure)
    exact = {"energy": prediction.energy, "forces": prediction.forces.tolist()}
    return label.model_copy(update=exact)


@pytest.mark.parametrize(("well", "elsewhere"), [(-WELL, False), (WELL, True)])
def test_a_point_in_the_bowl_of_one_minimum_leads_elsewhere_than_to_the_other(
    vacancy, well, elsewhere
):
    vacancy.replace(7, "S")  # or they were symmetric copies
    potential = ToyPotential.of(vacancy)
    start, end = (
        exact_label(potential, moved(vacancy, x)) for x in (-0.3, well + np.sign(well) * 0.01)
    )
    assert leads_elsewhere(potential, start, end) is elsewhere


@pytest.mark.parametrize("number", [3, 17, 40])
def test_the_nearest_symmetric_copy_of_a_minimum_counts(anion, number):
    truth = Truth(anion, shift=0.15, stiffer=0.4)
    minimum = truth.label(with_positions(anion, truth.places))
    copy = turned(minimum, symmetric_copies(anion)[number])
    assert farthest(anion, copy.configuration.structure) > WIDEST_BOWL
    assert not leads_elsewhere(ToyPotential.of(anion), truth.label(anion), copy)


def test_a_potential_without_a_minimum_has_no_answer(anion):
    truth = Truth(anion, shift=0.0, stiffer=0.0)
    minimum = truth.label(with_positions(anion, truth.places))
    start = truth.label(moved(anion, 0.3))
    broken = ToyPotential.of(anion)
    broken.hole = True
    assert not leads_elsewhere(broken, start, minimum)


def test_the_corrected_model_has_the_forces_of_both_points(anion):
    truth = Truth(anion, shift=0.2, stiffer=0.6)
    potential = ToyPotential.of(anion)
    ends = anion, with_positions(anion, anion.cart_coords + 0.1)
    labels = [truth.label(structure) for structure in ends]
    missing = tuple(
        np.array(label.forces) - prediction.forces
        for label, prediction in zip(labels, potential.predict(ends, FIDELITY), strict=True)
    )
    model = TwoPointModel(
        potential.torchsim_model(FIDELITY),
        ends[0].cart_coords,
        ends[0].cart_coords + displacements(*ends),
        missing,
    )
    energies = []
    for structure, label in zip(ends, labels, strict=True):
        output = model(potential.state([structure], FIDELITY))
        assert torch.allclose(
            output["forces"], torch.as_tensor(label.forces, dtype=torch.float64), atol=1e-9
        )
        energies.append(float(output["energy"]))
    rise = labels[1].energy - labels[0].energy
    assert energies[1] - energies[0] == pytest.approx(rise, abs=1e-9)
