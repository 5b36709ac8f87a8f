import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import toy_jobs
import yaml
from bson import json_util
from fireworks.core import launchpad
from jobflow import Flow

from defect_workflows.errors import InputError
from defect_workflows.running import fireworks
from defect_workflows.running.fireworks import open_launchpad, status, submit
from defect_workflows.running.local import run_flow
from defect_workflows.running.stores import embedded_store, ensure_writable

pytestmark = pytest.mark.integration


def test_two_workers_one_database(fireworks_site, tmp_path: Path) -> None:
    """The same flow through FireWorks, rockets in two folders, and here."""
    log = str(tmp_path / "log")
    flow = toy_jobs.squares_flow(4, log, 0.2)
    broken = toy_jobs.fail()
    after = toy_jobs.add(broken.output, 1)
    # two workers are at work at once, however late one of them starts
    both = [toy_jobs.meet(str(tmp_path / "meeting"), name, 2) for name in ("first", "second")]
    site = fireworks_site
    metadata = {"campaign": "toy"}
    whole = Flow([flow, broken, after, *both])
    ids = submit(whole, site.launchpad, category="toy", metadata=metadata)
    assert len(ids) == 6
    waiting = {stage.stage: stage.waiting for stage in status(site.launchpad, metadata)}
    assert waiting == {"label": 1, "levels": 1, "fail": 1, "add": 1, "meet": 2}
    assert status(site.launchpad, {"campaign": "another"}) == []

    site.run_rockets([tmp_path / "one", tmp_path / "two"], python_path=[Path(__file__).parent])
    stages = {stage.stage: stage for stage in status(site.launchpad)}
    assert (stages["label"].done, stages["levels"].done) == (6, 1)
    assert (stages["fail"].failed, stages["add"].waiting, stages["meet"].done) == (1, 1, 2)
    for folder in ("one", "two"):
        assert list((tmp_path / folder).glob("launcher_*")), f"no rocket flew from {folder}"

    here = toy_jobs.squares_flow(4, str(tmp_path / "log here"))
    store = embedded_store(tmp_path / "here")
    assert run_flow(here, store, tmp_path / "here").complete
    results = [
        [d["output"] for d in s.query({"name": "square"}, sort={"output.value": 1}, load=True)]
        for s in (site.store, store)
    ]
    assert results[0] == results[1]
    assert site.store.get_output(flow.jobs[1].uuid) == store.get_output(here.jobs[1].uuid) == 14

    # again, on the database: nothing is executed twice
    again = toy_jobs.squares_flow(4, log)
    submit(again, site.launchpad)
    site.run_rockets([tmp_path / "three"], python_path=[Path(__file__).parent])
    assert site.store.get_output(again.jobs[1].uuid) == 14
    assert sorted(Path(log).read_text().split()) == ["0", "1", "2", "3"]
    assert site.store.count({"metadata.reused_from": {"$exists": True}}) == 4

    # and here on that database, by two workers
    final = toy_jobs.squares_flow(4, log)
    assert run_flow(final, site.store, tmp_path / "final").complete
    assert sorted(Path(log).read_text().split()) == ["0", "1", "2", "3"]

    assert_no_password(site, tmp_path)


def assert_no_password(site, folder: Path) -> None:
    database = site.launchpad.db
    for name in database.list_collection_names():
        for document in database[name].find():
            assert site.password not in json.dumps(document, default=json_util.default), name
    files = [p for p in folder.rglob("*") if p.is_file() and site.folder not in p.parents]
    assert len(files) > 10
    for file in files:
        assert site.password.encode() not in file.read_bytes(), file


def test_mongo_store_is_writable(fireworks_site) -> None:
    ensure_writable(fireworks_site.store)
    assert fireworks_site.store.count() == 0


def test_no_vasp_outlives_its_rocket(fireworks_site, tmp_path: Path, repository: Path) -> None:
    heard = tmp_path / "heard"
    heard.mkdir()
    program = repository / "tests/dft/fake_vasp.py"
    submit(toy_jobs.start_vasp(str(program), str(heard)), fireworks_site.launchpad)
    folder = fireworks_site.folder
    environment = {
        **os.environ,
        "JOBFLOW_CONFIG_FILE": str(folder / "jobflow.yaml"),
        "PYTHONPATH": os.pathsep.join([str(repository), str(Path(__file__).parent)]),
    }
    rlaunch = Path(sys.executable).parent / "rlaunch"
    command = [str(rlaunch), "-l", str(folder / "my_launchpad.yaml"), "singleshot"]
    rocket = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len([path for path in heard.iterdir() if path.read_text()]) < 4:
        assert time.monotonic() < deadline
        assert rocket.poll() is None
        time.sleep(0.1)
    found = [psutil.Process(int(path.read_text())) for path in heard.iterdir()]
    rocket.kill()
    rocket.wait()
    _, alive = psutil.wait_procs(found, timeout=20)
    assert not alive


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"name": "never_reset", "username": None, "password": None}, "'lpad reset' once"),
        ({"password": "wr0ng"}, "OperationFailure (Authentication failed.)"),
        ({"port": 1}, "found ServerSelectionTimeoutError (127.0.0.1:1: "),
        ("[1, 2\npassword: wr0ng", "expected a file as 'lpad init' writes it"),
        ("wr0ng", "expected a file as 'lpad init' writes it"),
    ],
)
def test_a_launchpad_that_cannot_be_used(fireworks_site, monkeypatch, change, expected) -> None:
    path = fireworks_site.folder / "my_launchpad.yaml"
    if isinstance(change, str):
        path.write_text(change)
    else:
        content = yaml.safe_load(path.read_text()) | change
        content["mongoclient_kwargs"] = {"serverSelectionTimeoutMS": 200}
        path.write_text(yaml.safe_dump(content))
    for module in (fireworks, launchpad):
        monkeypatch.setattr(module, "LAUNCHPAD_LOC", str(path))
    if expected is None:
        assert open_launchpad().name == fireworks_site.launchpad.name
        return
    with pytest.raises(InputError) as raised:
        open_launchpad()
    message = str(raised.value)
    assert expected in message
    assert str(path) in message
    assert not any(secret in message for secret in ("wr0ng", fireworks_site.password, "\n"))
    assert len(message) < 400
