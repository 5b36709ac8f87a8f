"""A model file gives back the very model that was trained, and nothing else is read from it."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mace.tools.torch_geometric.dataloader import Collater

from defect_workflows.campaign import ChargeEmbedding, PotentialSettings
from defect_workflows.documents.labels import Label
from defect_workflows.errors import PotentialError
from defect_workflows.mlip import foundation, train
from defect_workflows.mlip.dataset import default_dtype
from defect_workflows.mlip.model import build_model
from defect_workflows.mlip.presets import PRESETS
from defect_workflows.mlip.weights import E0, ModelSettings, from_bytes, to_bytes

from .test_foundation import KINDS, make_foundation

Made = Callable[..., Any]
PAIRS = [("pbe", 0), ("pbe", -2), ("hse06", -1)]


@pytest.fixture
def made(labels: list[Label], settings: PotentialSettings) -> Made:
    """Makes models as trainings have them, with weights that no initialisation gives."""

    def make(start: str, charge: ChargeEmbedding, dtype: torch.dtype) -> Any:
        reference = train.prepare(labels, settings).reference
        if start in PRESETS:
            with default_dtype(dtype):
                graphs = train.graphs_of(labels[:4], reference, 3.8, 2.0, dtype)
                model = build_model(graphs, reference, PRESETS[start], charge)
        else:
            other = make_foundation(**KINDS[start]).eval()
            some = [labels[0].configuration.structure]
            model = foundation.transplant(other, Path("file"), reference, 4, some, charge).to(dtype)
        train._set_atom_energies(model, reference)
        for weight in model.parameters():
            weight.data += 0.05 * torch.randn_like(weight)
            weight.requires_grad = False
        for part, factor in zip(model.interactions, (1.1, 1.3), strict=False):
            part.avg_num_neighbors *= factor
        return model.eval()

    return make


@pytest.mark.parametrize(
    ("start", "charge", "dtype"),
    [
        ("small", "categorical", torch.float32),
        ("small", "continuous", torch.float64),
        ("standard", "continuous", torch.float32),
        *((kind, "categorical", torch.float32) for kind in KINDS),
    ],
)
def test_the_numbers_are_identical(
    made: Made, labels: list[Label], settings: PotentialSettings, start: str,
    charge: ChargeEmbedding, dtype: torch.dtype,
) -> None:  # fmt: skip
    model = made(start, charge, dtype)
    torch.manual_seed(1)
    again = from_bytes(to_bytes(model))
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))  # loading draws no random numbers
    assert again.atomic_energies_fn.atomic_energies.dtype == torch.float64
    reference = train.prepare(labels, settings).reference
    some = [next(x for x in labels if (x.fidelity, x.charge) == pair) for pair in PAIRS]
    outputs = []
    for each in (model, again):
        each = each.double()  # as models are used
        graphs = train.graphs_of(some, reference, float(each.r_max), 2.0, torch.float64)
        batch = Collater(follow_batch=[None], exclude_keys=[None])(graphs)
        outputs.append(each(batch.to_dict()))
    for key in ("energy", "forces", "node_feats", "interaction_energy"):
        # the order in which a derivative is summed may differ from one call to the next
        torch.testing.assert_close(*(out[key] for out in outputs), rtol=1e-13, atol=1e-13)
    assert torch.equal(*(output["energy"] for output in outputs))


def test_models_of_one_architecture_do_not_share_weights(made: Made) -> None:
    contents = [to_bytes(made("small", "categorical", torch.float32)) for _ in range(2)]
    one, other, same = (from_bytes(content) for content in (*contents, contents[0]))
    one_weight, other_weight, same_weight = (
        next(model.parameters()) for model in (one, other, same)
    )
    assert not torch.equal(one_weight, other_weight)
    one_weight.data.zero_()
    assert same_weight.abs().sum() > 0


def test_a_model_that_would_not_come_back_is_not_written(made: Made) -> None:
    model = made("small", "categorical", torch.float32)
    model.interactions[1].gain = 2.0  # as an attribute of a later version of MACE would be
    with pytest.raises(PotentialError, match=r"found interactions\.1 of its own"):
        to_bytes(model)
    with pytest.raises(PotentialError, match="found Linear, expected ScaleShiftMACE"):
        to_bytes(torch.nn.Linear(1, 1))


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def content(made: Made) -> bytes:
    return to_bytes(made("small", "categorical", torch.float32))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("interaction_cls", "os.system", "expected one of RealAgnostic"),
        ("gate", "exec", "expected one of abs"),
        ("readout_cls", "subprocess.Popen", "expected one of Linear"),
        ("hidden_irreps", "__import__('os')", "hidden_irreps"),
        ("hidden_irreps", "4096x0e+" * 100 + "1x0e", "at most 200 characters"),
        ("num_bessel", 10**9, "num_bessel"),
        ("avg_num_neighbors", [float("nan"), 1.0], "avg_num_neighbors"),
        ("embedding_specs", {"a": {"type": "code", "per": "graph", "emb_dim": 1}}, "type"),
        ("unknown", 1, "unknown"),
        ("heads", ["pbe"], "size mismatch"),
        ("max_ell", 1, "RuntimeError"),
    ],
)
def test_other_settings_are_refused(content: bytes, key: str, value: Any, expected: str) -> None:
    found = torch.load(io.BytesIO(content), weights_only=True)
    found["settings"][key] = value
    with pytest.raises(PotentialError, match=r"^model file: found .*train again$") as caught:
        from_bytes(saved(found))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_file_is_refused(content: bytes, made: Made) -> None:
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), script)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    model = made("small", "categorical", torch.float32)
    for wrong in (
        b"", b"text", content[:-1000], script.getvalue(), other.getvalue(), saved([]),
        saved({"settings": {}}), saved(model),
    ):  # fmt: skip
        with pytest.raises(PotentialError, match=r"^model file: found .*train again$"):
            from_bytes(wrong)


def test_nothing_is_executed_though_mace_has_switched_safe_loading_off(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (open, (str(tmp_path / "executed"), "w"))

    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    for bomb in (Bomb(), {"settings": Bomb()}, {"settings": {}, "weights": {E0: Bomb()}}):
        with pytest.raises(PotentialError, match="UnpicklingError"):
            from_bytes(saved(bomb))
    assert not (tmp_path / "executed").exists()


def test_settings_are_plain_data(made: Made) -> None:
    settings = ModelSettings.of(made("like MACE-MPA-0", "continuous", torch.float64))
    assert ModelSettings.model_validate_json(settings.model_dump_json()) == settings
    assert settings.interaction_cls_first == "RealAgnosticDensityInteractionBlock"
    assert settings.distance_transform == "Agnesi"
    assert settings.avg_num_neighbors == pytest.approx([9.0 * 1.1, 9.0 * 1.3])
