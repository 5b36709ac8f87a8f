"""Damage is found before a campaign needs what it has hit."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_jobs

from defect_workflows.running import doctor
from defect_workflows.running.damage import damaged_results
from defect_workflows.running.local import run_flow
from defect_workflows.running.stores import embedded_store


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    flow = [toy_jobs.square(x, str(tmp_path / "log")) for x in range(5)]
    assert run_flow(flow, embedded_store(tmp_path), tmp_path).complete
    return tmp_path


def test_a_sound_store_has_none(workdir: Path) -> None:
    store = embedded_store(workdir)
    store.connect()
    assert damaged_results(store) == (5, [])
    (check,) = doctor._workdir(workdir)
    assert check.ok
    assert "5 in the store" in check.found


def test_every_kind_of_damage_is_found_and_named(workdir: Path) -> None:
    store = embedded_store(workdir)
    store.connect()
    documents = store.docs_store
    entries = list(documents.query(sort={"uuid": 1}))
    output = entries[0]["output"]
    documents.update({**entries[0], "output": {**output, "value": "many"}}, key=["uuid", "index"])
    hostile = {"@module": "os", "@callable": "system", "@bound": None}
    documents.update({**entries[1], "metadata": {"a": hostile}}, key=["uuid", "index"])
    data = store.additional_stores["data"]
    data.remove_docs({"job_uuid": entries[2]["uuid"]})
    for part, field in ((documents, "uuid"), (data, "job_uuid")):
        part._collection.execute(
            f"UPDATE {part.collection_name} SET document = replace(document, '\"index', '\"jndex')"
            f" || ' ' WHERE json_extract(document, '$.{field}') = ?",
            (entries[3 if field == "uuid" else 4]["uuid"],),
        )
    total, lines = damaged_results(store)
    assert total == 4
    assert len(lines) == 6
    text = "\n".join(lines)
    for number in (0, 1, 2, 4):
        assert f"store document {entries[number]['uuid']}" in text
    assert "value: Input should be a valid integer" in text
    assert "callable system of module os" in text
    assert text.count("store.sqlite/outputs row") == text.count("store.sqlite/data row") == 1
    (check,) = doctor._workdir(workdir)
    assert not check.ok
    assert "and 1 more" in check.found
    assert "computed again" in check.mend


def test_doctor_says_where_there_is_nothing_to_look_through(tmp_path: Path) -> None:
    (check,) = doctor._workdir(tmp_path)
    assert not check.ok
    assert "holds no store.sqlite" in check.found
    assert not list(tmp_path.iterdir())


def test_damaged_results_are_computed_again(workdir: Path) -> None:
    log = workdir / "log"
    store = embedded_store(workdir)
    store.connect()
    store.docs_store._collection.execute(
        "UPDATE outputs SET document = replace(document, '\"value\": 16', '\"value\": 17')"
    )
    store.additional_stores["data"]._collection.execute(
        "UPDATE data SET document = replace(document, '333', '323')"
    )
    flow = [toy_jobs.square(x, str(log)) for x in range(5)]
    result = run_flow(flow, store, workdir)
    assert result.complete
    assert sorted(log.read_text().split()[5:]) == ["3", "4"]
    assert [job.output.value.resolve(store) for job in flow] == [0, 1, 4, 9, 16]
    assert flow[3].output.blob.resolve(store) == "3" * 1000
