"""Outputs of earlier jobs by address."""

import json

import pytest
import toy_jobs
from jobflow import CURRENT_JOB, Flow, JobStore, OutputReference, Response, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, jsanitize

from defect_workflows import reuse
from defect_workflows.decoding import checked
from defect_workflows.stored import KEPT, StoredOutput, growing_job, part


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


@pytest.fixture
def outputs(monkeypatch):
    """A store of outputs, and which of them were read from it."""
    store = checked(JobStore(MemoryStore(), additional_stores={"data": MemoryStore()}))
    store.connect()
    read = []
    get_output = store.get_output
    monkeypatch.setattr(
        store, "get_output", lambda uuid, **kwargs: read.append(uuid) or get_output(uuid, **kwargs)
    )
    monkeypatch.setattr(CURRENT_JOB, "store", store)
    return store, read


def write(store, uuid, output, index=1, completed_at="2026-01-01T00:00:00"):
    document = {"uuid": uuid, "index": index, "output": output, "completed_at": completed_at}
    store.update(document, key=["uuid", "index"])


def test_an_output_is_read_once(outputs):
    store, read = outputs
    write(store, "read once", [{"n": 1}, {"n": 2}])
    address = StoredOutput("read once")
    assert address.value() == [{"n": 1}, {"n": 2}]
    assert address.item(1).part("n").value() == 2
    assert read == ["read once"]
    for number in range(KEPT):
        write(store, f"other {number}", number)
        assert StoredOutput(f"other {number}").value() == number
    assert address.item(0).value() == {"n": 1}
    assert read.count("read once") == 2  # no more than the last few are kept


def test_a_later_output_of_the_same_job_is_read(outputs):
    store, _ = outputs
    address = StoredOutput("run again")
    with pytest.raises(ValueError, match="Could not resolve"):
        address.value()
    write(store, "run again", 1)
    assert address.value() == 1
    write(store, "run again", 2, completed_at="2026-01-01T00:00:01")
    assert address.value() == 2
    write(store, "run again", 3, index=2)
    assert address.value() == 3


# outputs that are there already


def test_an_equal_output_becomes_a_reference():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    jobs = [toy_jobs.gathered(x) for x in (1, 2, 1, 1)]
    run_locally(jobs, store=store, log=False, ensure_success=True)
    kinds = [store.query_one({"uuid": job.uuid})["output"].get("@class") for job in jobs]
    assert kinds == [None, None, "OutputReference", "OutputReference"]
    assert store.additional_stores["data"].count() == 2
    assert [job.output["long"][0].resolve(store) for job in jobs] == [1, 2, 1, 1]
    assert [store.get_output(job.uuid, load=True)["long"][499] for job in jobs] == [1, 2, 1, 1]


def test_a_job_that_runs_again_never_refers_to_itself():
    """As `lpad rerun_fws` does it: the same uuid, the document replaced."""
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    first, second = toy_jobs.gathered(1), toy_jobs.gathered(1)
    for job in (first, second, first, second, first):
        again = MontyDecoder().process_decoded(json.loads(json.dumps(jsanitize(job.as_dict()))))
        again.run(store)
        assert first.output["long"][0].resolve(store) == 1
    assert second.output["long"][0].resolve(store) == 1


def test_a_damaged_output_is_not_referred_to():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    first, second, third = (toy_jobs.gathered(1) for _ in range(3))
    run_locally(first, store=store, log=False, ensure_success=True)
    store.additional_stores["data"].remove_docs({})
    run_locally(second, store=store, log=False, ensure_success=True)
    document = store.additional_stores["data"].query_one({"job_uuid": second.uuid})
    assert document["data"] == [1] * 500
    document["data"][3] = 2
    store.additional_stores["data"].update(document, key="blob_uuid")
    run_locally(third, store=store, log=False, ensure_success=True)
    assert third.output["long"].resolve(store) == [1] * 500
