"""Folders with links: followed once each, what leads nowhere is told of."""

import os
from pathlib import Path

import pytest

from defect_workflows.dft.files import Folder, Skipped, folders
from defect_workflows.dft.ingest import FoundRun, find_runs
from defect_workflows.errors import InputError
from defect_workflows.makers.levels import run_folders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two runs, one of them behind a link."""
    for place in ("tree/a/run", "scratch/far/run"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "OUTCAR").write_text(place)
    (tmp_path / "tree" / "0 far").symlink_to(tmp_path / "scratch")
    return tmp_path / "tree"


def found(tree: Path) -> list[str]:
    return [
        str(one.path.relative_to(tree))
        for one in folders(tree)
        if isinstance(one, Folder) and one.has_output
    ]


def skipped(tree: Path) -> list[Skipped]:
    return [one for one in folders(tree) if isinstance(one, Skipped)]


def test_links_are_followed(tree):
    assert found(tree) == ["a/run", "0 far/far/run"]
    assert skipped(tree) == []
    assert run_folders(tree) == [tree / "0 far/far/run", tree / "a/run"]
    runs = [run for run in find_runs(tree) if isinstance(run, FoundRun)]
    assert [run.family for run in runs] == ["tree/a/run", "tree/0 far/far/run"]


@pytest.mark.parametrize("target", [".", "..", "a", "loop", "a/run"])
def test_a_link_within_ends(tree, target):
    (tree / "a" / "0").symlink_to(tree / target, target_is_directory=True)
    (tree / "1").symlink_to("../tree")
    inside = [one for one in found(tree) if one.endswith("a/run")]
    assert inside == ["a/run"]  # once, by its own name


def test_the_root_may_be_a_link(tree, tmp_path):
    (tmp_path / "other").symlink_to(tree)
    assert found(tmp_path / "other") == ["a/run", "0 far/far/run"]


@pytest.mark.parametrize("place", ["run_3", "a/run/vasprun.xml", "a/run/OUTCAR_relax"])
def test_a_link_to_nothing_is_told_of(tree, place):
    (tree / place).symlink_to("/no/such/place")
    (item,) = skipped(tree)
    assert (item.path, "is a link to /no/such/place" in item.reason) == (tree / place, True)
    refused = [one for one in find_runs(tree) if not isinstance(one, FoundRun)]
    assert [(one.kind, str(tree / place) in one.reason) for one in refused] == [
        ("unreadable", True)
    ]
    with pytest.raises(InputError, match="no/such/place"):
        run_folders(tree)


@pytest.mark.parametrize("name", ["POTCAR", "WAVECAR", "CHGCAR"])
def test_an_input_that_was_cleared_away_is_no_run(tree, name):
    (tree / "a/run" / name).symlink_to("/no/such/place")
    assert skipped(tree) == []


def test_a_folder_that_cannot_be_read_is_told_of(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (item,) = skipped(tree)
    assert (item.path, item.reason) == (tree / "a", "cannot be read (Permission denied)")
