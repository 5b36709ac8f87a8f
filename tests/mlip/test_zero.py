"""What the models have in common to be wrong by is taken off, cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.predict import Potential
from defect_workflows.mlip.zero import fit_shifts, shifted

ERRORS = st.floats(-5, 5)


def point(energy, error, charge=0, formula="Mg4 O3", split="train", fidelity="hse06", apart=0.2):
    return ParityPoint(
        split=split,
        fidelity=fidelity,
        charge=charge,
        state="v_O",
        family="v_O/x",
        formula=formula,
        atoms=7,
        energy=energy,
        predicted=energy + error,
        spread=math.sqrt(0.5) * apart,
        distance=0.0,
        members=[energy + error - apart / 2, energy + error + apart / 2],
        force_rmse=0.1,
    )


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["Mg4 O3", "Mg4 O4"]), st.sampled_from([0, 1])),
        ERRORS,
        min_size=1,
    )
)
def test_what_all_labels_of_a_cell_have_in_common_is_taken_off(errors):
    points = [
        point(energy, error, charge, formula)
        for (formula, charge), error in errors.items()
        for energy in (-50.0, -49.0, -45.0)
    ]
    after = shifted(points, fit_shifts(points))
    assert [p.predicted for p in after] == pytest.approx([p.energy for p in points])
    assert [p.members for p in after] == [pytest.approx([p.energy] * 2) for p in points]
    assert [p.spread for p in after] == pytest.approx([0.0] * len(points), abs=1e-9)


def test_the_committee_disagrees_on_what_differs_from_the_low_lying_labels():
    """What its members are wrong by everywhere is no disagreement on which structure is lower."""
    points = [point(-50.0, 0.0, apart=3.0), point(-47.0, 0.0, split="test", apart=3.5)]
    low, high = shifted(points, fit_shifts(points))
    assert low.spread == pytest.approx(0.0, abs=1e-9)
    assert high.spread == pytest.approx(math.sqrt(0.5) * 0.5)
    assert high.predicted == pytest.approx(-47.0)


def test_low_lying_labels_decide():
    (shift,) = fit_shifts([point(-50.0, 0.3), *(point(-46.0 + i, -0.2) for i in range(9))])
    assert np.mean(shift.members) == pytest.approx(-0.3, abs=0.03)
    assert shift.labels == 10
    # a model whose well is too shallow is right at the bottom, where levels are made
    (shift,) = fit_shifts([point(-50.0, 0.0), *(point(-49.9, -0.06) for i in range(3))])
    assert np.mean(shift.members) == pytest.approx(0.0, abs=0.03)


def test_what_was_held_out_does_not_count():
    shifts = fit_shifts([point(-50.0, 0.3), point(-51.0, 1.0, split="test")])
    assert [item.members for item in shifts] == [pytest.approx([-0.2, -0.4])]
    held_out = shifted([point(-51.0, 1.0, split="test")], shifts)
    assert held_out[0].predicted == pytest.approx(-50.3)
    # another head, charge or composition has a zero of its own
    others = [point(-50.0, 0.3, fidelity="pbe"), point(-50.0, 0.3, 1), point(-50.0, 0.3, 0, "Mg3")]
    for before, after in zip(others, shifted(others, shifts), strict=True):
        assert after.members == before.members
        assert (after.predicted, after.spread) == pytest.approx((before.predicted, before.spread))


def test_predictions_have_the_zero_of_the_labels_trained_on(document, labels):
    """Of the committee on file, by the structures alone."""
    potential = Potential.from_document(document, "cpu")
    trained = [p for p in document.parity if p.split == "train"]
    assert np.abs([item.members for item in fit_shifts(trained)]).max() < 1e-9
    assert np.abs([item.members for item in document.shifts]).max() > 1e-4
    for label in labels[::7]:
        (prediction,) = potential.predict([label.configuration.structure], label.fidelity)
        (known,) = {
            (p.predicted, p.spread)
            for p in document.parity
            if (p.fidelity, p.energy) == (label.fidelity, label.energy)
        }
        assert (prediction.energy, prediction.spread) == pytest.approx(known, abs=1e-6)
