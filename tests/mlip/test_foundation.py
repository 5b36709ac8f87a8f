"""A foundation model as the start: the same energies, then charge and heads are learnt on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from e3nn import o3
from mace import modules
from mace.calculators import MACECalculator

from defect_workflows.campaign import PotentialSettings
from defect_workflows.charge import to_atoms, with_charge
from defect_workflows.documents.labels import Label
from defect_workflows.errors import PotentialError
from defect_workflows.mlip import assemble, foundation, train
from defect_workflows.mlip.dataset import default_dtype
from defect_workflows.mlip.jobs import _start
from defect_workflows.mlip.predict import Potential

from .solid import TINY

CPU = torch.device("cpu")
E0S = np.array([-1.0, -2.0, -3.0, -4.0])
CUTOFF = 3.8

FIRST = "RealAgnosticDensityInteractionBlock"
RESIDUAL = "RealAgnosticResidualInteractionBlock"
KINDS: dict[str, dict[str, Any]] = {
    "like MACE-MP-0": {"first": "RealAgnosticInteractionBlock", "block": RESIDUAL},
    "like MACE-MPA-0": {
        "first": FIRST,
        "block": "RealAgnosticDensityResidualInteractionBlock",
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
        "num_interactions": 2,
    },
    "one interaction": {"num_interactions": 1},
}


def make_foundation(
    kind: type = modules.ScaleShiftMACE,
    first: str = RESIDUAL,
    block: str = RESIDUAL,
    **changes: Any,
) -> Any:
    """An untrained MACE of four elements (more than the solid's) with energies of some eV."""
    torch.manual_seed(3)
    settings: dict[str, Any] = {
        "r_max": CUTOFF, "num_bessel": 5, "num_polynomial_cutoff": 5, "max_ell": 2,
        "interaction_cls": modules.interaction_classes[block],
        "interaction_cls_first": modules.interaction_classes[first],
        "num_interactions": 2, "num_elements": 4, "hidden_irreps": o3.Irreps("8x0e + 8x1o"),
        "MLP_irreps": o3.Irreps("4x0e"), "gate": torch.nn.functional.silu, "radial_MLP": [8, 8],
        "atomic_energies": E0S, "avg_num_neighbors": 9.0, "atomic_numbers": [1, 8, 12, 30],
        "correlation": 2, "heads": ["Default"], "atomic_inter_scale": 0.8,
        "atomic_inter_shift": -2.5,
    }  # fmt: skip
    if kind is modules.MACE:
        del settings["atomic_inter_scale"], settings["atomic_inter_shift"]
    with default_dtype(torch.float64):
        return kind(**{**settings, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(model: Any) -> Path:
        torch.save(model, tmp_path / "foundation.model")
        return tmp_path / "foundation.model"

    return save


def transplanted(path: Path, labels: list[Label], settings: PotentialSettings) -> Any:
    reference = train.prepare(labels, settings).reference
    structures = [labels[0].configuration.structure, labels[-1].configuration.structure]
    model, _ = foundation.read_foundation(path)
    return foundation.transplant(model, path, reference, 4, structures)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_foundation_model_at_every_charge_and_head(
    kind: str, saved: Callable, labels: list[Label], settings: PotentialSettings
) -> None:
    path = saved(make_foundation(**KINDS[kind]))
    model = transplanted(path, labels, settings)
    assert model.heads == ["pbe", "hse06"]
    assert model.embedding_specs["total_charge"]["num_classes"] == 3
    reference = train.prepare(labels, settings).reference
    np.testing.assert_array_equal(
        model.atomic_energies_fn.atomic_energies.numpy(), reference.atom_energies
    )
    # as ASE sees both, on a structure that the transplant was not measured on
    structure = labels[7].configuration.structure
    atoms = to_atoms(structure)
    theirs = MACECalculator(models=[torch.load(path, weights_only=False)], device="cpu")
    energy = theirs.get_potential_energy(atoms) - sum(
        E0S[[1, 8, 12, 30].index(number)] for number in atoms.numbers
    )
    assert abs(energy) > 1.0
    for row, head in enumerate(model.heads):
        own = MACECalculator(
            models=[model], device="cpu", head=head, info_keys={"total_charge": "total_charge"}
        )
        e0 = sum(
            reference.atom_energies[row][reference.elements.index(symbol)]
            for symbol in atoms.get_chemical_symbols()
        )
        for charge in (0, -1, -2):
            charged = to_atoms(with_charge(structure, charge))
            assert own.get_potential_energy(charged) - e0 == pytest.approx(energy, abs=1e-6)
            np.testing.assert_allclose(own.get_forces(charged), theirs.get_forces(atoms), atol=1e-6)


@pytest.mark.parametrize("charge", ["categorical", "continuous"])
def test_a_potential_trained_from_it_sees_charge_and_head(
    charge: str, saved: Callable, labels: list[Label], settings: PotentialSettings, tmp_path: Path
) -> None:
    path = saved(make_foundation())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    start = settings.model_copy(update={"foundation": path, "epochs": 3, "charge": charge})
    member = train.train_member(labels, start, 1, None, tmp_path, TINY)
    path.unlink()  # only the first round needs the file
    again = train.train_member(labels, start, 1, member, tmp_path, TINY)
    for one in (member, again):
        document = assemble.make_potential(labels, start, [one], "key")  # probes charge and heads
        assert document.foundation == one.foundation == sha256
        assert document.cutoff == pytest.approx(CUTOFF)
    structure = labels[0].configuration.structure
    energy = Potential.from_document(document, "cpu").predict([structure], "hse06")[0].energy
    label = next(x for x in labels if x.fidelity == "hse06" and x.charge == 0)
    assert energy == pytest.approx(label.energy, abs=2.0)


def test_its_cohesive_energy_need_not_be_unlearnt(
    saved: Callable, labels: list[Label], settings: PotentialSettings
) -> None:
    model = transplanted(saved(make_foundation()), labels, settings)
    prepared = train.prepare(labels, settings)
    graphs = train.graphs_of(labels, prepared.reference, CUTOFF, 2.0, torch.float64)
    forces = model(_batch(graphs))["forces"].detach()

    def errors() -> dict[int, float]:
        output = model(_batch(graphs), compute_force=False)["energy"].detach()
        sizes = torch.tensor([graph.num_nodes for graph in graphs])
        each = (torch.stack([graph.energy for graph in graphs]) - output) / sizes
        heads = torch.tensor([int(graph.head) for graph in graphs])
        return {head: float(each[heads == head].mean()) for head in (0, 1)}

    assert min(map(abs, errors().values())) > 0.5
    foundation.align(model, graphs)
    assert max(map(abs, errors().values())) < 1e-9
    torch.testing.assert_close(model(_batch(graphs))["forces"].detach(), forces)


def _batch(graphs: list[Any]) -> dict[str, torch.Tensor]:
    from mace.tools.torch_geometric.dataloader import Collater

    return Collater(follow_batch=[None], exclude_keys=[None])(graphs).to_dict()


# what does not fit is refused in one line


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: {"not": "a model"}, "found dict, expected a plain ScaleShiftMACE"),
        (lambda: make_foundation(modules.MACE), "found MACE, expected"),
        (lambda: make_foundation(heads=["a", "b"], atomic_energies=np.stack([E0S] * 2),
                                 atomic_inter_scale=[1.0] * 2, atomic_inter_shift=[0.0] * 2),
         "found heads a, b; mace_select_head keeps one"),
        (lambda: make_foundation(embedding_specs={"total_spin": {
            "type": "categorical", "per": "graph", "num_classes": 3, "emb_dim": 4}}),
         "found an embedding of total_spin already"),
        (lambda: make_foundation(atomic_numbers=[1, 8, 14, 30]), "found no Mg among its elements"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    model: Callable, expected: str, saved: Callable, labels: list[Label],
    settings: PotentialSettings,
) -> None:  # fmt: skip
    with pytest.raises(PotentialError) as caught:
        transplanted(saved(model()), labels, settings)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_from_before_heads_has_one(
    saved: Callable, labels: list[Label], settings: PotentialSettings
) -> None:
    old = make_foundation()
    path = saved(old)
    energies = [transplanted(path, labels, settings)]
    del old.heads
    path = saved(old)
    model, _ = foundation.read_foundation(path)
    assert model.heads == ["Default"]
    energies.append(transplanted(path, labels, settings))
    structure = labels[7].configuration.structure
    first, second = (
        MACECalculator(
            models=[one], device="cpu", head="hse06", info_keys={"total_charge": "total_charge"}
        ).get_potential_energy(to_atoms(structure))
        for one in energies
    )
    assert second == pytest.approx(first, abs=1e-9)


def test_what_a_training_would_run_into_is_found_before(
    saved: Callable, labels: list[Label]
) -> None:
    structure = labels[0].configuration.structure
    elements = sorted({site.specie.symbol for site in structure})
    foundation.check_foundation(saved(make_foundation()), structure, elements)
    with pytest.raises(PotentialError, match="found no Si among its elements"):
        foundation.check_foundation(saved(make_foundation()), structure, [*elements, "Si"])
    broken = make_foundation()
    del broken.products[0].symmetric_contractions.contractions
    with pytest.raises(
        PotentialError, match="kernels that MACE cannot convert to e3nn's"
    ) as caught:
        foundation.check_foundation(saved(broken), structure, elements)
    assert "\n" not in str(caught.value)
    older = make_foundation()
    del older.node_embedding
    with pytest.raises(PotentialError, match=r"found a(n| model) .*cannot"):
        foundation.check_foundation(saved(older), structure, elements)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foundation.model"
    with pytest.raises(PotentialError, match="cannot be read on this machine"):
        foundation.read_foundation(path)
    path.write_text("text")
    with pytest.raises(PotentialError, match="found no model file"):
        foundation.read_foundation(path)


def test_weights_that_did_not_arrive_are_noticed(
    saved: Callable, labels: list[Label], settings: PotentialSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = saved(make_foundation())
    monkeypatch.setattr(foundation, "load_foundations_elements", lambda *_, **__: None)
    with pytest.raises(PotentialError, match=r"cannot be taken over \(charge -2, head pbe"):
        transplanted(path, labels, settings)


def test_the_fingerprint_is_of_the_content_not_of_the_name(tmp_path: Path) -> None:
    keys = []
    for name, content in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        (tmp_path / name).write_bytes(content)
        keys.append(_start(None, PotentialSettings(foundation=tmp_path / name)))
    assert keys[0] == keys[1] != keys[2]
