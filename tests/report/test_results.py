import csv
import json

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder
from rich.console import Console

from defect_workflows.campaign import Campaign
from defect_workflows.documents.campaign import CampaignResult, count_single_points
from defect_workflows.documents.labels import LabelSet, RefusedLabel
from defect_workflows.documents.levels import DefectLevelsDocument
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import InputError
from defect_workflows.report.jobs import summarise
from defect_workflows.report.levels import print_warnings
from defect_workflows.report.page import criteria, render
from defect_workflows.report.results import summary_table, write_report

from .conftest import LABELS, configuration, label, make_result


@pytest.fixture(scope="module")
def folder(tmp_path_factory, result):
    return write_report(tmp_path_factory.mktemp("result") / "new", result, LABELS)


def test_contents_of_the_folder(folder, result):
    assert {path.name for path in folder.iterdir()} == {
        "levels.json",
        "levels.csv",
        "thermodynamics.json",
        "cost.json",
        "dataset.json",
        "dataset.xyz",
        "report.html",
        "figures",
    }
    images = sorted((folder / "figures").iterdir())
    assert len(images) == 8
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in images)
    assert json.loads((folder / "thermodynamics.json").read_text()) == {"test": "data"}


def test_levels_json_is_the_contract(folder, result):
    content = json.loads((folder / "levels.json").read_text())
    assert DefectLevelsDocument.model_validate(content) == result.levels.levels
    assert {"host", "vbm", "band_gap", "dielectric", "states", "transition_levels", "warnings"} <= (
        set(content)
    )
    state = content["states"][1]
    assert state["correction"] == {"scheme": "eFNV", "energy": 0.19, "error": 0.006}
    assert content["transition_levels"][0]["charges"] == [0, -2]
    assert content["rehearsal"] is True


def test_levels_csv(folder):
    with (folder / "levels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["energy_eV"]) for row in rows] == [0.44, 0.35, 0.85]
    assert rows[0]["energy_mlip_eV"] == "0.4600"
    assert rows[1]["energy_mlip_eV"] == ""
    assert {row["rehearsal"] for row in rows} == {"True"}


def test_cost_json(folder):
    cost = json.loads((folder / "cost.json").read_text())
    assert sum(stage["share"] for stage in cost["stages"]) == pytest.approx(1)
    assert cost["seconds"] == 735
    assert cost["single_points"][1]["labels"] == 31
    assert cost["rehearsal"] is True


def test_page_shows_everything_and_stands_alone(folder):
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 8
    assert 'class="rehearsal">REHEARSAL' in page
    assert "SCF not converged in 60 steps" in page
    assert "energy error 0.051 eV at v_Cd_0" in page
    assert "never lowest &lt;b&gt;" in page
    assert "http" not in page
    assert "{{" not in page
    assert page.count("<td>0.010 ± 0.030</td>") == 3  # the potential alone, in each charge state


def test_page_has_the_card_of_the_potential(folder):
    page = " ".join((folder / "report.html").read_text().split())
    assert "Domain: Cd, Te; charges −2, −1, 0; 53 to 54 atoms per cell, cutoff 6.0 Å" in page
    assert "70 meV × distance and 10 meV in quadrature" in page
    assert "12 labels that were not trained on (5 of them made since the round before" in page
    assert "One sigma holds 67 % of their errors" in page
    assert "the committee’s bare spread holds 50 %" in page
    assert "too few labels" in page
    assert "hse06, in meV per cell: Cd26 Te27, charge −1: −61." in page


def test_without_rehearsal_no_banner(tmp_path):
    write_report(tmp_path, make_result(rehearsal=False), LABELS)
    assert "REHEARSAL" not in (tmp_path / "report.html").read_text()


def test_writing_again_replaces_only_the_report(tmp_path, result):
    (tmp_path / "store.sqlite").write_text("a store")
    write_report(tmp_path, result, LABELS)
    one = result.model_copy(update={"searches": [], "potentials": []})
    write_report(tmp_path, one, LABELS)
    assert (tmp_path / "store.sqlite").read_text() == "a store"
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "formation_energies",
        "transition_levels",
    }
    assert not list(tmp_path.glob(".report-*"))


