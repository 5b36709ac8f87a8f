"""A training that was killed goes on; a checkpoint that cannot be used costs nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from defect_workflows.documents.potential import CommitteeMember
from defect_workflows.mlip.checkpoint import Checkpoint
from defect_workflows.mlip.load import load_model

from . import killed_script

STATE = {"weights": torch.arange(4.0), "epoch": 3}


def test_a_training_killed_at_every_epoch_gives_the_same_model(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, killed_script.__file__, str(tmp_path)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    peaceful, killed = (
        CommitteeMember.model_validate_json((tmp_path / f"{name}.json").read_text())
        for name in ("peaceful", "killed")
    )
    assert len(list(tmp_path.glob("death*"))) > killed.epochs
    assert (killed.epochs, killed.best_epoch) == (peaceful.epochs, peaceful.best_epoch)
    cpu = torch.device("cpu")
    models = [load_model(member, cpu) for member in (peaceful, killed)]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    # finished: neither checkpoint nor what dying while writing left behind
    assert not list(tmp_path.glob("*.pt*"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    saved = Checkpoint(tmp_path / "deep" / "a.pt", "a training", interval=0.0)
    saved.save(lambda: STATE)
    return saved


def test_what_was_saved_is_loaded(checkpoint: Checkpoint) -> None:
    state = checkpoint.load()
    assert state is not None
    assert state["epoch"] == 3
    assert torch.equal(state["weights"], STATE["weights"])
    checkpoint.remove()
    assert checkpoint.load() is None
    assert not list(checkpoint.path.parent.iterdir())


def test_it_is_written_only_when_it_is_time(tmp_path: Path) -> None:
    seldom = Checkpoint(tmp_path / "a.pt", "a training", interval=3600.0)
    seldom.save(lambda: pytest.fail("asked for the state"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 10, 700])
def test_a_truncated_file_is_ignored(
    checkpoint: Checkpoint, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:size])
    assert checkpoint.load() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "\n" not in caplog.text.strip()


def test_that_of_another_training_or_version_is_ignored(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Checkpoint(checkpoint.path, "another").load() is None
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.0")
    assert checkpoint.load() is None
    assert caplog.text.count("ignored") == 2


def test_nothing_in_the_file_is_executed(checkpoint: Checkpoint) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("the file was unpickled",))

    torch.save({"identity": checkpoint._identity(), "state": Bomb()}, checkpoint.path)
    assert checkpoint.load() is None


def test_a_folder_that_cannot_be_written_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    checkpoint = Checkpoint(tmp_path / "file" / "a.pt", "a training", interval=0.0)
    checkpoint.save(lambda: STATE)
    assert "not written" in caplog.text
    assert checkpoint.load() is None
    checkpoint.remove()
