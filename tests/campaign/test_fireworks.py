"""The graph of a campaign is one that a cluster can run."""

import json

import pytest
from campaigns import smaller, write_campaign
from monty.json import MontyDecoder

from defect_workflows.campaign import Campaign
from defect_workflows.documents.campaign import CampaignResult
from defect_workflows.documents.labels import Label
from defect_workflows.makers.campaign import CampaignMaker
from defect_workflows.running.fireworks import status, submit

pytestmark = [pytest.mark.integration, pytest.mark.rehearsal]


def labels_of(store) -> dict[str, Label]:
    documents = store.query({"output.fidelity": {"$exists": True}}, load=True)
    labels = [MontyDecoder().process_decoded(document["output"]) for document in documents]
    return {label.fingerprint: label for label in labels if isinstance(label, Label)}


@pytest.mark.timeout(1500, func_only=True)  # the rehearsal that it compares with has its own
def test_a_campaign_by_rockets_in_two_folders(
    rehearsal, rehearsal_run, fireworks_site, tmp_path, repository
):
    """Two charge states of the rehearsal, on MongoDB: its labels are those of the local run."""
    text = smaller(rehearsal_run.campaign.read_text())
    campaign = Campaign.from_file(write_campaign(tmp_path, repository, text))
    flow = CampaignMaker.from_campaign(campaign).make()
    submit(flow, fireworks_site.launchpad, metadata={"campaign": "MgO"})
    fireworks_site.run_rockets([tmp_path / "one", tmp_path / "two"], timeout=1200)

    stages = {stage.stage: stage for stage in status(fireworks_site.launchpad)}
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
