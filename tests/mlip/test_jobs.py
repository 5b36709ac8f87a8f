"""Training as jobs: model bytes in the data store, nothing trained twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.labels import Label, LabelSet
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.makers.learning import TrainingMaker
from defect_workflows.mlip import jobs, train
from defect_workflows.mlip.checkpoint import Checkpoint
from defect_workflows.mlip.predict import Potential
from defect_workflows.reuse import REUSED_FROM

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

    later = run(label_set, store, tmp_path, round=1, previous=document)
    assert later.round == 1
    assert {m.sha256 for m in later.members}.isdisjoint(m.sha256 for m in document.members)
    printed = capfd.readouterr()
    assert "mace" not in printed.out.lower()
    assert "Epoch" not in printed.out + printed.err


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
