"""What the models have in common to be wrong by is taken off, cell by cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.documents.potential import ParityPoint
from defect_workflows.mlip.predict import Potential
from defect_workflows.mlip.zero import fit_shifts, shifted

ERRORS = st.floats(-5, 5)


def point(energy, error, charge=0, formula="Mg4 O3", split="train", fidelity="hse06"):
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
        spread=0.1,
        members=[energy + error - 0.1, energy + error + 0.1],
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
    assert [p.members[1] - p.members[0] for p in after] == pytest.approx([0.2] * len(points))
    assert [p.spread for p in after] == [p.spread for p in points]


def test_low_lying_labels_decide():
    (shift,) = fit_shifts([point(-50.0, 0.3), *(point(-46.0 + i, -0.2) for i in range(9))])
    assert shift.shift == pytest.approx(-0.3, abs=0.03)
    assert shift.labels == 10


def test_what_was_held_out_does_not_count():
    shifts = fit_shifts([point(-50.0, 0.3), point(-51.0, 1.0, split="test")])
    assert [item.shift for item in shifts] == pytest.approx([-0.3])
    held_out = shifted([point(-51.0, 1.0, split="test")], shifts)
    assert held_out[0].predicted == pytest.approx(-50.3)
    # another head, charge or composition has a zero of its own
    others = [point(-50.0, 0.3, fidelity="pbe"), point(-50.0, 0.3, 1), point(-50.0, 0.3, 0, "Mg3")]
    assert shifted(others, shifts) == others


def test_predictions_have_the_zero_of_the_labels_trained_on(document, labels):
    """Of the committee on file, by the structures alone."""
    potential = Potential.from_document(document, "cpu")
    trained = [p for p in document.parity if p.split == "train"]
    assert all(abs(item.shift) < 1e-9 for item in fit_shifts(trained))
    assert any(abs(item.shift) > 1e-4 for item in document.shifts)
    for label in labels[::7]:
        (prediction,) = potential.predict([label.configuration.structure], label.fidelity)
        (known,) = {
            p.predicted
            for p in document.parity
            if (p.fidelity, p.energy) == (label.fidelity, label.energy)
        }
        assert prediction.energy == pytest.approx(known, abs=1e-6)
