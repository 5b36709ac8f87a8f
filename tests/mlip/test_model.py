"""cuequivariance: only where it helps, and never in what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.labels import Label
from defect_workflows.mlip import assemble, train
from defect_workflows.mlip import model as module
from defect_workflows.mlip.model import accelerated, build_model, plain
from defect_workflows.mlip.predict import Potential

from .solid import TINY

PACKAGES = ("cuequivariance_torch", "cuequivariance_ops_torch")


@pytest.fixture
def tiny(labels: list[Label], settings: PotentialSettings) -> Any:
    """An untrained model."""
    reference = train.prepare(labels, settings).reference
    graphs = train.graphs_of(labels[:2], reference, TINY.cutoff, TINY.soft_force, torch.float32)
    return build_model(graphs, reference, TINY)


def test_without_a_gpu_the_model_stays_what_it_is(tiny: Any) -> None:
    assert accelerated(tiny) is tiny
    assert plain(tiny) is tiny


class OnGpu(torch.nn.Module):
    """A model that says that it is on a GPU."""

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        return iter([SimpleNamespace(device=torch.device("cuda"))])

    def to(self, *_: Any) -> Any:
        return self


@pytest.mark.parametrize("missing", [None, *PACKAGES])
def test_on_a_gpu_the_model_is_converted_where_the_packages_are(
    monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    model, converted = OnGpu(), OnGpu()
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else name)
    monkeypatch.setattr(
        module, "to_cuequivariance", lambda given, device: converted if given is model else None
    )
    assert accelerated(model) is (converted if missing is None else model)


def test_a_converted_model_is_made_plain_again(monkeypatch: pytest.MonkeyPatch, tiny: Any) -> None:
    # cuequivariance has one weight for all contractions
    merged = SimpleNamespace(products=[SimpleNamespace(symmetric_contractions=object())])
    monkeypatch.setattr(module, "to_e3nn", lambda given, device: tiny if given is merged else None)
    assert plain(merged) is tiny


@pytest.mark.gpu
def test_on_a_gpu_the_stored_model_is_plain(
    labels: list[Label],
    settings: PotentialSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels: list[bool] = []

    def watched(model: Any) -> Any:
        fast = accelerated(model)
        kernels.append(not hasattr(fast.products[0].symmetric_contractions, "contractions"))
        return fast

    monkeypatch.setattr(train, "accelerated", watched)
    there = settings.model_copy(update={"device": "cuda", "epochs": 2})
    member = train.train_member(labels, there, 1, None, tmp_path, TINY)
    assert kernels == [all(map(find_spec, PACKAGES))]  # it is trained with them, where they are
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
