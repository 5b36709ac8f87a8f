"""From trained members to a potential: reloaded, probed, measured (trained means probed)."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from defect_workflows.charge import TRAINING_KEY, with_charge
from defect_workflows.documents.potential import (
    CommitteeMember,
    ParityPoint,
    PotentialDocument,
    Probe,
    TrainedAtoms,
)
from defect_workflows.errors import PotentialError
from defect_workflows.mlip.audit import make_dataset, sides_of
from defect_workflows.mlip.calibration import (
    LATER,
    calibrate,
    difference_errors,
    energy_errors,
    with_sigmas,
)
from defect_workflows.mlip.dataset import unique
from defect_workflows.mlip.domain import trained_atoms
from defect_workflows.mlip.evaluate import compared, error_table, parity_points
from defect_workflows.mlip.load import Device, load_model, resolve_device
from defect_workflows.mlip.predict import Potential
from defect_workflows.mlip.train import prepare
from defect_workflows.mlip.zero import fit_shifts, shifted

if TYPE_CHECKING:
    from defect_workflows.campaign import PotentialSettings
    from defect_workflows.documents.labels import Label

SMALLEST_RESPONSE = 1e-5
"""Energies closer than this, in eV, mean that the model does not see charge or head."""

PROBED = 4
"""Neutral structures that a model is probed on."""


def make_potential(
    labels: Sequence[Label],
    settings: PotentialSettings,
    members: Sequence[CommitteeMember],
    fingerprint: str,
    campaign_round: int = 0,
    previous: PotentialDocument | None = None,
) -> PotentialDocument:
    """Return the potential of a committee after reloading, probing and measuring it.

    Parameters
    ----------
    labels, settings
        What the members were trained on and with.
    members
        The trained models.
    fingerprint
        Fingerprint of labels and settings.
    campaign_round
        Round of the campaign.
    previous
        Potential of the round before, whose errors at the labels made since calibrate this one too.

    Raises
    ------
    PotentialError
        If a model fails a probe: its file, heads, charge embedding, or response to charge or head.
    """
    prepared = prepare(labels, settings)
    reference = prepared.reference
    energies, baseline = reference.documents()
    sizes = [len(label.forces) for label in labels]
    device = resolve_device(settings.device)
    models = [load_model(member, device) for member in members]
    cutoffs = {float(model.r_max) for model in models}
    if len(cutoffs) != 1:
        raise PotentialError(f"committee: found cutoffs {sorted(cutoffs)}, expected one")
    document = PotentialDocument(
        fingerprint=fingerprint,
        heads=reference.heads,
        elements=reference.elements,
        charges=sorted({charge for _, charge in reference.offsets}),
        atoms=(min(sizes), max(sizes)),
        cutoff=cutoffs.pop(),
        members=list(members),
        baseline=baseline,
        atom_energies=energies,
        errors=[],
        parity=[],
        probes=[],
        foundation=members[0].foundation,
        training_labels=len(prepared.splits.train),
        dataset=make_dataset(labels, [], sides_of(prepared.splits)),
        round=campaign_round,
        rehearsal=labels[0].rehearsal,
    )
    probes = [
        probe(document, member, model, prepared.splits.train, device)
        for member, model in zip(members, models, strict=True)
    ]
    domain = domain_of(Potential(document, models, device), prepared.splits.train)
    document = document.model_copy(update={"domain": domain})
    parity = parity_points(Potential(document, models, device), prepared.splits)
    shifts = fit_shifts(parity)
    parity = shifted(parity, shifts)
    later, before = [], []
    if previous is not None:
        later = later_points(previous, labels, settings.device)
        before = [point for point in previous.parity if point.split == "train"]
    residuals = [*energy_errors(parity), *energy_errors([*before, *later])]
    differences = [*difference_errors(parity), *difference_errors([*before, *later])]
    calibration = calibrate(residuals)
    judged = with_sigmas([*parity, *later], residuals, calibration)
    return document.model_copy(
        update={
            "probes": probes,
            "shifts": shifts,
            "parity": judged[: len(parity)],
            "later": judged[len(parity) :],
            "errors": error_table(parity),
            "calibration": calibration,
            "difference_calibration": calibrate(differences),
        }
    )


def domain_of(potential: Potential, trained: Sequence[Label]) -> list[TrainedAtoms]:
    """Return the atoms that a potential was trained on, head by head."""
    return [
        record
        for fidelity in potential.heads
        for record in trained_atoms(
            fidelity,
            potential.features(
                [label.configuration.structure for label in trained if label.fidelity == fidelity],
                fidelity,
            ),
        )
    ]


def later_points(
    potential: PotentialDocument, labels: Sequence[Label], device: Device
) -> list[ParityPoint]:
    """Return the labels that were made since a potential was trained, beside its predictions.

    Parameters
    ----------
    potential
        The potential of the round before.
    labels
        All labels by now.
    device
        Where to run.
    """
    known = {(record.id, record.fidelity) for record in potential.dataset.labels}
    new = [
        label
        for label in unique(labels)
        if (label.configuration.id, label.fidelity) not in known
        and label.fidelity in potential.heads
    ]
    return compared(Potential.from_document(potential, device), LATER, new)


def probe(
    document: PotentialDocument,
    member: CommitteeMember,
    model: Any,
    labels: Sequence[Label],
    device: torch.device,
) -> Probe:
    """Look at a reloaded model: its heads, its charge embedding, and whether it uses them.

    Raises
    ------
    PotentialError
        If heads, their E0s or the embedding are not those expected, or if the energy does not
        depend on the charge or the head.
    """
    name = f"model of seed {member.seed}"
    if list(model.heads) != list(document.heads):
        raise PotentialError(
            f"{name}: found heads {', '.join(model.heads)}, expected {', '.join(document.heads)}"
        )
    specs = getattr(model, "embedding_specs", None) or {}
    if not hasattr(model, "joint_embedding") or TRAINING_KEY not in specs:
        raise PotentialError(f"{name}: found no embedding of {TRAINING_KEY}, expected one")
    # E0s belong to a head: others than expected mean that heads were swapped
    expected = np.array([record.energy for record in document.atom_energies])
    stored = torch.atleast_2d(model.atomic_energies_fn.atomic_energies).cpu().numpy().ravel()
    if stored.shape != expected.shape or not np.allclose(stored, expected, atol=1e-6):
        raise PotentialError(f"{name}: found E0s {stored.tolist()}, expected {expected.tolist()}")
    alone = Potential(document, [model], device)
    some = [label.configuration.structure for label in labels if label.charge == 0][:PROBED]
    by_charge = [
        alone.evaluate([with_charge(structure, charge) for structure in some], document.heads[-1])[
            0
        ]
        for charge in document.charges
    ]
    # at one structure two charges may happen to agree, at several only a deaf model does
    charge_response = min(
        (float(np.abs(a - b).max()) for a, b in combinations(by_charge, 2)), default=float("inf")
    )
    if charge_response < SMALLEST_RESPONSE:
        raise PotentialError(
            f"{name}: found E(q) - E(q') of {charge_response:.1e} eV, expected the charge to matter"
        )
    by_head = [alone.evaluate(some[:1], head)[0].item() for head in document.heads]
    head_response = abs(by_head[0] - by_head[-1])
    if len(document.heads) > 1 and head_response < SMALLEST_RESPONSE:
        raise PotentialError(
            f"{name}: found a difference of {head_response:.1e} eV between its heads, "
            "expected them to differ"
        )
    return Probe(
        heads=list(model.heads), charge_response=charge_response, head_response=head_response
    )
