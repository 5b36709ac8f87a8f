"""The files of the image and its services; docker/build_without_daemon.sh builds the image."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fireworks import FWorker, LaunchPad
from jobflow import JobStore
from maggma.stores import MongoStore

from defect_workflows.campaign import Campaign
from defect_workflows.rehearsal.environment import rehearsal_environment
from defect_workflows.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"
KINDS = {"vasp", "gpu", "light"}
LOGIN = {"MONGO_HOST": "mongodb", "MONGO_DATABASE": "results", "MONGO_USER": "worker"}


def compose(name: str = "compose.yaml") -> dict:
    return yaml.safe_load((DOCKER / name).read_text())


def variables(name: str) -> dict[str, str]:
    lines = (DOCKER / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def check_schema(path: Path) -> subprocess.CompletedProcess:
    """Compare a file with the schema of compose files that check-jsonschema brings."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*checker, path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_follow_the_schema(name):
    done = check_schema(DOCKER / name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_finds_what_is_wrong(tmp_path):
    wrong = compose()
    wrong["services"]["vasp"]["secrets"] = "mongo_worker"
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(wrong))
    done = check_schema(tmp_path / "compose.yaml")
    assert done.returncode == 1
    assert "'mongo_worker' is not of type 'array'" in done.stdout


def test_a_worker_per_kind_and_every_service_with_what_it_needs():
    services = compose()["services"]
    kinds = {service["environment"].get("WORKER_KIND") for service in services.values()} - {None}
    assert kinds == KINDS
    for kind in KINDS:
        assert services[kind]["command"][:2] == ["rlaunch", "rapidfire"]
    for name, service in services.items():
        assert set(service["secrets"]) <= compose()["secrets"].keys()
        assert set(service.get("depends_on", {})) <= services.keys()
        if name != "mongodb":  # its image leaves root by itself
            assert re.fullmatch(r"\$\{HOST_UID:-[1-9]\d*\}:.*", service["user"])
        secret = [key for key in service["environment"] if "PASSWORD" in key]
        assert all(key.endswith("_FILE") for key in secret)
    assert compose("compose.gpu.yaml")["services"].keys() <= services.keys()


def test_no_package_registry_is_named():
    for path in DOCKER.iterdir():
        if path.is_file():
            assert not re.search(r"https?://|\w\.(io|org|com)/", path.read_text()), path


@pytest.mark.parametrize("name", ["entrypoint.sh", "install.sh", "build_without_daemon.sh"])
def test_scripts_can_be_read_and_run(name):
    shell = (DOCKER / name).read_text().splitlines()[0].split("/")[-1].split()[-1]
    done = subprocess.run([shell, "-n", DOCKER / name], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.access(DOCKER / name, os.X_OK)


@pytest.mark.parametrize("password", ["hunter2", "it's", '"a: {b} #c', "$(id) `id` \\ %s ü"])
def test_the_entrypoint_turns_the_secret_into_files_that_only_its_user_reads(tmp_path, password):
    (tmp_path / "secret").write_text(f"{password}\n")
    config = tmp_path / "config"
    config.mkdir()
    environment = {
        **LOGIN,
        "PATH": os.environ["PATH"],
        "CONFIG_FOLDER": str(config),
        "MONGO_PASSWORD_FILE": str(tmp_path / "secret"),
        "WORKER_KIND": "gpu",
    }
    shown = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [DOCKER / "entrypoint.sh", sys.executable, "-c", shown],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout)
    assert not any(password in value for value in seen.values())
    assert done.stderr == ""
    assert {path.stat().st_mode & 0o777 for path in config.iterdir()} == {0o600}

    launchpad = LaunchPad.from_file(str(config / "my_launchpad.yaml"))
    assert (launchpad.host, launchpad.name, launchpad.username) == ("mongodb", "results", "worker")
    assert (launchpad.password, launchpad.authsource) == (password, "results")
    worker = FWorker.from_file(str(config / "my_fworker.yaml"))
    assert (worker.name, worker.category) == ("gpu", "gpu")
    store = JobStore.from_file(seen["DEFECT_WORKFLOWS_STORE"])
    assert isinstance(store.docs_store, MongoStore)
    for part in (store.docs_store, store.additional_stores["data"]):
        assert (part.host, part.database, part.username) == ("mongodb", "results", "worker")
        assert part.password == password
    settings = yaml.safe_load(Path(seen["JOBFLOW_CONFIG_FILE"]).read_text())
    assert settings == {"JOB_STORE": seen["DEFECT_WORKFLOWS_STORE"]}
    assert yaml.safe_load(Path(seen["FW_CONFIG_FILE"]).read_text()) == {
        "CONFIG_FILE_DIR": str(config)
    }


@pytest.mark.parametrize("missing", [*LOGIN, "secret", "secret: empty, expected a password"])
def test_the_entrypoint_runs_nothing_without_the_whole_login(tmp_path, missing):
    if missing != "secret":
        (tmp_path / "secret").write_text("" if "empty" in missing else "hunter2")
    environment = {name: value for name, value in LOGIN.items() if name != missing}
    environment |= {
        "PATH": os.environ["PATH"],
        "CONFIG_FOLDER": str(tmp_path),
        "MONGO_PASSWORD_FILE": str(tmp_path / "secret"),
    }
    done = subprocess.run(
        [DOCKER / "entrypoint.sh", "echo", "ran"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "ran" not in done.stdout
    assert missing in done.stderr


def test_without_a_database_the_command_runs_as_it_is(tmp_path):
    command = [DOCKER / "entrypoint.sh", "echo", "two words"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "two words\n"


def test_the_machine_of_the_rehearsal_is_that_of_run_rehearse(tmp_path):
    here, there = rehearsal_environment(tmp_path, "PBE_54"), variables("rehearsal.env")
    assert there.keys() == here.keys() - {"MOCK_VASP_FAULT_COUNTER"}
    folders_and_programs = {name for name in there if "DIRECTORY" in name or "COMMAND" in name}
    for name in there.keys() - folders_and_programs:
        assert float(there[name] == "true" or there[name]) == float(
            here[name] == "true" or here[name]
        )
    prefix = Settings.model_config["env_prefix"]
    assert {name.removeprefix(prefix).lower() for name in there} <= Settings.model_fields.keys()


def test_the_tiny_campaign_is_one(repository):
    campaign = Campaign.from_file(repository / "flows/MgO_v_O/tiny.yaml")
    assert [defect.name for defect in campaign.defects.include] == ["v_O"]
