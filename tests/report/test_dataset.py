"""The data set in the result folder: others can train on it, and see what is odd in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read
from mace.data import KeySpecification, config_from_atoms
from mace.tools import voigt_to_matrix
from mace.tools.default_keys import DefaultKeys

from defect_workflows.charge import charge_of_atoms
from defect_workflows.documents.campaign import CampaignResult
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.errors import CampaignError
from defect_workflows.report.dataset import UNSEEN, dataset_xyz
from defect_workflows.report.page import relaxation_rows
from defect_workflows.report.results import write_report

from .conftest import LABELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, result: CampaignResult) -> Path:
    return write_report(tmp_path_factory.mktemp("result"), result, LABELS[::-1])


class Tables(HTMLParser):
    """Cells of every row of every table of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside = False
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[list[str]]:
    return Tables((folder / "report.html").read_text()).rows


def test_the_index_is_the_document(folder: Path, result: CampaignResult) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    assert DatasetDocument.model_validate(content) == result.dataset
    assert "structure" not in (folder / "dataset.json").read_text()


def test_frames_follow_the_index(folder: Path, result: CampaignResult) -> None:
    frames = read(folder / "dataset.xyz", ":")
    assert len(frames) == len(result.dataset.labels) == len(LABELS)
    for frame, record, label in zip(frames, result.dataset.labels, LABELS, strict=True):
        assert charge_of_atoms(frame) == label.charge
        assert frame.info["fidelity"] == label.fidelity
        assert frame.info["split"] == (record.split or UNSEEN)
        assert frame.info["family"] == record.family
        assert frame.info["id"] == record.id
        assert frame.info["rehearsal"]
        assert frame.info["REF_energy"] == label.energy
        np.testing.assert_allclose(frame.positions, label.configuration.structure.cart_coords)
    assert {frame.info["split"] for frame in frames} == {"train", "test", UNSEEN}


def test_mace_reads_the_frames_with_its_own_keys(folder: Path) -> None:
    frame, label = read(folder / "dataset.xyz", "0"), LABELS[0]
    keys = KeySpecification.from_defaults()
    configuration = config_from_atoms(frame, key_specification=keys)
    assert configuration.properties["energy"] == label.energy
    assert configuration.properties["total_charge"] == label.charge
    np.testing.assert_allclose(configuration.properties["forces"], label.forces)
    stress = voigt_to_matrix(torch.tensor(configuration.properties["stress"]))  # as MACE does
    np.testing.assert_allclose(stress, label.stress)
    assert "JSON" not in (folder / "dataset.xyz").read_text()
    assert DefaultKeys.ENERGY.value == "REF_energy"


def test_a_label_that_is_gone_is_named_and_nothing_is_written(
    tmp_path: Path, result: CampaignResult
) -> None:
    with pytest.raises(CampaignError, match=r"no pbe label of v_Cd/Rattled .*expected all 18"):
        write_report(tmp_path / "new", result, LABELS[1:])
    assert not (tmp_path / "new").exists()


def test_unseen_labels_are_in_the_file_too(result: CampaignResult) -> None:
    assert (
        dataset_xyz(result.dataset, LABELS).count(f"split={UNSEEN}") == result.dataset.unseen == 6
    )


def test_page_counts_the_labels(rows: list[list[str]]) -> None:
    assert ["v_Cd_-1", "−1", "hse06", "1", "0", "1", "1"] in rows
    assert ["all", "6", "0", "6", "6"] in rows


def test_page_lists_what_is_odd(folder: Path, rows: list[list[str]]) -> None:
    page = (folder / "report.html").read_text()
    assert any(row[-1] == "conflict" and "12.30" in row for row in rows)
    assert "v_Cd/&lt;i&gt;copy" in page
    assert any(row[-1] == "energy 0.5 eV/atom above" for row in rows)
    assert page.index("v_Cd/Odd") < page.index("1 extreme geometries") < page.index("v_Cd/Crushed")
    assert "6 labels have too few peers" in page
    assert any(row[-1] == "SCF not converged in 60 steps" for row in rows)


def test_every_start_is_in_the_table_of_its_state(
    result: CampaignResult, rows: list[list[str]]
) -> None:
    search = result.searches[-1]
    tables = relaxation_rows(search)
    assert list(tables) == ["v_Cd_0", "v_Cd_-1", "v_Cd_-2"]
    assert sum(map(len, tables.values())) == len(search.relaxations)
    first, last = tables["v_Cd_0"][0], tables["v_Cd_0"][-1]
    assert (first["record"].cluster, first["energy"]) == (0, 0)
    assert first["start_energy"] == pytest.approx(2)
    assert (last["record"].cluster, last["verdict"]) == (None, "runaway")
    record = last["record"]
    assert [record.start, "2.000", "−39.330", "–", str(record.steps), "0.009", "runaway"] in rows


def test_a_state_without_minima_is_referred_to_its_lowest_start(result: CampaignResult) -> None:
    search = result.searches[-1]
    lost = [
        record.model_copy(update={"cluster": None, "verdict": "runaway", "start_energy": number})
        for number, record in enumerate(search.relaxations[:3])
    ]
    (table,) = relaxation_rows(search.model_copy(update={"relaxations": lost})).values()
    assert sorted(row["start_energy"] for row in table) == [0, 1, 2]
