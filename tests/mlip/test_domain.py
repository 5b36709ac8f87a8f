"""The distance of a structure from what the potential was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.operations import SymmOp

from defect_workflows.charge import with_charge
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.mlip import assemble
from defect_workflows.mlip.calibration import LATER
from defect_workflows.mlip.domain import Domain, trained_atoms
from defect_workflows.mlip.predict import Potential

from .solid import rattled

MG, O = 12, 8  # noqa: E741


def drawn(seed: int, atoms: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Atoms of two elements with four features of very different size."""
    random = np.random.default_rng(seed)
    numbers = np.array([MG, O] * (atoms // 2))
    return numbers, random.normal(0, [1.0, 10.0, 0.1, 1.0], (atoms, 4))


def distance(domain: Domain, head: str, numbers: np.ndarray, features: np.ndarray) -> float:
    """The distance of one structure."""
    atoms, one = torch.tensor(numbers), torch.zeros(len(numbers), dtype=torch.int64)
    (square,) = domain.squared_distances(head, atoms, torch.tensor(features), one).tolist()
    return float(np.sqrt(square))


@given(seed=st.integers(0, 1000), atom=st.integers(0, 5), far=st.floats(0.5, 50))
@settings(deadline=None)
def test_the_atom_that_is_furthest_counts_in_standard_deviations(seed, atom, far):
    several = [drawn(seed), drawn(seed + 1), drawn(seed + 2)]
    domain = Domain(trained_atoms("pbe", several))
    numbers, features = several[1]
    assert distance(domain, "pbe", numbers, features) < 2e-3
    scale = np.vstack([f[n == numbers[atom]] for n, f in several]).std(axis=0)
    moved = features.copy()
    moved[atom, 1] = np.max([f[:, 1].max() for _, f in several]) + far * scale[1]
    others = np.vstack([f[n == numbers[atom]] for n, f in several])
    expected = np.linalg.norm((others - moved[atom]) / scale, axis=1).min()
    # the others are where they were: the norm over all atoms is that of the one
    assert distance(domain, "pbe", numbers, moved) == pytest.approx(expected, rel=1e-4)
    order = np.random.default_rng(seed).permutation(6)
    assert distance(domain, "pbe", numbers[order], moved[order]) == pytest.approx(
        expected, rel=1e-4
    )


def test_structures_of_a_batch_have_their_own_distance():
    several = [drawn(seed) for seed in range(3)]
    domain = Domain(trained_atoms("pbe", several[:1]))
    together = domain.squared_distances(
        "pbe",
        torch.tensor(np.concatenate([n for n, _ in several])),
        torch.tensor(np.vstack([f for _, f in several])),
        torch.arange(3).repeat_interleave(6),
    )
    alone = [distance(domain, "pbe", *one) for one in several]
    assert together.sqrt().tolist() == pytest.approx(alone)


def test_what_a_head_has_not_seen_is_infinitely_far():
    numbers, features = drawn(0)
    domain = Domain(trained_atoms("pbe", [(numbers, features)]))
    assert distance(domain, "hse06", numbers, features) == np.inf
    assert distance(domain, "pbe", np.full(6, 34), features) == np.inf
    assert distance(Domain([]), "pbe", numbers, features) == np.inf


def test_a_feature_that_never_changes_says_little():
    numbers, features = drawn(0)
    features[:, 3] = 5.0
    domain = Domain(trained_atoms("pbe", [(numbers, features)]))
    changed = features + np.array([0, 0, 0, 1e-4])
    assert distance(domain, "pbe", numbers, changed) < 0.1


def test_predictions_tell_how_far_they_are(potential: Potential, labels: list[Label]) -> None:
    train = {(p.energy, p.fidelity) for p in potential.document.parity if p.split == "train"}
    known = [x for x in labels if (x.energy, x.fidelity) in train and x.fidelity == "hse06"]
    structures = [label.configuration.structure for label in known]
    for prediction in potential.predict(structures, "hse06"):
        assert prediction.distance < 2e-3
    structure = structures[0]
    charge = known[0].charge
    further = [
        potential.predict([with_charge(rattled(structure, a, 7), charge)], "hse06")[0].distance
        for a in (0.02, 0.1, 0.3)
    ]
    assert 0.01 < further[0] < further[1] < further[2]
    # how the cell lies in space is no matter, the charge is
    turned = rattled(structure, 0.1, 7)
    turned.apply_operation(SymmOp.from_axis_angle_and_translation((1, 2, 3), 40))
    (here,) = potential.predict([with_charge(turned, charge)], "hse06")
    assert here.distance == pytest.approx(further[1], rel=1e-4)
    other = next(q for q in potential.document.charges if q != charge)
    (there,) = potential.predict([with_charge(turned, other)], "hse06")
    assert abs(there.distance - here.distance) > 1e-3


def test_labels_made_since_the_round_before_calibrate(
    labels: list[Label], document: PotentialDocument, settings, members
) -> None:
    """Those that the potential before had not seen, by its errors; and nothing else."""
    new = [
        label
        for label in labels
        if label.configuration.origin.family == labels[-1].configuration.origin.family
    ]
    seen = {(label.configuration.id, label.fidelity) for label in new}
    index = document.dataset.model_copy(
        update={"labels": [r for r in document.dataset.labels if (r.id, r.fidelity) not in seen]}
    )
    before = document.model_copy(update={"dataset": index})
    after = assemble.make_potential(labels, settings, members, "key", 1, before)
    assert len(after.later) == len(new) > 0
    assert {point.split for point in after.later} == {LATER}
    assert after.calibration is not None
    assert after.calibration.later == sum(p.state != "bulk" for p in after.later)
    assert after.calibration.labels == document.calibration.labels + after.calibration.later
    predicted = {round(p.energy, 6): p.predicted for p in after.later}
    for label in new:
        (there,) = Potential.from_document(before, "cpu").predict(
            [label.configuration.structure], label.fidelity
        )
        assert predicted[round(label.energy, 6)] == pytest.approx(there.energy, abs=1e-6)
    assert assemble.make_potential(labels, settings, members, "key", 1, document).later == []
