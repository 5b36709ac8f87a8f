import csv
import json
import re

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
from defect_workflows.report.page import criteria, potential_errors, render
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
    assert "Round 0, not met: levels: no earlier round to compare with" in page
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
    changes = [(row["round"], row["value"], row["limit"]) for row in rows[::4]]
    assert changes == [(0, None, 0.02), (1, 0.007, 0.02)]
    assert [row["name"] for row in rows[:4]] == [
        "change of a level",
        "unverified minimum expected to be lower",
        "starts whose end is not known",
        "states without a single point",
    ]
    assert [row["value"] for row in rows[5:]] == [0.0, 0, 0]

    last = result.rounds[-1]
    lost = last.risks[0].model_copy(update={"unresolved": 2, "unfinished": 1, "energy": 0.04})
    changed = last.model_copy(update={"risks": [lost, *last.risks[1:]], "checks": last.checks[1:]})
    told = criteria(result.model_copy(update={"rounds": [changed]}))
    assert [row["value"] for row in told[1:]] == [0.04, 3, 1]


def test_errors_of_the_potential_are_told_and_no_criterion(result):
    assert [row["energy"] for row in potential_errors(result)] == [0.051, 0.012]
    page = " ".join(render(result, {}).split())
    assert "no criterion. At most it was 51 meV and 0.10 eV/Å in round 0, 12 meV and 0.02" in page
    assert not any("error" in row["name"] for row in criteria(result))


def in_terminal(result, width=120):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary_table(result))
    return console.export_text()


def test_summary_for_the_terminal(result):
    text = in_terminal(result)
    assert "REHEARSAL" in text
    assert "(0/-2)" in text
    assert "0.440" in text
    row = next(line for line in text.splitlines() if "(0/-2)" in line)
    assert [cell.strip() for cell in row.split("│")[-4:-1]] == ["0.460", "yes", "yes"]


def test_headings_are_whole_on_a_narrow_terminal(result):
    text = in_terminal(result, width=80)
    assert all(word in text for word in ("potential", "alone", "verified", "converged", "error"))
    assert "…" not in text


def with_levels(result, **changes):
    """Return the result with other levels and warnings."""
    levels = result.levels.levels.model_copy(update=changes)
    return result.model_copy(update={"levels": result.levels.model_copy(update={"levels": levels})})


def test_verified_and_converged_are_two_things_everywhere(result, tmp_path):
    one, two, three = result.levels.levels.transition_levels
    changed = with_levels(
        result,
        transition_levels=[
            one.model_copy(update={"converged": False}),
            two.model_copy(update={"verified": False}),
            three,
        ],
    )
    cells = [
        tuple(cell.strip() for cell in line.split("│")[-3:-1])
        for line in in_terminal(changed).splitlines()
        if "/" in line
    ]
    assert cells == [("yes", "no"), ("no", "yes"), ("yes", "yes")]
    write_report(tmp_path, changed, LABELS)
    with (tmp_path / "levels.csv").open() as stream:
        rows = [(row["verified"], row["converged"]) for row in csv.DictReader(stream)]
    assert rows == [("True", "False"), ("False", "True"), ("True", "True")]
    page = (tmp_path / "report.html").read_text()
    yes, no = '<span class="good">yes</span>', '<span class="bad">no</span>'
    cell = "<td>(<span[^<]*</span>)</td>"
    found = re.findall(f"{cell}{cell}</tr>", page[: page.index("<h2>Defect states")])
    assert found == [(yes, no), (no, yes), (yes, yes)]
    stored = json.loads((tmp_path / "levels.json").read_text())["transition_levels"]
    assert [(level["verified"], level["converged"]) for level in stored] == [
        (True, False),
        (False, True),
        (True, True),
    ]


def test_notes_are_in_the_detail_alone(result):
    page = render(result, {})
    assert 'class="warnings"' not in page
    assert 'class="errors"' not in page
    detail = page[page.index("<details><summary>Everything that was noticed") :]
    assert "never lowest &lt;b&gt;" in detail
    assert "never lowest" not in page.replace(detail, "")
    # nor are their codes in the table of the states
    assert "unstable_<wbr>charge_<wbr>state" not in page


def test_errors_and_warnings_are_on_the_page_a_line_a_kind(result):
    warnings = [
        LevelWarning(code="residual_force", message=f"{s}: {f} eV/Å is left", state=s)
        for s, f in (("v_Cd_0", 0.07), ("v_Cd_-1", 0.09))
    ]
    error = LevelWarning(code="potcar_mismatch", message="v_Cd_0: Cd, Cd_sv", state="v_Cd_0")
    page = render(with_levels(result, warnings=[*warnings, error]), {})
    errors, boxed = page.index('class="errors"'), page.index('class="warnings"')
    assert errors < page.index("<code>potcar_mismatch</code>: v_Cd_0: Cd, Cd_sv</li>") < boxed
    assert "<code>residual_force</code>: v_Cd_0, v_Cd_-1: 0.07 to 0.09 eV/Å is left</li>" in page
    assert page.count("residual_force</code>:") == 1


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
