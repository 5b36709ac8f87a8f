"""Trained means probed: what a potential knows, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from defect_workflows.campaign import PotentialSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import CommitteeMember, PotentialDocument
from defect_workflows.errors import MissingChargeError, PotentialError, UnknownFidelityError
from defect_workflows.mlip import assemble, train
from defect_workflows.mlip.load import load_model
from defect_workflows.mlip.predict import Potential
from defect_workflows.mlip.weights import to_bytes

from .solid import TINY, energy_and_forces

CPU = torch.device("cpu")


@pytest.fixture
def structure(labels: list[Label]) -> Structure:
    return labels[0].configuration.structure


def changed(member: CommitteeMember, change: Callable[[torch.nn.Module], None]) -> CommitteeMember:
    """A member whose model file was tampered with, with a hash that fits."""
    model = load_model(member, CPU)
    change(model)
    content = to_bytes(model)
    return member.model_copy(
        update={
            "model": base64.b64encode(content).decode(),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    )


def reassembled(
    labels: list[Label],
    settings: PotentialSettings,
    member: CommitteeMember,
    change: Callable[[torch.nn.Module], None],
) -> PotentialDocument:
    return assemble.make_potential(labels, settings, [changed(member, change)], "key")


# what the document says


def test_the_document_describes_the_committee(
    document: PotentialDocument, labels: list[Label]
) -> None:
    assert document.heads == ["pbe", "hse06"]
    assert document.elements == ["O", "Mg"]
    assert document.charges == [-2, -1, 0]
    assert document.atoms == (7, 8)
    assert document.cutoff == TINY.cutoff
    assert [member.seed for member in document.members] == [1, 2]
    assert all(probe.heads == ["pbe", "hse06"] for probe in document.probes)
    assert all(probe.charge_response > 1e-4 for probe in document.probes)
    assert len(document.parity) == len(labels)
    assert document.rehearsal


def test_errors_are_those_of_the_parity_points(document: PotentialDocument) -> None:
    record = next(
        e for e in document.errors if (e.split, e.fidelity, e.charge) == ("test", "hse06", None)
    )
    points = [p for p in document.parity if (p.split, p.fidelity) == ("test", "hse06")]
    assert record.labels == len(points)
    squares = [((p.predicted - p.energy) / p.atoms) ** 2 for p in points]
    assert record.energy_rmse == pytest.approx(np.sqrt(np.mean(squares)))
    assert record.force_rmse < 0.3


def test_the_same_seed_gives_the_same_model(
    labels: list[Label], settings: PotentialSettings, structure: Structure, logs: str
) -> None:
    short = settings.model_copy(update={"epochs": 1})
    same, again, other = (
        load_model(train.train_member(order, short, seed, None, logs, TINY), CPU)
        for order, seed in ((labels, 5), (labels[::-1], 5), (labels, 6))
    )
    for a, b in zip(same.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert any(
        not torch.equal(a, b) for a, b in zip(same.parameters(), other.parameters(), strict=True)
    )


def test_training_goes_on_from_a_previous_model(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember], logs: str
) -> None:
    again = train.train_member(labels, settings, 1, members[0], logs, TINY)
    assert again.epochs == round(TINY.continued_share * TINY.epochs)
    before = assemble.make_potential(labels, settings, [members[0]], "key")
    after = assemble.make_potential(labels, settings, [again], "key")

    def error(document: PotentialDocument) -> float:
        return next(
            e.force_rmse
            for e in document.errors
            if (e.split, e.fidelity, e.charge) == ("train", "pbe", None)
        )

    assert error(after) < error(before)
    # it did start from there: one epoch more or less does not undo what was learnt
    briefly = settings.model_copy(update={"epochs": 1})
    onward, anew = (
        assemble.make_potential(
            labels, settings, [train.train_member(labels, briefly, 1, start, logs, TINY)], "key"
        )
        for start in (members[0], None)
    )
    assert error(onward) < 0.5 * error(anew)


def test_a_previous_model_of_other_elements_is_refused(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember], logs: str
) -> None:
    low = [label for label in labels if label.fidelity == "pbe"]
    with pytest.raises(PotentialError, match="found heads pbe, hse06 and elements"):
        train.train_member(low, settings, 1, members[0], logs, TINY)


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_a_number_is_refused(
    labels: list[Label], settings: PotentialSettings, logs: str
) -> None:
    extreme = labels[0].model_copy(update={"forces": [(1e30, 0.0, 0.0)] * 7})
    with pytest.raises(PotentialError, match="loss is not a number"):
        train.train_member([extreme, *labels[1:]], settings, 1, None, logs, TINY)


# charge and fidelity are alive


def test_predictions_follow_charge_and_fidelity(potential: Potential, structure: Structure) -> None:
    """Bonds get longer with every electron, and are shorter at the hybrid functional."""
    swollen = structure.copy()
    swollen.apply_strain(0.04)

    def gain(charge: int, fidelity: str, predicted: bool) -> float:
        pair = [with_charge(s, charge) for s in (structure, swollen)]
        if predicted:
            small, large = (p.energy for p in potential.predict(pair, fidelity))
        else:
            small, large = (energy_and_forces(s, charge, fidelity)[0] for s in pair)
        return large - small

    for predicted in (False, True):
        assert gain(-2, "hse06", predicted) < gain(0, "hse06", predicted)
        assert gain(0, "pbe", predicted) < gain(0, "hse06", predicted)


def test_energies_are_those_of_the_labels(potential: Potential, labels: list[Label]) -> None:
    alone = {
        (shift.fidelity, shift.formula, shift.charge)
        for shift in potential.document.shifts
        if shift.labels == 1
    }
    for fidelity in ("pbe", "hse06"):
        own = [label for label in labels if label.fidelity == fidelity]
        predictions = potential.predict([x.configuration.structure for x in own], fidelity)
        for label, prediction in zip(own, predictions, strict=True):
            assert prediction.energy == pytest.approx(label.energy, abs=0.3)
            assert prediction.forces.shape == (len(label.forces), 3)
            assert prediction.force_spread.shape == (len(label.forces),)
            # by definition none at the only label that a cell and charge was trained on
            cell = fidelity, label.configuration.structure.composition.formula, label.charge
            assert prediction.spread > 1e-9 or cell in alone


def test_shuffled_charges_make_the_test_worse(
    labels: list[Label], settings: PotentialSettings, logs: str
) -> None:
    """Two models on the same geometries and energies, one with charges that mean nothing."""
    longer = settings.model_copy(update={"epochs": 20})
    rng = np.random.default_rng(0)
    wrong = []
    for label in labels:
        origin = label.configuration.origin
        charge = label.charge if origin.state == "bulk" else int(rng.choice([0, -1, -2]))
        configuration = label.configuration.model_copy(
            update={"structure": with_charge(label.configuration.structure, charge)}
        )
        wrong.append(label.model_copy(update={"configuration": configuration}))

    def error(data: list[Label]) -> float:
        member = train.train_member(data, longer, 1, None, logs, TINY)
        document = assemble.make_potential(data, longer, [member], "key")
        return next(
            e.energy_rmse
            for e in document.errors
            if (e.split, e.fidelity, e.charge) == ("test", "pbe", None)
        )

    assert error(wrong) > 5 * error(labels)


def test_torch_sim_agrees_with_predict(potential: Potential, labels: list[Label]) -> None:
    charges = (0, -1, -2)
    chosen = [
        next(x.configuration.structure for x in labels if x.charge == charge) for charge in charges
    ]
    predictions = potential.predict(chosen, "hse06")
    output = potential.torchsim_model("hse06")(potential.state(chosen, "hse06"))
    forces = np.split(output["forces"].numpy(), 3)
    for i, prediction in enumerate(predictions):
        assert output["energy"][i].item() == pytest.approx(prediction.energy, abs=1e-8)
        np.testing.assert_allclose(forces[i], prediction.forces, atol=1e-8)


def test_the_guide_is_the_first_member_in_single_precision(
    potential: Potential, structure: Structure
) -> None:
    guide = potential.guide
    output = guide.torchsim_model("pbe")(potential.state([structure], "pbe"))
    (alone,), (together,) = (p.predict([structure], "pbe") for p in (guide, potential))
    assert alone.energy == pytest.approx(together.members[0], abs=1e-4)
    assert output["energy"].item() == pytest.approx(alone.energy, abs=1e-5)
    assert output["forces"].dtype == torch.float64
    assert alone.spread == 0.0
    alone_in_double = Potential(potential.document, potential.models[:1], potential.device)
    (exact,) = alone_in_double.predict([structure], "pbe")
    difference = np.abs(alone.forces - exact.forces).max()
    assert 0 < difference < 1e-4
    assert np.abs(alone.forces - together.forces).max() > difference
    # the committee itself stays as it was
    assert {weight.dtype for weight in potential.models[0].parameters()} == {torch.float64}


def test_forces_are_the_derivative_of_the_energy(
    potential: Potential, structure: Structure
) -> None:
    charged, step = with_charge(structure, -1), 1e-4
    moved = []
    for sign in (1, -1):
        other = charged.copy()
        other.translate_sites([2], [sign * step, 0, 0], frac_coords=False, to_unit_cell=False)
        moved.append(other)
    up, down = (p.energy for p in potential.predict(moved, "hse06"))
    force = potential.predict([charged], "hse06")[0].forces[2, 0]
    assert force == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_a_document_survives_the_store(document: PotentialDocument, structure: Structure) -> None:
    copy = PotentialDocument.model_validate_json(document.model_dump_json())
    energies = [
        Potential.from_document(d, "cpu").predict([structure], "pbe")[0].energy
        for d in (document, copy)
    ]
    assert energies[0] == energies[1]


# what it refuses, in one line each


class Bomb:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("the file was unpickled",))


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_another_file_is_refused_unread(document: PotentialDocument) -> None:
    update = {"model": base64.b64encode(saved(Bomb())).decode()}
    broken = document.model_copy(
        update={"members": [document.members[0].model_copy(update=update)]}
    )
    with pytest.raises(PotentialError, match=r"^model of seed 1: found sha256 .*refused unread$"):
        Potential.from_document(broken, "cpu")


@pytest.mark.parametrize("within", ["alone", "settings", "weights"])
def test_a_file_whose_hash_was_changed_with_it_executes_nothing(
    document: PotentialDocument, within: str
) -> None:
    good = torch.load(io.BytesIO(base64.b64decode(document.members[0].model)), weights_only=True)
    content = saved(Bomb() if within == "alone" else {**good, within: Bomb()})
    update = {
        "model": base64.b64encode(content).decode(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    broken = document.model_copy(
        update={"members": [document.members[0].model_copy(update=update)]}
    )
    with pytest.raises(PotentialError, match=r"^model file: found UnpicklingError: .*train again$"):
        Potential.from_document(broken, "cpu")


def test_a_model_without_charge_embedding_is_refused(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember]
) -> None:
    with pytest.raises(PotentialError, match="found no embedding of total_charge"):
        reassembled(labels, settings, members[0], lambda model: delattr(model, "joint_embedding"))


def test_a_model_deaf_to_the_charge_is_refused(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember]
) -> None:
    def deafen(model: torch.nn.Module) -> None:
        model.joint_embedding.project[0].weight.zero_()

    with pytest.raises(PotentialError, match="expected the charge to matter"):
        reassembled(labels, settings, members[0], deafen)


def test_swapped_heads_are_refused(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember]
) -> None:
    def rename(model: torch.nn.Module) -> None:
        model.heads = model.heads[::-1]

    def swap(model: torch.nn.Module) -> None:
        block = model.atomic_energies_fn
        block.atomic_energies = block.atomic_energies.flip(0)

    with pytest.raises(PotentialError, match="found heads hse06, pbe, expected pbe, hse06"):
        reassembled(labels, settings, members[0], rename)
    with pytest.raises(PotentialError, match="found E0s"):
        reassembled(labels, settings, members[0], swap)


def test_heads_that_do_not_differ_are_refused(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember]
) -> None:
    """A model trained on one fidelity under two names."""
    twins = [
        label.model_copy(update={"fidelity": fidelity, "fingerprint": f"{fidelity}{i}"})
        for i, label in enumerate(labels)
        if label.fidelity == "pbe"
        for fidelity in ("pbe", "hse06")
    ]

    def equalise(model: torch.nn.Module) -> None:
        energies = model.atomic_energies_fn.atomic_energies
        energies[:] = torch.tensor(train.prepare(twins, settings).reference.atom_energies)
        model.scale_shift.scale[1] = model.scale_shift.scale[0]
        weights = model.readouts[0].linear.weight.view(-1, 2)  # one column per head
        weights[:, 1] = weights[:, 0]

    with pytest.raises(PotentialError, match="between its heads"):
        reassembled(twins, settings, members[0], equalise)


def test_an_unknown_fidelity_is_refused(potential: Potential, structure: Structure) -> None:
    with pytest.raises(UnknownFidelityError, match="found 'scan', expected one of the heads"):
        potential.predict([structure], "scan")  # type: ignore[arg-type]
    with pytest.raises(UnknownFidelityError):
        potential.torchsim_model("scan")  # type: ignore[arg-type]


def test_a_missing_charge_is_refused(potential: Potential, structure: Structure) -> None:
    bare = Structure(structure.lattice, structure.species, structure.frac_coords)
    with pytest.raises(MissingChargeError):
        potential.predict([bare], "pbe")
    with pytest.raises(MissingChargeError):
        potential.state([bare], "pbe")


def test_a_state_without_charge_is_refused(potential: Potential, structure: Structure) -> None:
    import torch_sim as ts

    state = ts.io.structures_to_state([structure], CPU, torch.float64)
    with pytest.raises(PotentialError, match="torch-sim state: found no charge"):
        potential.torchsim_model("pbe")(state)


@pytest.mark.parametrize("charge", [1, -3])
def test_a_charge_that_was_not_trained_on_is_refused(
    potential: Potential, structure: Structure, charge: int
) -> None:
    message = rf"^charge: found {charge}, but the head hse06 was trained on -2, -1, 0 only$"
    with pytest.raises(PotentialError, match=message):
        potential.predict([with_charge(structure, charge)], "hse06")


def test_a_charge_that_one_head_never_saw_is_refused_there(
    labels: list[Label], settings: PotentialSettings, logs: str, structure: Structure
) -> None:
    fewer = [label for label in labels if label.fidelity == "pbe" or label.charge != -2]
    short = settings.model_copy(update={"epochs": 1})
    member = train.train_member(fewer, short, 1, None, logs, TINY)
    potential = Potential.from_document(
        assemble.make_potential(fewer, short, [member], "key"), "cpu"
    )
    charged = with_charge(structure, -2)
    potential.predict([charged], "pbe")
    with pytest.raises(PotentialError, match="head hse06 was trained on -1, 0 only"):
        potential.predict([charged], "hse06")


def test_another_element_or_cell_size_is_refused(
    potential: Potential, structure: Structure
) -> None:
    other = structure.copy()
    other.replace(0, "Ca")
    with pytest.raises(PotentialError, match="elements: found Ca, expected only O, Mg"):
        potential.predict([other], "pbe")
    large = with_charge(structure * (2, 1, 1), 0)
    with pytest.raises(PotentialError, match="found 14 atoms, expected 7 to 8"):
        potential.predict([large], "pbe")
