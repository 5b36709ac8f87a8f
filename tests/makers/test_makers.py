"""Makers survive what managers do to them on the way to a worker."""

import json

import pytest
from monty.json import MontyDecoder, MontyEncoder, jsanitize

from defect_workflows.campaign import Campaign, DftSettings
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.makers.campaign import CampaignMaker


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
    jobs = list(flow.iterflow())
    names = {job.uuid: job.name for job, _ in jobs}
    wired = [
        (job.metadata["stage"], job.name, sorted(names[parent] for parent in parents))
        for job, parents in jobs
    ]
    assert sorted(wired) == sorted(
        [
            ("defects", "generate_defects", []),
            ("host", "PBE single point", ["generate_defects"]),
            ("host", "HSE06 single point", ["PBE single point", "generate_defects"]),
            ("host", "collect_labels", ["HSE06 single point", "PBE single point"]),
            ("sample", "sample_configurations", ["generate_defects"]),
            ("label", "label", ["collect_labels", "sample_configurations"]),
            ("select", "select_configurations", ["label"]),
            ("label", "label", ["label", "select_configurations"]),
            ("train", "train seed 1", ["label"]),
            ("train", "train seed 2", ["label"]),
            ("train", "make_potential", ["label", "train seed 1", "train seed 2"]),
            ("search", "search_states", ["generate_defects", "make_potential"]),
            ("verify", "verify", ["label", "make_potential", "search_states"]),
            ("verify", "gather", ["verify"]),
            ("refine", "settle round 0", ["gather", "generate_defects", "make_potential"]),
            ("refine", "collect_verified", ["settle round 0", "verify"]),
            (
                "verify",
                "conclude_round",
                ["collect_verified", "generate_defects", "search_states", "settle round 0"],
            ),
            (
                "verify",
                "decide after round 0",
                ["HSE06 single point", "conclude_round", "generate_defects", "make_potential",
                 "search_states"],
            ),
        ]
    )  # fmt: skip
    low, high = (job for job, _ in jobs if job.name == "label")
    # what is trained on, and verified after it, are the labels of both functionals
    assert [job.function_args[1] for job in (low, high)] == ["pbe", "hse06"]
    for name in ("train seed 1", "make_potential", "verify"):
        (parents,) = (parents for job, parents in jobs if job.name == name)
        assert high.uuid in parents
        assert low.uuid not in parents


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
