"""What a work folder holds, read again."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from mlip.solid import make_labels
from monty.json import jsanitize

import defect_workflows
from defect_workflows.campaign import Campaign
from defect_workflows.documents.labels import RefusedLabel
from defect_workflows.errors import InputError
from defect_workflows.mlip.audit import make_dataset
from defect_workflows.report.jobs import campaign_fingerprint
from defect_workflows.running import campaign
from defect_workflows.running.state import JobRecord


def test_a_result_of_another_version_is_one_line(tmp_path, monkeypatch):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    old = {
        "@module": "defect_workflows.documents.campaign",
        "@class": "CampaignResult",
        "name": "CdTe",
    }
    store.update({"uuid": "summary", "index": 1, "output": old}, key=["uuid", "index"])
    record = JobRecord(
        uuid="summary", job_index=1, name="summarise", stage="levels", state="done", directory=""
    )
    monkeypatch.setattr(campaign, "job_records", lambda workdir: [record])
    monkeypatch.setattr(campaign, "_store", lambda workdir: store)
    with pytest.raises(InputError, match="of another version of this package") as raised:
        campaign.finished_result(tmp_path)
    assert "\n" not in str(raised.value)


def test_labels_of_a_data_set_are_found_in_the_store(tmp_path, monkeypatch):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    labels = make_labels(geometries=3, bulk=1)
    for number, item in enumerate(labels):
        # a calculation that was refused before it succeeded left the same fingerprint
        before = RefusedLabel(
            fingerprint=item.fingerprint, configuration=item.configuration,
            fidelity=item.fidelity, reason="killed",
        )  # fmt: skip
        for kind, output in (("refused", before), ("label", item)):
            record = {
                "uuid": f"{kind} {number}",
                "index": 1,
                "output": jsanitize(output, strict=True),
            }
            store.update(record, key=["uuid", "index"])
    monkeypatch.setattr(campaign, "_store", lambda workdir: store)
    monkeypatch.setattr(campaign, "LABELS_AT_ONCE", 4)
    for number, damage in ((0, {"energy": "much"}), (1, {"forces": [1]}), (2, {"@module": "os"})):
        # damaged ones beside them hide none
        output = jsanitize(labels[number], strict=True) | damage
        record = {"uuid": f"damaged {number}", "index": 1, "output": output}
        store.update(record, key=["uuid", "index"])
    wanted = labels[:7]
    found = campaign.dataset_labels(tmp_path, make_dataset(wanted, [], {}))
    by_fingerprint = {label.fingerprint: label for label in found}
    assert len(found) == len(wanted)
    assert all(by_fingerprint[label.fingerprint] == label for label in wanted)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("nothing", True),
        ("a job was left to do", False),
        ("another code", False),
        ("finished calculations to read", False),
        ("no result in the store", False),
        ("a damaged label", False),
    ],
)
def test_a_result_counts_only_if_nothing_has_changed(
    tmp_path, monkeypatch, repository, change, found
):
    asked = Campaign.from_file(repository / "flows/MgO_v_O/campaign.yaml")
    labels = [SimpleNamespace(fingerprint=name) for name in "ab"]
    dataset = SimpleNamespace(labels=labels)
    result = SimpleNamespace(fingerprint=campaign_fingerprint(asked), dataset=dataset)
    read = labels[:1] if change == "a damaged label" else labels
    monkeypatch.setattr(campaign, "dataset_labels", lambda workdir, dataset: read)
    state = "waiting" if change == "a job was left to do" else "reused"
    record = JobRecord(
        uuid="summary", job_index=1, name="summarise", stage="levels", state=state, directory=""
    )
    monkeypatch.setattr(campaign, "job_records", lambda workdir: [record])
    if change != "no result in the store":
        monkeypatch.setattr(campaign, "finished_result", lambda workdir: result)
    if change == "another code":
        monkeypatch.setattr(campaign, "campaign_fingerprint", lambda campaign: "another")
    if change == "finished calculations to read":
        asked.training.ingested = [tmp_path]
        result.fingerprint = campaign_fingerprint(asked)
    assert (campaign.finished_before(asked, tmp_path) is result) == found


def test_the_fingerprint_of_a_campaign_covers_settings_and_code(tmp_path, monkeypatch, repository):
    asked = Campaign.from_file(repository / "flows/MgO_v_O/campaign.yaml")
    before = campaign_fingerprint(asked)
    assert campaign_fingerprint(asked.model_copy(update={"host": tmp_path / "MgO.vasp"})) == before
    assert campaign_fingerprint(asked.model_copy(update={"hse06_share": 0.77})) != before
    code = tmp_path / "defect_workflows"
    shutil.copytree(Path(defect_workflows.__file__).parent, code)
    monkeypatch.setattr(defect_workflows, "__file__", str(code / "__init__.py"))
    assert campaign_fingerprint(asked) == before
    (code / "charge.py").write_text("")
    assert campaign_fingerprint(asked) != before
