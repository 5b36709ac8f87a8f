"""What a person gets from a rehearsal, and what a cluster gets from its graph."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from ase.io import read
from campaigns import command, write_campaign
from doped.thermodynamics import DefectThermodynamics
from monty.json import MontyDecoder
from monty.serialization import loadfn

from defect_workflows.campaign import Campaign
from defect_workflows.charge import charge_of_atoms
from defect_workflows.documents.campaign import CampaignResult
from defect_workflows.documents.labels import Label
from defect_workflows.makers.campaign import CampaignMaker
from defect_workflows.running import fireworks
from defect_workflows.running.state import job_records, status
from defect_workflows.running.stores import embedded_store

# the first of them makes the campaign
pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]


def labels_of(store) -> dict[str, Label]:
    documents = store.query({"output.fidelity": {"$exists": True}}, load=True)
    labels = [MontyDecoder().process_decoded(document["output"]) for document in documents]
    return {label.fingerprint: label for label in labels if isinstance(label, Label)}


def test_the_result_folder_is_complete(rehearsal_run):
    names = {path.name for path in rehearsal_run.workdir.iterdir()}
    assert {
        "levels.json",
        "levels.csv",
        "thermodynamics.json",
        "cost.json",
        "dataset.json",
        "dataset.xyz",
        "report.html",
        "figures",
    } <= names
    assert list((rehearsal_run.workdir / "figures").glob("*.png"))


def test_levels_follow_the_contract(rehearsal_run):
    levels = rehearsal_run.levels()
    assert levels["host"] == "MgO"
    assert levels["rehearsal"] is True
    assert {state["charge"] for state in levels["states"]} == {0, 1, 2}
    assert all(state["verified"] for state in levels["states"])
    for state in levels["states"]:
        assert state["correction"]["scheme"] == "eFNV"
        assert (state["correction"]["energy"] == 0) == (state["charge"] == 0)
    assert levels["transition_levels"]
    by_charge = {state["charge"]: state["formation_energy"] for state in levels["states"]}
    for level in levels["transition_levels"]:
        upper, lower = level["charges"]
        expected = (by_charge[lower] - by_charge[upper]) / (upper - lower)
        assert level["energy"] == pytest.approx(expected, abs=1e-6)
        assert level["energy_mlip"] is not None


def test_thermodynamics_load_in_doped(rehearsal_run):
    thermodynamics = loadfn(rehearsal_run.workdir / "thermodynamics.json")
    assert isinstance(thermodynamics, DefectThermodynamics)
    assert len(thermodynamics.defect_entries) == 3


def test_every_label_says_its_charge_and_fidelity(rehearsal_run):
    labels = labels_of(rehearsal_run.store()).values()
    assert {label.fidelity for label in labels} == {"pbe", "hse06"}
    assert {label.charge for label in labels} == {0, 1, 2}
    for label in labels:
        composition = label.configuration.structure.composition
        electrons = 2 * composition["Mg"] + 6 * composition["O"] - label.charge
        assert label.nelect == electrons
        assert label.rehearsal


def test_the_cost_counts_what_ran(rehearsal_run):
    cost = json.loads((rehearsal_run.workdir / "cost.json").read_text())
    labels = labels_of(rehearsal_run.store()).values()
    counted = {item["fidelity"]: item["labels"] for item in cost["single_points"]}
    for fidelity in ("pbe", "hse06"):
        ran = {label.fingerprint for label in labels if label.fidelity == fidelity}
        assert counted[fidelity] == len(ran)
    assert cost["rehearsal"] is True
    stages = {stage["stage"] for stage in cost["stages"]}
    assert {"defects", "host", "sample", "label", "train", "search", "verify", "levels"} <= stages


def test_the_data_set_holds_every_label_once(rehearsal_run):
    dataset = json.loads((rehearsal_run.workdir / "dataset.json").read_text())
    frames = read(rehearsal_run.workdir / "dataset.xyz", ":")
    labels = labels_of(rehearsal_run.store()).values()
    ran = {(label.configuration.id, label.fidelity) for label in labels}
    refused = {(item["id"], item["fidelity"]) for item in dataset["refused"]}
    assert {(item["id"], item["fidelity"]) for item in dataset["labels"]} == ran - refused
    assert [frame.info["id"] for frame in frames] == [item["id"] for item in dataset["labels"]]
    assert {charge_of_atoms(frame) for frame in frames} == {0, 1, 2}
    splits = {frame.info["split"] for frame in frames}
    assert {"train", "valid", "test"} <= splits
    assert dataset["rehearsal"]


def test_two_rounds_were_made_and_said_why(rehearsal_run):
    page = (rehearsal_run.workdir / "report.html").read_text()
    assert 'class="rehearsal">REHEARSAL: the stand-in for VASP made every number' in page
    assert re.search("Round 0, not met: [^<]*levels: no earlier round to compare with", page)
    assert "At most it was" in page
    cost = json.loads((rehearsal_run.workdir / "cost.json").read_text())
    assert cost["rounds"] == 2
    assert ("Round 1, not met:" in page) is not cost["converged"]


def test_the_next_round_learns_from_the_refinement_of_the_last(rehearsal_run):
    store = rehearsal_run.store()
    learnt, potentials = ([] for _ in range(2))
    for name, found in (("collect_verified", learnt), ("make_potential", potentials)):
        for entry in store.query({"name": name}, sort={"completed_at": 1}):
            output = store.get_output(entry["uuid"], which=entry["index"], load=True)
            found.append(MontyDecoder().process_decoded(output))
    labels = learnt[0].labels
    per_family = Counter(
        label.configuration.origin.family
        for label in labels
        if label.fidelity == "hse06" and label.configuration.origin.kind == "search"
    )
    assert max(per_family.values()) > 1  # a candidate and where its refinement went
    assert potentials[1].training_labels > potentials[0].training_labels


def test_status_of_a_finished_run(rehearsal_run):
    for stage in status(rehearsal_run.workdir):
        assert stage.failed == stage.waiting == stage.running == stage.interrupted == 0
        assert stage.done > 0
    shown = command("status", rehearsal_run.workdir)
    assert shown.returncode == 0
    assert "search" in shown.stdout


def test_running_again_shows_what_is_there(rehearsal_run):
    before, jobs = rehearsal_run.levels(), job_records(rehearsal_run.workdir)
    (rehearsal_run.workdir / "levels.csv").unlink()
    done = command("run", rehearsal_run.campaign, "--workdir", rehearsal_run.workdir, "--rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished before" in done.stdout
    cost = json.loads((rehearsal_run.workdir / "cost.json").read_text())
    assert ("rounds_not_converged" in done.stdout) is not cost["converged"]
    assert job_records(rehearsal_run.workdir) == jobs  # still the run that did the work
    assert rehearsal_run.levels() == before
    assert (rehearsal_run.workdir / "levels.csv").is_file()


def test_other_settings_of_the_levels_compute_nothing_else_again(rehearsal_run):
    before, text = rehearsal_run.levels(), rehearsal_run.campaign.read_text()
    expensive = ("single point", "train", "search", "propose")
    cost = json.loads((rehearsal_run.workdir / "cost.json").read_text())
    # what was refused is no result: it is tried again
    refused = sum(count["refused"] for count in cost["single_points"])
    for changed in (text.replace("dielectric: 9.8", "dielectric: 10.8"), text):
        rehearsal_run.campaign.write_text(changed)
        done = command(
            "run", rehearsal_run.campaign, "--workdir", rehearsal_run.workdir, "--rehearse",
            MOCK_VASP_FAULT="crash",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        records = job_records(rehearsal_run.workdir)
        again = [r for r in records if any(word in r.name.lower() for word in expensive)]
        assert again
        tried_again = [record for record in again if record.state != "reused"]
        outputs = [
            rehearsal_run.store().get_output(record.uuid, record.job_index, load=True)
            for record in tried_again
        ]
        assert [output["@class"] for output in outputs] == ["RefusedLabel"] * len(outputs)
        # HSE06 where PBE is refused is no calculation, which cost.json counts
        assert sum(output["directory"] is not None for output in outputs) == refused
        assert (rehearsal_run.levels() == before) == (changed == text)


def test_report_again(rehearsal_run):
    (rehearsal_run.workdir / "levels.csv").unlink()
    done = command("report", rehearsal_run.workdir)
    assert done.returncode == 0, done.stderr
    assert (rehearsal_run.workdir / "levels.csv").is_file()


def test_another_campaign_in_the_same_folder_is_refused(rehearsal_run, tmp_path, repository):
    text = rehearsal_run.campaign.read_text().replace("per_state: 6", "per_state: 7")
    other = write_campaign(tmp_path, repository, text)
    done = command("run", other, "--workdir", rehearsal_run.workdir, "--rehearse")
    assert done.returncode == 2
    assert "sampling.per_state: found 6, expected 7" in done.stderr


def test_a_killed_campaign_resumes(rehearsal_run, tmp_path, repository):
    """kill -9 while single points run: they are in the store, and the campaign goes on."""
    text = rehearsal_run.campaign.read_text().replace("max_rounds: 2", "max_rounds: 1")
    campaign = write_campaign(tmp_path, repository, text)
    workdir = tmp_path / "work"
    arguments = ["run", str(campaign), "--workdir", str(workdir), "--rehearse"]
    process = subprocess.Popen(
        [sys.executable, "-m", "defect_workflows.cli", *arguments], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        records = job_records(workdir) if workdir.is_dir() else []
        labels = [r for r in records if "single point" in r.name and r.state == "done"]
        if len(labels) >= 6:
            break
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(labels) >= 6
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    records = job_records(workdir)
    reused = [r for r in records if "single point" in r.name and r.state == "reused"]
    assert len(reused) >= len(labels)
    # both sampled alike, one of them without interruption: every label is there, and the same
    through = labels_of(rehearsal_run.store())
    store = embedded_store(workdir)
    store.connect()
    resumed = labels_of(store)
    sampled = {key for key, label in through.items() if label.configuration.origin.kind != "search"}
    assert len(sampled) >= 3 * 6 + 3
    assert sampled <= resumed.keys()
    for key in sampled:
        assert resumed[key].energy == pytest.approx(through[key].energy, abs=1e-6)
    levels = json.loads((workdir / "levels.json").read_text())
    assert {state["charge"] for state in levels["states"]} == {0, 1, 2}


@pytest.mark.integration
@pytest.mark.timeout(1500, func_only=True)  # the rehearsal that it compares with has its own
def test_a_campaign_by_rockets_in_two_folders(
    rehearsal, rehearsal_run, fireworks_site, tmp_path, repository
):
    """Two charge states of the rehearsal, on MongoDB: its labels are those of the local run."""
    text = rehearsal_run.campaign.read_text()
    for old, new in (
        ("[0, 1, 2]", "[0, 2]"),
        ("max_rounds: 2", "max_rounds: 1"),
        ("max_refinements: 2", "max_refinements: 1"),
        ("epochs: 26", "epochs: 5"),
    ):
        assert old in text
        text = text.replace(old, new)
    campaign = Campaign.from_file(write_campaign(tmp_path, repository, text))
    flow = CampaignMaker.from_campaign(campaign).make()
    fireworks.submit(flow, fireworks_site.launchpad, metadata={"campaign": "MgO"})
    fireworks_site.run_rockets([tmp_path / "one", tmp_path / "two"], timeout=1200)

    stages = {stage.stage: stage for stage in fireworks.status(fireworks_site.launchpad)}
    assert sum(stage.failed for stage in stages.values()) == 0
    assert {"label", "train", "search", "verify", "refine", "levels"} <= set(stages)
    for folder in ("one", "two"):
        assert list((tmp_path / folder).glob("launcher_*")), f"no rocket flew from {folder}"

    here, there = labels_of(rehearsal_run.store()), labels_of(fireworks_site.store)
    common = here.keys() & there.keys()
    sampled = [key for key in common if here[key].configuration.origin.kind != "search"]
    assert len(sampled) >= 2 * 6 + 3 + 2
    for key in common:
        assert there[key].energy == pytest.approx(here[key].energy, abs=1e-5)
        assert there[key].charge == here[key].charge

    result = MontyDecoder().process_decoded(flow.output.resolve(fireworks_site.store))
    assert isinstance(result, CampaignResult)
    assert {state.charge for state in result.levels.levels.states} == {0, 2}
    written = json.dumps(result.model_dump(mode="json"), default=str)
    assert fireworks_site.password not in written
