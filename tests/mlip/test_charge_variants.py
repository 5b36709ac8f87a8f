"""Every way the charge may enter a model is probed, alive, and refused where it is not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from defect_workflows.campaign import PotentialSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import CommitteeMember
from defect_workflows.errors import PotentialError
from defect_workflows.mlip import assemble, train
from defect_workflows.mlip.load import load_model
from defect_workflows.mlip.localise import bulk_at_every_charge
from defect_workflows.mlip.predict import Potential
from defect_workflows.mlip.weights import to_bytes

from .solid import TINY

CPU = torch.device("cpu")
VARIANTS = {
    "categorical": {},
    "continuous": {"charge": "continuous"},
    "categorical, bulk": {"bulk_at_every_charge": True},
    "continuous, bulk": {"charge": "continuous", "bulk_at_every_charge": True},
}
Trained = tuple[PotentialSettings, CommitteeMember]


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(
    request: pytest.FixtureRequest, labels: list[Label], settings: PotentialSettings, logs: str
) -> Trained:
    own = settings.model_copy(update=request.param)
    return own, train.train_member(labels, own, 1, None, logs, TINY)


def tampered(member: CommitteeMember, change: Callable[[torch.nn.Module], None]) -> CommitteeMember:
    model = load_model(member, CPU)
    change(model)
    content = to_bytes(model)
    return member.model_copy(
        update={
            "model": base64.b64encode(content).decode(),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    )


def test_every_variant_is_probed_and_agrees_with_torch_sim(
    labels: list[Label], variant: Trained
) -> None:
    settings, member = variant
    model = load_model(member, CPU)
    assert model.embedding_specs["total_charge"]["type"] == settings.charge
    document = assemble.make_potential(labels, settings, [member], "key")
    assert document.probes[0].charge_response > 1e-3
    assert document.training_labels == len(train.prepare(labels, settings).splits.train)
    potential = Potential.from_document(document, "cpu")
    chosen = [with_charge(labels[0].configuration.structure, charge) for charge in (0, -1, -2)]
    output = potential.torchsim_model("hse06")(potential.state(chosen, "hse06"))
    for energy, prediction in zip(
        output["energy"].tolist(), potential.predict(chosen, "hse06"), strict=True
    ):
        assert energy == pytest.approx(prediction.energy, abs=1e-8)


def test_every_variant_that_does_not_hear_the_charge_is_refused(
    labels: list[Label], variant: Trained
) -> None:
    settings, member = variant

    def deafen(model: torch.nn.Module) -> None:
        model.joint_embedding.project[0].weight.zero_()

    def blind(model: torch.nn.Module) -> None:
        del model.joint_embedding

    for change, reason in (
        (deafen, "expected the charge to matter"),
        (blind, "found no embedding of total_charge"),
    ):
        with pytest.raises(PotentialError, match=reason):
            assemble.make_potential(labels, settings, [tampered(member, change)], "key")


def test_every_variant_refuses_what_it_was_not_trained_on(
    labels: list[Label], variant: Trained
) -> None:
    settings, member = variant
    document = assemble.make_potential(labels, settings, [member], "key")
    potential = Potential.from_document(document, "cpu")
    structure = labels[0].configuration.structure
    with pytest.raises(PotentialError, match="charge: found 1, but the head pbe was trained on"):
        potential.predict([with_charge(structure, 1)], "pbe")
    with pytest.raises(PotentialError, match="found 14 atoms, expected 7 to 8"):
        potential.predict([with_charge(structure * (2, 1, 1), 0)], "pbe")


def test_bulk_at_every_charge_says_that_bulk_does_not_respond(
    labels: list[Label], settings: PotentialSettings
) -> None:
    prepared = train.prepare(labels, settings)
    added = bulk_at_every_charge(prepared.splits.train, prepared.reference)
    pristine = [x for x in prepared.splits.train if x.configuration.origin.state == "bulk"]
    assert len(added) == 2 * len(pristine)
    for label in added:
        twin = next(
            x
            for x in pristine
            if (x.configuration.id, x.fidelity) == (label.configuration.id, label.fidelity)
        )
        offset = prepared.reference.offsets[label.fidelity, label.charge]
        assert label.charge in (-1, -2)
        assert label.energy - offset == pytest.approx(twin.energy)
        np.testing.assert_array_equal(label.forces, twin.forces)
    assert [label.charge for label in pristine] == [0] * len(pristine)


def test_bulk_at_every_charge_is_trained_on_where_it_is_asked_for(
    labels: list[Label], settings: PotentialSettings
) -> None:
    prepared = train.prepare(labels, settings)
    assert train.trained_on(prepared, settings) == prepared.splits.train
    asked = settings.model_copy(update={"bulk_at_every_charge": True})
    more = train.trained_on(prepared, asked)[len(prepared.splits.train) :]
    assert {(x.configuration.origin.state, x.charge) for x in more} == {("bulk", -1), ("bulk", -2)}
