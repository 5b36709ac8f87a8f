"""What a work folder holds, read again."""

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from defect_workflows.errors import InputError
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
