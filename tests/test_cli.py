"""Bad input is one line on stderr and an exit status; never a traceback."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pymongo.errors
import pytest
from campaigns import command, write_campaign

from defect_workflows import cli
from defect_workflows.campaign import Campaign
from defect_workflows.errors import InputError


def refused(done, *expected):
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for text in expected:
        assert text in lines[0]


def test_init_writes_a_campaign_that_can_be_read(tmp_path, repository):
    host = repository / "flows/MgO_v_O/MgO.vasp"
    output = tmp_path / "deep" / "campaign.yaml"
    output.parent.mkdir()
    done = command("init", host, "-o", output)
    assert done.returncode == 0, done.stderr
    # nobody but the user knows the dielectric constant
    refused(command("plan", output), f"{output}: levels.dielectric: found nothing, expected")
    output.write_text(output.read_text().replace("  dielectric:\n", "  dielectric: 9.8\n"))
    assert Campaign.from_file(output).host_structure().composition.reduced_formula == "MgO"
    refused(command("init", host, "-o", output), "exists already")


def test_plan_counts(tmp_path, repository):
    campaign = write_campaign(tmp_path, repository)
    done = command("plan", campaign, "--json", tmp_path / "plan.json")
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["atoms"] == 16
    assert plan["states"] == ["v_O_+2", "v_O_+1", "v_O_0"]
    assert plan["steps"][1]["pbe"] == 3 * 6 + 3
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("host: MgO.vasp", "host: none.vasp"), "none.vasp: host: no such file"),
        (("sampling:", "samplings:"), "samplings: unknown key, did you mean 'sampling'?"),
        (("v_O, charges: [0, 1, 2]", "v_O, charges: [0.5]"), "found 0.5, expected an integer"),
        (("name: v_O", "name: v_X"), "found 'v_X', expected one of"),
        (("min_atoms: 10", "min_atoms: 40"), "found 16 atoms, expected 40"),
    ],
)
def test_bad_campaigns(tmp_path, repository, change, expected):
    campaign = write_campaign(tmp_path, repository)
    campaign.write_text(campaign.read_text().replace(*change))
    done = command("plan", campaign)
    refused(done, expected)


def test_no_vasp_command(tmp_path, repository):
    campaign = write_campaign(tmp_path, repository)
    done = command(
        "run", campaign, "--workdir", tmp_path / "work", DEFECT_WORKFLOWS_VASP_COMMAND=""
    )
    refused(done, "DEFECT_WORKFLOWS_VASP_COMMAND")
    done = command(
        "run", campaign, "--workdir", tmp_path / "work", DEFECT_WORKFLOWS_VASP_COMMAND="no_vasp"
    )
    refused(done, "no_vasp", "no program on this machine")
    assert not (tmp_path / "work").exists()


def test_no_potcars(tmp_path, repository):
    campaign = write_campaign(tmp_path, repository)
    done = command(
        "run",
        campaign,
        "--workdir",
        tmp_path / "work",
        DEFECT_WORKFLOWS_VASP_COMMAND="true",
        DEFECT_WORKFLOWS_POTCAR_DIRECTORY=str(tmp_path / "nothing"),
    )
    refused(done, "nothing", "POTCAR")


def test_a_work_folder_that_cannot_be_made(tmp_path, repository):
    campaign = write_campaign(tmp_path, repository)
    (tmp_path / "work").write_text("a file")
    done = command("run", campaign, "--workdir", tmp_path / "work", "--rehearse")
    refused(done, "work")


def test_doctor_names_every_mend(tmp_path):
    done = command("doctor", DEFECT_WORKFLOWS_VASP_COMMAND="no_vasp")
    assert done.returncode == 1
    assert "mend VASP command" in done.stdout
    assert f"ok   rehearsal: tblite {version('tblite')}" in done.stdout.splitlines()
    settings = tmp_path / "settings.yaml"
    settings.write_text("workers: many\n")
    done = command("doctor", DEFECT_WORKFLOWS_SETTINGS=str(settings))
    assert "settings.yaml" in done.stdout
    assert "'many'" in done.stdout


def test_every_command_warns_of_a_store_file_that_others_can_read(tmp_path, repository):
    store = tmp_path / "store.yaml"
    store.write_text("docs_store: {type: MemoryStore}\n")
    campaign = write_campaign(tmp_path, repository)
    commands = (
        ("plan", campaign), ("status", tmp_path), ("report", tmp_path),
        ("levels", tmp_path, "--out", tmp_path / "out"), ("doctor",),
    )  # fmt: skip
    for mode in (0o644, 0o620, 0o602, 0o600, 0o400):
        store.chmod(mode)
        for arguments in commands if mode == 0o644 else commands[:1]:
            done = command(*arguments, DEFECT_WORKFLOWS_STORE=str(store))
            warned = [line for line in done.stderr.splitlines() if "chmod 600" in line]
            assert len(warned) == (mode not in (0o600, 0o400)), (arguments, done.stderr)
            assert all(str(store) in line for line in warned)


def test_placeholder_potcars(tmp_path):
    done = command("rehearsal", "potcars", tmp_path / "potcars")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "potcars").rglob("POTCAR*"))
    refused(command("rehearsal", "potcars", tmp_path, "--functional", "nonsense"), "nonsense")


def test_status_and_report_of_no_campaign(tmp_path):
    refused(command("status", tmp_path), "holds no campaign")
    refused(command("report", tmp_path), "holds no finished campaign")


def interrupted(arguments, number, times=1):
    """Run a command that waits, send it a signal so many times, and return it when it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "defect_workflows.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a shell hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with Path(arguments[1]).open("w"):  # returns when the command reads there
        for _ in range(times):
            process.send_signal(number)
        output = process.communicate(timeout=60)
    return process.returncode, *output


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_line(tmp_path, number, times):
    if number == signal.SIGTERM and times > 1:
        return  # asked twice, it ends as any program does
    os.mkfifo(tmp_path / "campaign.yaml")
    ended = interrupted(["plan", tmp_path / "campaign.yaml"], number, times)
    assert ended == (1, "", "interrupted; the same command again resumes\n")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), "No space left on device: once that is mended"),
        (OSError(30, "Read-only file system", "/x"), "/x: Read-only file system"),
        (MemoryError(), "memory of this machine is full"),
        (pymongo.errors.AutoReconnect("h:1: closed, Timeout: 30s, Top"), "AutoReconnect (h:1: "),
    ],
)
def test_faults_of_the_machine_are_one_line(monkeypatch, capsys, error, expected):
    def fail(**options):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["defect-workflows", "status", "x"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    printed = capsys.readouterr()
    assert (raised.value.code, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert expected in printed.err


def test_an_error_of_this_program_keeps_its_traceback(monkeypatch):
    def fail(**options):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    path.write_text("before")

    def full(self, text):
        self.open("w").write(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match=r"plan\.json: cannot be written \(No space left"):
        cli._write_file(path, "after")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("plan.json", "before")]
