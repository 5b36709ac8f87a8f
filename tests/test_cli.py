"""Bad input is one line on stderr and an exit status; never a traceback."""

import json

import pytest
from campaigns import command, write_campaign

from defect_workflows.campaign import Campaign


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
    assert "ok   tblite" in done.stdout or "tblite" in done.stdout
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
