import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from pydantic import BaseModel
from pymatgen.core import Lattice, Structure

sys.path.insert(0, str(Path(__file__).parent / "running"))
import toy_jobs

from defect_workflows.reuse import canonical, fingerprint
from defect_workflows.running.local import run_flow
from defect_workflows.running.stores import embedded_store

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class Fidelity(StrEnum):
    PBE = "pbe"


class Settings(BaseModel):
    structure: Structure
    ediff: float = 1e-7
    model_config = {"arbitrary_types_allowed": True}


@dataclass
class Maker:
    amplitude: float = 0.1
    settings: Settings | None = None


def structure(shift: float = 0.0, charge: float = 0) -> Structure:
    lattice = Lattice.cubic(6.48 + shift)
    return Structure(lattice, ["Cd", "Te"], [[0, 0, 0], [0.25 + shift, 0.25, 0.25]], charge=charge)


@given(PLAIN)
def test_survives_a_store(value) -> None:
    assert fingerprint(value) == fingerprint(json.loads(json.dumps(value)))


@given(st.dictionaries(st.text(), st.integers()))
def test_order_of_keys_does_not_matter(mapping) -> None:
    assert fingerprint(mapping) == fingerprint(dict(reversed(list(mapping.items()))))


@given(st.floats(-1e300, 1e300), st.sampled_from([1e-3, -1e-3, 1e-8]))
def test_floats_differ_when_they_differ(x: float, change: float) -> None:
    y = x * (1 + change)
    assert (fingerprint(x) == fingerprint(y)) == (x == y or max(abs(x), abs(y)) < 1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (-0.0, 0.0),
        (1, 1.0),
        ((1, 2), [1, 2]),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (0.1 + 0.2, 0.3),
        (Fidelity.PBE, "pbe"),
        ({1: "a"}, {"1": "a"}),
        ({3, 1, 2}, {2, 3, 1}),
        (Path("a/b"), "a/b"),
        (date(2026, 1, 1), "2026-01-01"),
        (structure(), structure(1e-9)),
        (structure(), Structure.from_dict(json.loads(structure().to_json()))),
        (
            Maker(settings=Settings(structure=structure())),
            Maker(0.1, Settings(structure=structure(1e-9))),
        ),
    ],
)
def test_equal(one, other) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (None, 0),
        ([1, [2]], [1, 2]),
        (1e-7, 1e-8),
        (b"a", b"b"),
        (structure(), structure(1e-4)),
        (structure(), structure(charge=1)),
        (Settings(structure=structure()), Settings(structure=structure(), ediff=1e-6)),
        (Maker(), Maker(0.2)),
        (Lattice.cubic(3), Lattice.cubic(4)),
    ],
)
def test_different(one, other) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_parts_are_separate() -> None:
    assert fingerprint("a", "b") != fingerprint("ab") != fingerprint(["a", "b"])
    assert len(fingerprint()) == 64


def test_versions_do_not_matter() -> None:
    cubic = Lattice.cubic(3).as_dict()
    assert fingerprint({**cubic, "@version": "1999"}) == fingerprint(Lattice.cubic(3))


def test_no_canonical_form() -> None:
    with pytest.raises(TypeError, match="found object"):
        canonical(object())
    with pytest.raises(TypeError, match="equal as strings"):
        canonical({1: "a", "1": "b"})


def test_other_process_other_hash_seed() -> None:
    script = "from defect_workflows.reuse import fingerprint as f; print(f({'a': {'x', 'y', 'z'}}))"
    for seed in ("1", "2"):
        output = subprocess.check_output(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, text=True
        )
        assert output.strip() == fingerprint({"a": {"z", "y", "x"}})


@pytest.fixture(params=["ours", "jobflow"])
def executor(request, tmp_path: Path):
    """Runs a flow twice on one store: here, and as jobflow does."""
    if request.param == "ours":
        store = embedded_store(tmp_path)
        return lambda flow: (run_flow(flow, store, tmp_path), store)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})
    return lambda flow: (run_locally(flow, store=store, log=False), store)


def lines(log: Path) -> list[str]:
    return log.read_text().split()


