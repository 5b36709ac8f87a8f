"""The VASP command as a shell reads it, and what becomes of a run that hangs."""

import shlex
import sys
from pathlib import Path

import pytest
from jobflow import CURRENT_JOB, JobStore, run_locally
from maggma.stores import MemoryStore

from defect_workflows.campaign import DftSettings
from defect_workflows.charge import with_charge
from defect_workflows.dft import jobs
from defect_workflows.dft.jobs import LEAST_PATIENCE, TIMES_LONGEST, TOOK, SinglePointMaker
from defect_workflows.dft.run import vasp_command
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label, RefusedLabel
from defect_workflows.errors import CampaignError, InputError
from defect_workflows.settings import Settings

SETTINGS = DftSettings(spin=False, encut=400)


def program(folder: Path, name: str, content: str = "exit 0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{content}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["a b", "it's", 'say "x"', "§ü", "a;b", "-x"])
def test_a_quoted_path(tmp_path, name):
    path = str(program(tmp_path / name, "vasp std"))
    command = f"{shlex.quote(path)} --option 'two words'"
    assert vasp_command(Settings(vasp_command=command)) == [path, "--option", "two words"]


def test_variables_are_replaced(tmp_path, monkeypatch):
    path = program(tmp_path / "x y", "vasp")
    monkeypatch.setenv("WHERE_VASP_IS", str(tmp_path))
    found = vasp_command(Settings(vasp_command="'$WHERE_VASP_IS/x y/vasp'"))
    assert found == [str(path)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (None, "found nothing"),
        ("  ", "found nothing"),
        ("'unbalanced", "No closing quotation"),
        ("/no such/vasp -x", "found '/no', which is no program"),
        ("no_vasp", "found 'no_vasp', which is no program on this machine"),
    ],
)
@pytest.mark.parametrize("gamma", [False, True])
def test_no_command(command, expected, gamma):
    settings = Settings(vasp_command="true" if gamma and command else command)
    if gamma and command and command.strip():
        settings.vasp_gamma_command = command
    elif gamma:
        settings.vasp_command = command
    with pytest.raises(InputError, match=r"DEFECT_WORKFLOWS_VASP_(GAMMA_)?COMMAND") as raised:
        vasp_command(settings, gamma=gamma)
    assert expected in str(raised.value)


@pytest.fixture
def configuration(mgo):
    charged = with_charge(mgo, 0)
    origin = Origin(state="bulk", family="MgO/pristine", kind="rattle")
    return ChargedConfiguration.of(charged, origin)


@pytest.fixture
def store():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def run(job, store, tmp_path):
    found = run_locally(job, store=store, create_folders=True, root_dir=tmp_path, log=False)
    return next(iter(found[job.uuid].values())).output


def test_a_program_and_a_folder_with_spaces(rehearsal, configuration, store, tmp_path):
    content = f'exec {shlex.quote(sys.executable)} -m defect_workflows.rehearsal.mock_vasp "$@"'
    path = program(tmp_path / "my codes", "vasp std", content)
    folder = tmp_path / "my runs"
    folder.mkdir()
    for name in ("VASP_COMMAND", "VASP_GAMMA_COMMAND"):
        rehearsal.setenv(f"DEFECT_WORKFLOWS_{name}", shlex.quote(str(path)))
    assert isinstance(
        run(SinglePointMaker(settings=SETTINGS).make(configuration), store, folder), Label
    )


def test_one_hang_costs_nothing(rehearsal, configuration, store, tmp_path):
    rehearsal.setenv("MOCK_VASP_FAULT", "hang@1")
    rehearsal.setenv("MOCK_VASP_FAULT_COUNTER", str(tmp_path / "calls"))
    rehearsal.setenv("DEFECT_WORKFLOWS_VASP_TIMEOUT", "15")
    found = run(SinglePointMaker(settings=SETTINGS).make(configuration), store, tmp_path)
    assert isinstance(found, Label)
    assert found.corrections == []  # the same calculation, from the same input
    assert (tmp_path / "calls").read_text() == "2"


def test_a_second_hang_is_refused_with_what_it_was(rehearsal, configuration, store, tmp_path):
    rehearsal.setenv("MOCK_VASP_FAULT", "hang")
    rehearsal.setenv("DEFECT_WORKFLOWS_VASP_TIMEOUT", "2")
    found = run(SinglePointMaker(settings=SETTINGS).make(configuration), store, tmp_path)
    assert isinstance(found, RefusedLabel)
    assert found.reason == "custodian gave up: VASP wrote nothing for 2 s, in 2 runs"


def test_patience_follows_from_what_such_points_took(monkeypatch, store):
    store.connect()
    monkeypatch.setattr(CURRENT_JOB, "store", store)
    assert jobs.patience("mine") is None
    for number, (kind, seconds) in enumerate([("mine", 400.0), ("mine", 900.0), ("other", 9e9)]):
        took = {TOOK: {"kind": kind, "seconds": seconds}}
        record = {"uuid": str(number), "index": 1, "metadata": took, "output": 0}
        store.update(record, key=["uuid", "index"])
    assert jobs.patience("mine") == TIMES_LONGEST * 900.0
    store.remove_docs({"uuid": "1"})
    monkeypatch.setattr(jobs, "LEAST_PATIENCE", 1e6)
    assert jobs.patience("mine") == 1e6 > LEAST_PATIENCE


def test_the_next_point_knows_what_the_first_took(rehearsal, configuration, store, tmp_path):
    given = []
    original = jobs.run_single_point

    def noted(structure, inputs, settings, prev_dir, patience):
        given.append(patience)
        original(structure, inputs, settings, prev_dir, patience)

    rehearsal.setattr(jobs, "run_single_point", noted)
    rehearsal.setattr(jobs, "LEAST_PATIENCE", 0.001)
    rehearsal.setattr(jobs, "TIMES_LONGEST", 1000)
    moved = with_charge(configuration.structure, 1)  # the same atoms: the same kind
    other = ChargedConfiguration.of(moved, configuration.origin)
    first, _ = (
        run(SinglePointMaker(settings=SETTINGS).make(one), store, tmp_path)
        for one in (configuration, other)
    )
    assert given == [None, pytest.approx(1000 * first.seconds)]


def test_a_failure_names_state_and_calculation(rehearsal, configuration, store, tmp_path):
    def broken(*arguments):
        raise OSError(28, "No space left on device")

    rehearsal.setattr(jobs, "run_single_point", broken)
    maker = SinglePointMaker(settings=SETTINGS, fidelity="hse06")
    with pytest.raises(
        CampaignError, match=r"^hse06 of bulk \(MgO/pristine\): OSError: .*No space"
    ):
        maker.make.original(maker, configuration)