def test_nothing_half_written(tmp_path, result):
    broken = make_result()
    broken.levels.levels.states[0].potential_energy_error = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path / "new", broken, LABELS)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a writable folder"):
        write_report(tmp_path / "file", result, LABELS)


def test_criteria_of_every_round(result):
    rows = criteria(result)
    assert [(row["round"], row["value"]) for row in rows if row["limit"] == 0.02] == [
        (0, 0.051),
        (0, None),
        (1, 0.012),
        (1, 0.007),
    ]


def in_terminal(result):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary_table(result))
    return console.export_text()


def test_summary_for_the_terminal(result):
    text = in_terminal(result)
    assert "REHEARSAL" in text
    assert "(0/-2)" in text
    assert "0.440" in text
    assert "not converged" not in text


def test_a_level_of_rounds_that_did_not_converge_is_not_called_verified(result):
    warning = LevelWarning(code="rounds_not_converged", message="a structure may be missing")
    levels = result.levels.levels.model_copy(update={"warnings": [warning]})
    doubtful = result.model_copy(
        update={"levels": result.levels.model_copy(update={"levels": levels})}
    )
    row = next(line for line in in_terminal(doubtful).splitlines() if "(0/-2)" in line)
    assert "not converged" in row
    called = '<span class="bad">not converged</span></td></tr>'
    assert render(doubtful, {}).count(called) == sum(
        level.verified for level in levels.transition_levels
    )
    assert called not in render(result, {})


def test_every_unmet_criterion_has_a_line(result):
    message = "not converged after 3 rounds: v_Cd_0: energy error -0.029 eV; v_Cd_-1: 3 unverified"
    warning = LevelWarning(code="rounds_not_converged", message=message)
    levels = result.levels.levels.model_copy(update={"warnings": [warning]})
    console = Console(width=60, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_warnings(console, levels)
    assert console.export_text().splitlines() == [
        "warning rounds_not_converged: not converged after 3 rounds:",
        "  v_Cd_0: energy error -0.029 eV",
        "  v_Cd_-1: 3 unverified",
    ]


def refused() -> RefusedLabel:
    return RefusedLabel(
        fingerprint="r" * 64, configuration=configuration(-1, "v_Cd/Bond_Distortion_-60.0%"),
        fidelity="pbe", reason="SCF not converged in 60 steps", seconds=40.0, directory="node:/run",
    )  # fmt: skip


def test_single_points_are_counted_once(result):
    first = result.verified[0]
    # nobody calculated this one
    left_out = refused().model_copy(
        update={"fidelity": "hse06", "fingerprint": "x", "directory": None}
    )
    known = [first.labels[0], label(0, -1.0, "other")]
    labels = LabelSet(labels=known, refused=[refused(), left_out])
    pbe, hse06 = count_single_points(labels, [first])
    assert (pbe.labels, pbe.refused, pbe.seconds) == (0, 1, 40.0)
    assert (hse06.labels, hse06.refused) == (3, 0)
    assert hse06.seconds == 36.0


def test_summary_job_through_a_store(result, tmp_path):
    first = result.verified[0]
    job = summarise(
        Campaign(host=tmp_path / "CdTe.vasp", levels={"dielectric": 10.2}),
        result.levels,
        [],
        result.searches,
        result.rounds,
        result.verified,
        LabelSet(labels=[first.labels[0]], refused=[refused()]),
        result.dataset,
    )
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(job, store=store, ensure_success=True, log=False)
    output = MontyDecoder().process_decoded(store.get_output(job.uuid, load=True))
    assert isinstance(output, CampaignResult)
    assert output.name == "CdTe"
    assert output.levels == result.levels
    assert output.rounds == result.rounds
    assert output.dataset == result.dataset
    assert output.versions["doped"].startswith("3.2")
    assert output.verified[0].energy == first.energy
