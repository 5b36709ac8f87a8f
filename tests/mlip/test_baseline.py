"""E0s from neutral labels, an offset for every other charge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_workflows.documents.labels import Label
from defect_workflows.errors import PotentialError
from defect_workflows.mlip.baseline import NEAR_MINIMUM, fit_reference

from .solid import ATOM_ENERGIES, make_labels

LABELS = make_labels(geometries=4, bulk=3, expensive=2)
ENERGIES = st.floats(-100, 100)


def with_energies(e0: dict[str, dict[str, float]], affinity: dict[str, float]) -> list[Label]:
    return [
        label.model_copy(
            update={
                "energy": sum(
                    e0[label.fidelity][site.specie.symbol] for site in label.configuration.structure
                )
                + affinity[label.fidelity] * label.charge
            }
        )
        for label in LABELS
    ]


@settings(max_examples=25, deadline=None)
@given(ENERGIES, ENERGIES, ENERGIES, ENERGIES, ENERGIES, ENERGIES)
def test_energies_that_are_only_atoms_and_charge_come_back(a, b, c, d, low, high) -> None:
    e0 = {"pbe": {"Mg": a, "O": b}, "hse06": {"Mg": c, "O": d}}
    labels = with_energies(e0, {"pbe": low, "hse06": high})
    reference = fit_reference(labels)
    assert reference.elements == ["O", "Mg"]
    assert reference.atom_energies == pytest.approx(np.array([[b, a], [d, c]]), abs=1e-6)
    assert reference.offsets["hse06", -2] == pytest.approx(-2 * high, abs=1e-6)
    for label in labels:
        assert reference.energy(label) == pytest.approx(label.energy, abs=1e-6)


def test_what_is_left_over_averages_to_zero_near_the_minimum() -> None:
    reference = fit_reference(LABELS)
    assert reference.offsets["pbe", 0] == 0.0
    for charge in (0, -1, -2):
        own = [label for label in LABELS if label.fidelity == "pbe" and label.charge == charge]
        left = [label.energy - reference.energy(label) for label in own]
        weights = [1 / (NEAR_MINIMUM**2 + np.mean(np.square(label.forces))) for label in own]
        assert np.average(left, weights=weights) == pytest.approx(0, abs=1e-8 if charge else 0.05)


def test_a_strong_distortion_hardly_moves_the_zero() -> None:
    label = LABELS[0]
    configuration = label.configuration.model_copy(update={"id": "distorted"})
    forces = [(20.0, -20.0, 0.0)] * len(label.forces)
    distorted = label.model_copy(
        update={"configuration": configuration, "energy": label.energy + 30.0, "forces": forces}
    )
    moved = fit_reference([*LABELS, distorted])
    assert moved.energy(label) == pytest.approx(fit_reference(LABELS).energy(label), abs=0.05)


def test_charged_labels_do_not_move_atom_energies() -> None:
    shifted = [
        label.model_copy(update={"energy": label.energy + 50.0 * bool(label.charge)})
        for label in LABELS
    ]
    np.testing.assert_array_equal(
        fit_reference(LABELS).atom_energies, fit_reference(shifted).atom_energies
    )


def test_a_head_with_one_composition_leans_on_the_other() -> None:
    """One composition cannot tell elements apart: the correction is the smallest that fits."""
    labels = [
        label
        for label in LABELS
        if label.fidelity == "pbe" or label.configuration.origin.state == "v_O_0"
    ]
    reference = fit_reference(labels)
    shift = reference.atom_energies[1] - reference.atom_energies[0]
    counts = np.array([3.0, 4.0])  # O, Mg of the vacancy
    assert shift == pytest.approx(counts * (shift @ counts) / (counts @ counts), abs=1e-6)
    exact = sum(
        n * (ATOM_ENERGIES["hse06"][x] - ATOM_ENERGIES["pbe"][x])
        for n, x in zip(counts, ("O", "Mg"), strict=True)
    )
    assert shift @ counts == pytest.approx(exact, abs=0.5)


def test_labels_of_searches_do_not_move_the_zero() -> None:
    origin = LABELS[0].configuration.origin.model_copy(update={"kind": "search"})
    configuration = LABELS[0].configuration.model_copy(update={"origin": origin, "id": "other"})
    found = LABELS[0].model_copy(update={"configuration": configuration, "energy": 1e3})
    np.testing.assert_array_equal(
        fit_reference(LABELS).atom_energies, fit_reference([*LABELS, found]).atom_energies
    )


def test_a_head_without_neutral_labels_is_refused() -> None:
    labels = [label for label in LABELS if label.fidelity == "pbe" or label.charge]
    with pytest.raises(PotentialError, match="no neutral one at hse06"):
        fit_reference(labels)
