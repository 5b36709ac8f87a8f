"""What a work folder holds, read again."""

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from mlip.solid import make_labels
from monty.json import jsanitize

from defect_workflows.documents.labels import RefusedLabel
from defect_workflows.errors import InputError
from defect_workflows.mlip.audit import make_dataset
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
    with pytest.raises(InputError, match="result of another version") as raised:
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
    wanted = labels[:7]
    found = campaign.dataset_labels(tmp_path, make_dataset(wanted, [], {}))
    by_fingerprint = {label.fingerprint: label for label in found}
    assert len(found) == len(wanted)
    assert all(by_fingerprint[label.fingerprint] == label for label in wanted)