def test_finished_is_returned(executor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(3):
        one = toy_jobs.square(7, str(log))
        _, store = executor(one)
    assert lines(log) == ["7"]
    assert store.count({"name": "square"}) == 3
    document = store.query_one({"uuid": one.uuid}, load=True)
    first = document["metadata"]["reused_from"]
    # one copy: reused ones refer to it
    assert document["output"]["@class"] == "OutputReference"
    assert document["output"]["uuid"] == first
    assert store.additional_stores["data"].count() == 1
    assert store.get_output(one.uuid, load=True).blob == "7" * 1000
    assert one.output.value.resolve(store) == 49
    executor(toy_jobs.square(8, str(log)))
    assert lines(log) == ["7", "8"]


@pytest.mark.parametrize(("accept", "executions"), [(True, 1), (False, 2)])
def test_refused_is_finished_only_if_asked(executor, tmp_path, accept: bool, executions) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        executor(toy_jobs.refused_square(1, str(log), accept))
    assert lines(log) == ["1"] * executions


def test_lost_large_object_is_not_finished(executor, tmp_path: Path) -> None:
    """A kill between document and large object leaves the one without the other."""
    log = tmp_path / "log"
    _, store = executor(toy_jobs.square(7, str(log)))
    store.additional_stores["data"].remove_docs({})
    executor(toy_jobs.square(7, str(log)))
    assert lines(log) == ["7", "7"]


@pytest.mark.parametrize(
    "damage",
    [
        {"output": {"@module": "toy_jobs", "@class": "Square", "value": "many"}},
        {"output": {"@module": "os", "@callable": "system", "@bound": None}},
        {"output": {"@module": "toy_jobs", "@class": "Square", "value": {"@module": "this"}}},
        {"output": {"@module": "toy_jobs", "@class": "Square", "value": 7, "blob": "not the key"}},
        {"output": None},
    ],
)
def test_a_damaged_result_is_computed_again(executor, tmp_path: Path, damage, caplog) -> None:
    log = tmp_path / "log"
    _, store = executor(toy_jobs.square(7, str(log)))
    document = store.docs_store.query_one({"name": "square"})
    key = document["output"]["fingerprint"]
    if damage["output"] is not None and damage["output"].get("blob") is None:
        damage["output"]["fingerprint"] = key
    store.docs_store.update({**document, **damage}, key=["uuid", "index"])
    again = toy_jobs.square(7, str(log))
    _, store = executor(again)
    assert lines(log) == ["7", "7"]
    assert store.query_one({"uuid": again.uuid})["output"]["value"] == 49
    last = toy_jobs.square(7, str(log))
    _, store = executor(last)
    assert lines(log) == ["7", "7"]
    assert last.output.value.resolve(store) == 49


def test_the_embedded_store_does_not_grow_by_what_is_reused(tmp_path: Path) -> None:
    store = embedded_store(tmp_path)
    sizes = []
    for _ in range(3):
        flow = toy_jobs.squares_flow(5, str(tmp_path / "log"))
        assert run_flow(flow, store, tmp_path).complete
        assert flow.jobs[-1].output.resolve(store) == 30
        counts = [
            store.additional_stores["data"].count(),
            sum(len(str(entry["output"])) for entry in store.query({"name": "square"})),
        ]
        sizes.append(counts)
    assert sizes[0][0] == sizes[1][0] == sizes[2][0] == 5
    assert sizes[2][1] < 3 * sizes[0][1]
    assert len(lines(tmp_path / "log")) == 5


def test_misuse_fails(tmp_path: Path) -> None:
    flow = Flow([toy_jobs.reuse_without_store(), toy_jobs.wrong_fingerprint()])
    result = run_flow(flow, embedded_store(tmp_path), tmp_path)
    assert sorted(job.error for job in result.failed) == [
        "ReuseError: Square.fingerprint: found other, expected mine",
        "ReuseError: job reuse_without_store: found @jobflow.job, expected @reuse.job",
    ]


def test_outside_of_a_job_it_computes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert toy_jobs.square.original(3, str(log)).value == 9
    assert toy_jobs.square.original(3, str(log)).value == 9
    assert lines(log) == ["3", "3"]
