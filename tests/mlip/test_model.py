"""cuequivariance: only where it helps, and never in what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.labels import Label
from defect_workflows.mlip import assemble, train
from defect_workflows.mlip.model import accelerated, build_model, plain
from defect_workflows.mlip.predict import Potential

from .solid import TINY


def test_without_a_gpu_the_model_stays_what_it_is(
    labels: list[Label], settings: PotentialSettings
) -> None:
    reference = train.prepare(labels, settings).reference
    graphs = train.graphs_of(labels[:2], reference, TINY.cutoff, TINY.soft_force, torch.float32)
    model = build_model(graphs, reference, TINY)
    assert accelerated(model) is model
    assert plain(model) is model


@pytest.mark.gpu
def test_on_a_gpu_the_stored_model_is_plain(
    labels: list[Label], settings: PotentialSettings, tmp_path: Path
) -> None:
    there = settings.model_copy(update={"device": "cuda", "epochs": 2})
    member = train.train_member(labels, there, 1, None, tmp_path, TINY)
    # loads and probes it on the CPU
    document = assemble.make_potential(labels, settings, [member], "key")
    structures = [label.configuration.structure for label in labels[:3]]
    here, back = (
        Potential.from_document(document, device).predict(structures, labels[0].fidelity)
        for device in ("cpu", "cuda")
    )
    for one, other in zip(here, back, strict=True):
        assert other.energy == pytest.approx(one.energy, abs=1e-6)
        assert other.forces == pytest.approx(one.forces, abs=1e-6)
