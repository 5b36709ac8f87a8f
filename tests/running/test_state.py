"""Damaged files of a work folder: one line that says what to do, and doing it helps."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import toy_jobs

from defect_workflows.campaign import Campaign
from defect_workflows.errors import InputError, MachineError, StoreNotWritableError
from defect_workflows.running.local import run_flow
from defect_workflows.running.sqlite import SQLiteStore
from defect_workflows.running.state import job_records, run_state, status
from defect_workflows.running.stores import embedded_store
from defect_workflows.running.workdir import RECORD, claim, refuse_other


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
    run_flow(
        toy_jobs.squares_flow(2, str(workdir / "log")), embedded_store(workdir), workdir, workers=1
    )
    for name in ("state", "store"):  # all of it in the file itself
        with sqlite3.connect(workdir / f"{name}.sqlite") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return workdir


@pytest.fixture
def workdir(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "w")
    return tmp_path / "w"


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "other":
        data = bytearray(b"no database " * 2000)
    elif how == "cut":
        del data[len(data) // 2 :]
    else:
        for place in range(120, len(data), 61):
            data[place] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["other", "cut", "flipped"])
def test_a_damaged_state_can_be_deleted(workdir, how):
    damage(workdir / "state.sqlite", how)
    for look in (job_records, status, lambda folder: run_state(folder).__enter__()):
        with pytest.raises(InputError, match=r"delete state\.sqlite") as raised:
            look(workdir)
        assert "\n" not in str(raised.value)
    for path in workdir.glob("state.sqlite*"):
        path.unlink()
    flow = toy_jobs.squares_flow(2, str(workdir / "log"))
    result = run_flow(flow, embedded_store(workdir), workdir, workers=1)
    assert sum(job.state == "reused" for job in result.jobs) == 2  # nothing was lost


def test_values_that_no_job_can_have(workdir):
    with sqlite3.connect(workdir / "state.sqlite") as connection:
        connection.execute("UPDATE jobs SET state = 'dome'")
    with pytest.raises(InputError, match=r"delete state\.sqlite"):
        job_records(workdir)


@pytest.mark.parametrize("content", [b"", None])
def test_a_run_that_was_killed_before_it_wrote(tmp_path, content):
    path = tmp_path / "state.sqlite"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    else:
        path.write_bytes(content)
    assert status(tmp_path) == []


def read_all(workdir: Path) -> None:
    store = embedded_store(workdir)
    store.connect()
    list(store.query({}))
    store.count()


@pytest.mark.parametrize("how", ["other", "cut"])
def test_a_damaged_store_is_named_when_it_is_read(workdir, how):
    damage(workdir / "store.sqlite", how)
    with pytest.raises(StoreNotWritableError, match=r"is damaged .*move it away") as raised:
        read_all(workdir)
    assert "\n" not in str(raised.value)
    assert str(workdir / "store.sqlite") in str(raised.value)


def test_a_full_disk_is_no_bad_input(tmp_path):
    store = SQLiteStore(str(tmp_path / "s.sqlite"))
    store.connect()
    store.update({"uuid": "first", "text": "x" * 10000})
    connection = store._collection
    connection.execute("PRAGMA max_page_count = 1")  # as full as it is
    with pytest.raises(MachineError, match=r"full: once that is mended, the same command goes on"):
        store.update([{"uuid": str(i), "text": "y" * 10000} for i in range(9)])
    connection.execute("PRAGMA max_page_count = 100000")
    assert store.count() == 1  # nothing half-written
    store.update({"uuid": "second"})
    assert store.count() == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"host": ', "\udcff", "[" * 100000])
def test_a_damaged_record_of_the_campaign(tmp_path, repository, text):
    campaign = Campaign.from_file(repository / "flows/MgO_v_O/campaign.yaml")
    claim(tmp_path, campaign, rehearsal=True)
    record = tmp_path / RECORD
    record.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="delete the file, nothing is lost") as raised:
        refuse_other(tmp_path, campaign, rehearsal=True)
    assert str(record) in str(raised.value)
    record.unlink()
    claim(tmp_path, campaign, rehearsal=True)
    assert json.loads(record.read_text())["rehearsal"] is True


def test_a_job_without_room_for_its_folder_fails_alone(tmp_path):
    (tmp_path / "w" / "jobs").mkdir(parents=True)
    (tmp_path / "w" / "jobs" / "label").write_text("in the way")
    flow = toy_jobs.squares_flow(1, str(tmp_path / "log"))
    result = run_flow(flow, embedded_store(tmp_path / "w"), tmp_path / "w", workers=1)
    assert "Error: [Errno " in result.failed[0].error
    assert "label" in result.failed[0].error
