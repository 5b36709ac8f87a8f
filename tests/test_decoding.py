"""What a store holds decodes to results, and to nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobflow import Flow, JobStore, OutputReference, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.decoding import CheckedJobStore, check, checked, decoded, read_output
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.errors import DamagedDocumentError, UntrustedDocumentError
from defect_workflows.stored import StoredOutput

STRUCTURE = with_charge(Structure(Lattice.cubic(3), ["Mg"], [[0, 0, 0]]), -1)


def call(module: str, name: str, **more: Any) -> dict[str, Any]:
    return {"@module": module, "@callable": name, "@bound": None, **more}


def thing(module: str, name: str, **more: Any) -> dict[str, Any]:
    return {"@module": module, "@class": name, **more}


HOSTILE = {
    "function": call("os", "system"),
    "imported function": call("jobflow.core.reference", "contextlib.suppress"),
    "dotted": call("defect_workflows.documents.base", "json.loads"),
    "method": call("defect_workflows.documents.base", "Document.model_validate"),
    "bound": call(
        "pymatgen.core.structure", "Structure.to",
        **{"@bound": thing("subprocess", "Popen", args=["true"])},
    ),
    "bound to a result": call(
        "pymatgen.core.structure", "Structure.to", **{"@bound": STRUCTURE.as_dict()}
    ),
    "class": thing("subprocess", "Popen", args=["true"]),
    "module that does something when it is imported": thing("hostile_module", "Anything"),
    "name of a package with more behind it": thing("pymatgen.core_of_mine", "Structure"),
    "class of the queue": thing("fireworks.core.firework", "Firework"),
    "unit registry": thing("pint", "Quantity", data="1 eV"),
    "data frame": thing("pandas", "DataFrame", data="{}"),
    "store": thing("maggma.stores", "MemoryStore"),
    "job": thing("jobflow.core.job", "Job"),
    "imported class": thing("defect_workflows.campaign", "Path"),
    "imported module": thing("defect_workflows.documents.base", "json"),
    "no text": thing("os", "system", **{"@module": ["os"]}),
    "text inside a text": json.dumps(call("os", "system")),
    "escaped text": '{"\\u0040module": "os", "@callable": "system"}',
}  # fmt: skip
HIDING = {
    "alone": lambda bad: bad,
    "in a list": lambda bad: [1, [2.0, (bad,)]],
    "in a field": lambda bad: {"a": {"b": [bad]}},
    "in a site": lambda bad: {**STRUCTURE.as_dict(), "properties": {"charge": 0, "x": bad}},
    "in a reference": lambda bad: {**OutputReference("a").as_dict(), "output_schema": bad},
}


@pytest.fixture
def hostile_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hostile_module.py").write_text(
        f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Anything: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "executed"


@pytest.mark.parametrize("hidden", HIDING)
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_result_is_refused_in_one_line(
    kind: str, hidden: str, hostile_module: Path
) -> None:
    document = HIDING[hidden](HOSTILE[kind])
    with pytest.raises(UntrustedDocumentError, match=r"^document 7: found ") as caught:
        decoded(document, "document 7")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not hostile_module.exists()
    assert "hostile_module" not in sys.modules


def test_the_message_names_module_and_name() -> None:
    with pytest.raises(UntrustedDocumentError, match="found callable system of module os, exp"):
        check({"output": [call("os", "system")]}, "document 7")


def test_deep_nesting_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UntrustedDocumentError, match="levels of nesting"):
        decoded({"output": deep}, "document 7")
    del deep  # Python takes the lists apart one by one


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_plain_documents_stay_what_they_are(document: Any) -> None:
    assert decoded(document, "document 7") == document


def test_results_come_back() -> None:
    configuration = ChargedConfiguration(
        id="1", structure=STRUCTURE,
        origin=Origin(state="v_O_-1", kind="rattle", family="f"),
    )  # fmt: skip
    schema = OutputReference("a", (("a", "b"),), output_schema=ChargedConfiguration)
    for result in (configuration, [STRUCTURE], {"a": StoredOutput("a")}, schema):
        stored = json.loads(json.dumps(jsanitize(result, strict=True)))
        again = decoded(stored, "document 7")
        assert jsanitize(again, strict=True) == jsanitize(result, strict=True)


def test_what_a_class_does_not_take_is_damaged() -> None:
    broken = thing("defect_workflows.documents.labels", "Label", energy="much")
    with pytest.raises(DamagedDocumentError, match=r"^document 7: is unreadable \(Label: ") as e:
        decoded(broken, "document 7")
    assert "\n" not in str(e.value)


def test_other_packages_are_trusted_where_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fraction = thing("fractions", "Fraction")
    with pytest.raises(UntrustedDocumentError, match="DEFECT_WORKFLOWS_TRUSTED_PACKAGES"):
        check(fraction, "document 7")
    monkeypatch.setenv("DEFECT_WORKFLOWS_TRUSTED_PACKAGES", '["fractions"]')
    check(fraction, "document 7")


# the store


@pytest.fixture
def store() -> JobStore:
    made = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    made.connect()
    return made


def write(store: JobStore, uuid: str, output: Any) -> None:
    store.docs_store.update({"uuid": uuid, "index": 1, "name": "job", "output": output})


@pytest.mark.parametrize("place", ["document", "large object", "metadata"])
def test_a_store_hands_out_nothing_hostile(store: JobStore, place: str) -> None:
    bad = {"x": call("os", "system")}
    blob = thing("", "", blob_uuid="b", store="data")
    write(store, "a", {"document": bad, "large object": {"x": blob}}.get(place, 1))
    if place == "metadata":
        store.docs_store.update({"uuid": "a", "index": 1, "output": 1, "metadata": bad})
    store.additional_stores["data"].update(
        {"blob_uuid": "b", "job_uuid": "a", "job_index": 1, "data": bad}
    )
    view = checked(store)
    with pytest.raises(UntrustedDocumentError, match=r"^store document a"):
        list(view.query({"uuid": "a"}, load=True))
    if place != "metadata":
        for read in (
            lambda: view.get_output("a", load=True),
            lambda: OutputReference("a").resolve(view),
            lambda: read_output(store, "a", 1),
        ):
            with pytest.raises(UntrustedDocumentError):
                read()


def test_a_job_whose_input_is_hostile_does_not_run(store: JobStore, tmp_path: Path) -> None:
    import toy_jobs

    first = toy_jobs.add(1, 1)
    second = toy_jobs.slow_note(str(tmp_path / "log"), first.output["x"], 0.0)
    run_locally(first, store=store, log=False)
    write(store, first.uuid, {"x": call("os", "system")})
    response = run_locally(
        Flow([second]), store=checked(store), log=False, allow_external_references=True
    )
    assert second.uuid not in response
    assert not (tmp_path / "log").exists()


def test_a_reference_to_what_is_missing_is_damaged(store: JobStore) -> None:
    write(store, "a", OutputReference("nowhere").as_dict())
    write(store, "b", {"x": thing("", "", blob_uuid="none", store="data")})
    write(store, "c", {"x": thing("", "", blob_uuid="none", store="elsewhere")})
    for uuid in "abcd":
        with pytest.raises(DamagedDocumentError, match=rf"^store document {uuid}: is unread") as e:
            read_output(store, uuid, 1)
        assert "\n" not in str(e.value)


def test_it_is_what_jobflow_and_workers_make_of_its_dict(store: JobStore, tmp_path: Path) -> None:
    view = checked(store)
    assert checked(view) is view
    assert checked(store) is view
    again = MontyDecoder().process_decoded(view.as_dict())
    assert type(again) is CheckedJobStore
    assert list(again.additional_stores) == ["data"]
    (tmp_path / "store.json").write_text(json.dumps(view.as_dict()))
    # as jobflow opens the file that its JOB_STORE names
    assert type(JobStore.from_file(tmp_path / "store.json")) is CheckedJobStore
