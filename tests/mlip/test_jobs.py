"""Training as jobs: model bytes in the data store, nothing trained twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.documents.labels import Label, LabelSet, RefusedLabel
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.makers.learning import TrainingMaker
from defect_workflows.mlip import jobs, train
from defect_workflows.mlip.checkpoint import Checkpoint
from defect_workflows.mlip.predict import Potential
from defect_workflows.reuse import REUSED_FROM

from .solid import make_label

SETTINGS = PotentialSettings(preset="small", device="cpu", epochs=1, test_share=0.2)


@pytest.fixture
def store() -> JobStore:
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


def run(labels: LabelSet, store: JobStore, folder: Path, **kwargs: Any) -> PotentialDocument:
    flow = TrainingMaker(settings=SETTINGS).make(labels, **kwargs)
    run_locally(flow, store=store, root_dir=folder, create_folders=True, ensure_success=True)
    return flow.output.resolve(store)


def test_committee_store_reuse_and_continuation(
    labels: list[Label], store: JobStore, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    label_set = LabelSet(labels=labels, refused=[])
    document = run(label_set, store, tmp_path)
    assert [member.seed for member in document.members] == [1, 2]
    assert all(member.epochs == 1 for member in document.members)
    Potential.from_document(document, "cpu").predict([labels[0].configuration.structure], "hse06")

    # bytes travel in the data store, the job's own document holds a pointer
    raw = next(store.query({"name": "train seed 1"}, load=False))
    assert "blob_uuid" in raw["output"]["model"]
    assert list(tmp_path.rglob("mace_seed_1.txt"))

    again = run(LabelSet(labels=labels[::-1], refused=[]), store, tmp_path)
    assert again == document
    reused = [x for x in store.query() if REUSED_FROM in (x.get("metadata") or {})]
    assert len(reused) == 3

    raw = next(store.query({"name": "make_potential"}, load=False))
    assert "blob_uuid" in raw["output"]["dataset"]
    index_of_a_later_data_set(labels, document, store)

    later = run(label_set, store, tmp_path, round=1, previous=document)
    assert later.round == 1
    assert {m.sha256 for m in later.members}.isdisjoint(m.sha256 for m in document.members)
    printed = capfd.readouterr()
    assert "mace" not in printed.out.lower()
    assert "Epoch" not in printed.out + printed.err


def index_of_a_later_data_set(
    labels: list[Label], document: PotentialDocument, store: JobStore
) -> None:
    """What came after the training is in the index, and is not said to be trained on."""
    first, refused = labels[0], RefusedLabel(
        fingerprint="r", configuration=labels[1].configuration, fidelity="pbe", reason="why",
    )  # fmt: skip
    found = make_label(
        first.configuration.structure.copy().perturb(0.01), -1, "hse06", "v_O/found", kind="search"
    )
    candidate = Candidate(
        state="v_O_-1", structure=found.configuration.structure, energy=0, spread=0, distance=0,
        uncertainty=0, energy_uncertainty=0, max_force=0, starts=["Unperturbed"], rank=0,
    )  # fmt: skip
    verified = VerifiedCandidate(
        candidate=candidate, labels=[found], energy_error=0, force_error=0, max_force=0
    )
    job = jobs.index_labels(LabelSet(labels=labels, refused=[refused]), [verified], document)
    run_locally(job, store=store, ensure_success=True)
    dataset = job.output.resolve(store)
    assert isinstance(dataset, DatasetDocument)
    unseen = [record for record in dataset.labels if record.split is None]
    assert [record.id for record in unseen] == [found.configuration.id]
    assert [record for record in dataset.labels if record.split] == document.dataset.labels
    assert [item.reason for item in dataset.refused] == ["why"]


def test_a_training_has_a_checkpoint_of_its_own_on_its_machine(
    labels: list[Label], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    used = []

    def note(*_: Any, checkpoint: Checkpoint, fingerprint: str, **__: Any) -> None:
        used.append(checkpoint.path)
        assert checkpoint.name == fingerprint
        raise Stop

    monkeypatch.setenv("DEFECT_WORKFLOWS_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(train, "train_member", note)
    label_set = LabelSet(labels=labels, refused=[])
    for seed in (1, 2, 1):
        with pytest.raises(Stop):
            jobs.train_member.original(label_set, SETTINGS, seed)
    assert {path.parent for path in used} == {tmp_path}
    assert used[0] == used[2] != used[1]
