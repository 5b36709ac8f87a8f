"""Makers survive what managers do to them on the way to a worker."""

import json

import pytest
from jobflow import CURRENT_JOB, Flow, JobStore, OutputReference, Response, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder, jsanitize

from defect_workflows import reuse
from defect_workflows.campaign import Campaign, DftSettings
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.makers.campaign import CampaignMaker
from defect_workflows.stored import StoredOutput, growing_job, part


@pytest.mark.parametrize(
    "through",
    [
        lambda made: json.loads(json.dumps(made, cls=MontyEncoder)),
        jsanitize,  # as FireWorks does
        lambda made: jsanitize(made, strict=True),
    ],
)
def test_settings_of_a_maker_come_back(through):
    maker = SinglePointMaker(settings=DftSettings(encut=412.0, potcars={"Mg": "Mg_pv"}))
    job = MontyDecoder().process_decoded(through(maker.make("configuration").as_dict()))
    assert job.maker == maker


def test_a_campaign_maker_comes_back(repository):
    campaign = Campaign.from_file(repository / "flows/MgO_v_O/campaign.yaml")
    maker = CampaignMaker.from_campaign(campaign)
    again = MontyDecoder().process_decoded(jsanitize(maker.as_dict()))
    assert again == maker


def test_the_first_jobs_of_a_campaign(repository):
    campaign = Campaign.from_file(repository / "flows/MgO_v_O/campaign.yaml")
    flow = CampaignMaker.from_campaign(campaign).make()
    stages = [job.metadata["stage"] for job, _ in flow.iterflow()]
    assert set(stages) == {
        "defects",
        "host",
        "sample",
        "label",
        "select",
        "train",
        "search",
        "verify",
        "refine",
    }
    assert stages[0] == "defects"


def test_a_campaign_learns_from_finished_calculations(repository, tmp_path):
    text = (repository / "flows/MgO_v_O/campaign.yaml").read_text()
    (tmp_path / "MgO.vasp").write_text((repository / "flows/MgO_v_O/MgO.vasp").read_text())
    (tmp_path / "campaign.yaml").write_text(text + "training: {ingested: [finished]}\n")
    campaign = Campaign.from_file(tmp_path / "campaign.yaml")
    assert campaign.training.ingested == [tmp_path / "finished"]
    jobs = [job for job, _ in CampaignMaker.from_campaign(campaign).make().iterflow()]
    (taken,) = (job for job in jobs if job.name == "take_ingested")
    (first, *_) = (job for job in jobs if job.name == "collect_labels")
    assert first.function_args[2].uuid == taken.uuid


@pytest.mark.parametrize(("rounds", "thorough"), [(1, [0]), (2, [0, 1]), (4, [2, 3])])
def test_the_round_before_the_last_finds_the_ground_states(repository, rounds, thorough):
    campaign = Campaign.from_file(repository / "flows/MgO_v_O/campaign.yaml")
    campaign.convergence.max_rounds = rounds
    maker = CampaignMaker.from_campaign(campaign)
    depths = [maker.depth(number) for number in range(rounds + 1)]  # and after the last round
    assert [n for n in range(rounds) if depths[n].limit > 3] == thorough
    assert [depth.to_the_end for depth in depths[-2:]] == [True, True]
    assert not any(depth.to_the_end for depth in depths[:-2])


@reuse.job
def number(value: int) -> dict:
    return {"value": value}


@reuse.job
def double(value: int) -> int:
    return 2 * value


@growing_job
def grow(source: StoredOutput, often: int) -> Response:
    """Replaces itself until `often` is 0, handing the address of its input on."""
    assert isinstance(source, StoredOutput)
    assert CURRENT_JOB.store is not None
    if often:
        return Response(replace=grow(source, often - 1))
    doubled = double(source.part("value"))
    return Response(replace=Flow([doubled], doubled.output))


def test_addresses_are_handed_on_and_read_by_ordinary_jobs(tmp_path):
    first = number(21)
    last = grow(first.output, 2)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(Flow([first, last]), store=store, log=False, ensure_success=True)
    assert last.output.resolve(store) == 42


def test_parts_of_references_and_of_addresses():
    reference = OutputReference("uuid")
    assert part(reference, "states").uuid == "uuid"
    address = part(StoredOutput.of(reference), "states")
    assert address.attributes == [("a", "states")]
    again = MontyDecoder().process_decoded(json.loads(json.dumps(address.as_dict())))
    assert (again.uuid, again.attributes) == (address.uuid, address.attributes)
