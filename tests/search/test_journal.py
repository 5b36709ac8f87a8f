"""A search that was killed goes on from the relaxations that had ended."""

from __future__ import annotations

import json

import pytest

from defect_workflows.charge import charge_of
from defect_workflows.search import relax as module
from defect_workflows.search.journal import Journal
from defect_workflows.search.relax import relax

from .conftest import shaken
from .test_relax import in_charge
from .toy import ToyPotential


class Killed(Exception):
    pass


class Counted(Journal):
    """A journal that kills the search after some relaxations."""

    def __init__(self, path, name="search", left=1000):
        super().__init__(path, name)
        self.left = left
        self.added = []

    def add(self, key, relaxation):
        super().add(key, relaxation)
        self.added.append(relaxation)
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture
def starts(vacancy):
    return [in_charge(shaken(vacancy, 0.05, seed), -1) for seed in range(6)]


def run(vacancy, starts, journal=None, **options):
    potential = ToyPotential.of(vacancy)
    references = [p.energy for p in potential.predict(starts, "hse06")]
    options = {"max_force": 0.01, "max_steps": 200} | options
    return relax(potential, starts, references=references, journal=journal, **options)


def test_a_killed_search_goes_on(vacancy, starts, tmp_path, monkeypatch):
    monkeypatch.setitem(module.BATCH_ATOMS, "cpu", 2 * len(vacancy))
    path = tmp_path / "new" / "search.jsonl"
    first = Counted(path, left=3)
    with pytest.raises(Killed):
        run(vacancy, starts, first)
    with path.open("a") as lines:
        lines.write('\n["cut off')
    second = Counted(path)
    through = run(vacancy, starts)
    resumed = run(vacancy, starts, second)
    assert len(first.added) == 3
    assert len(second.added) == 3
    for one, other in zip(resumed, through, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        assert one.verdict == other.verdict
        assert one.steps == other.steps
        assert charge_of(one.structure) == -1
    third = Counted(path)
    assert run(vacancy, starts, third) == resumed
    assert not third.added
    third.remove()
    assert not path.exists()


def test_what_did_not_converge_is_written_too(vacancy, starts, tmp_path):
    journal = Counted(tmp_path / "search.jsonl")
    assert {item.verdict for item in run(vacancy, starts, journal, max_steps=3)} == {
        "not_converged"
    }
    assert len(journal.added) == len(starts)


def test_other_tolerances_are_another_relaxation(vacancy, starts, tmp_path):
    path = tmp_path / "search.jsonl"
    run(vacancy, starts, Journal(path, "search"))
    again = Counted(path)
    run(vacancy, starts, again, max_force=0.02)
    assert len(again.added) == len(starts)


@pytest.mark.parametrize("change", ["another search", "another version", "not ours", "empty"])
def test_a_journal_that_cannot_be_used_is_begun_anew(vacancy, starts, tmp_path, change):
    path = tmp_path / "search.jsonl"
    run(vacancy, starts[:2], Journal(path, "another" if change == "another search" else "search"))
    if change == "another version":
        first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([json.dumps(json.loads(first) | {"torch": "0.1"}), *rest]))
    elif change in ("not ours", "empty"):
        path.write_text("" if change == "empty" else "a text")
    journal = Counted(path)
    run(vacancy, starts[:2], journal)
    assert len(journal.added) == 2
    again = Counted(path)
    run(vacancy, starts[:2], again)
    assert not again.added


def test_a_folder_that_cannot_be_written_is_no_error(vacancy, starts, tmp_path):
    (tmp_path / "file").write_text("")
    assert run(vacancy, starts[:1], Journal(tmp_path / "file" / "search.jsonl", "search"))
