import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobflow import JobStore
from maggma.stores import MemoryStore
from monty.json import MontyDecoder

from defect_workflows.errors import InputError, StoreNotWritableError
from defect_workflows.running.sqlite import SQLiteStore
from defect_workflows.running.stores import embedded_store, ensure_writable, store_from_settings
from defect_workflows.settings import Settings

SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.floats()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=8,
)
DOCUMENTS = st.fixed_dictionaries(
    {"uuid": st.sampled_from("pqr") | st.text(), "index": st.integers(1, 3)},
    optional={"output": VALUES, "n": st.integers(0, 3), "tags": st.lists(st.text("ab"))},
)
CRITERIA = st.sampled_from(
    [
        None,
        {"uuid": "p"},
        {"uuid": {"$in": ["p", "q", "r"]}},
        {"uuid": "p", "index": {"$gte": 2}},
        {"n": {"$in": [1, 2]}, "tags": "a"},
        {"n": 1, "$or": [{"uuid": "q"}, {"index": 1}]},
        {"output": {"$exists": True}, "n": {"$ne": 0}},
        {"n": None},
    ]
)


def make(path: Path, **kwargs) -> SQLiteStore:
    store = SQLiteStore(str(path / "s.sqlite"), indexed_fields=["n"], **kwargs)
    store.connect()
    return store


def without_id(documents) -> list[str]:
    return [repr({k: v for k, v in document.items() if k != "_id"}) for document in documents]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(DOCUMENTS, max_size=4), max_size=3), criteria=CRITERIA)
def test_means_what_memory_store_means(tmp_path: Path, batches, criteria) -> None:
    ours, theirs = make(tmp_path), MemoryStore(key="uuid")
    ours.remove_docs({})
    theirs.connect()
    for batch in batches:
        for document in batch:
            ours.update(document, key=["uuid", "index"])
            theirs.update(document, key=["uuid", "index"])
    assert without_id(ours.query(criteria)) == without_id(theirs.query(criteria))
    assert ours.count(criteria) == theirs.count(criteria)
    for properties in (["index"], ["output", "uuid"], {"tags": 0}):
        arguments = {"properties": properties, "sort": {"index": -1, "uuid": 1}, "skip": 1}
        found = ours.query(criteria, **arguments, limit=2)
        assert without_id(found) == without_id(theirs.query(criteria, **arguments, limit=2))
    assert ours.distinct("index", criteria) == theirs.distinct("index", criteria)
    groups = [(keys, len(group)) for keys, group in ours.groupby("index", criteria)]
    assert groups == [(keys, len(group)) for keys, group in theirs.groupby("index", criteria)]
    if criteria:
        ours.remove_docs(criteria)
        theirs.remove_docs(criteria)
        assert without_id(ours.query()) == without_id(theirs.query())
    ours.close()


def test_is_durable_and_serialisable(tmp_path: Path) -> None:
    store = make(tmp_path, collection_name="things")
    when = datetime(2026, 1, 2, 3, 4, 5)
    store.update([{"uuid": "a", "when": when, "last_updated": when}, {"uuid": "b", "x": 1}])
    store.update({"uuid": "a", "when": when, "n": 5})
    again = MontyDecoder().process_decoded(store.as_dict())
    assert again == store
    again.connect()
    assert again.count() == 2
    assert again.query_one({"uuid": "a"})["when"] == when
    assert [d["uuid"] for d in again.query({"n": 5})] == ["a"]


def test_update_is_atomic(tmp_path: Path) -> None:
    store = make(tmp_path)
    with pytest.raises(KeyError):
        store.update([{"uuid": "a"}, {"no uuid": "b"}])
    assert store.ensure_index("x", unique=True)
    with pytest.raises(StoreNotWritableError, match="UNIQUE"):
        store.update([{"uuid": "a", "x": 1}, {"uuid": "b", "x": 1}])
    assert store.count() == 0


def test_index_is_used(tmp_path: Path) -> None:
    store = embedded_store(tmp_path).docs_store
    store.connect()
    plan = store._collection.execute(
        "EXPLAIN QUERY PLAN SELECT id, document FROM outputs "
        """WHERE json_extract(document, '$."output"."fingerprint"') IN ('x')"""
    ).fetchall()
    assert "USING INDEX outputs:output.fingerprint" in plan[0][-1]
    assert not store.ensure_index("a b")


WRITER = """
import sys
from defect_workflows.running.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
store.connect()
for n in range(50):
    store.update([{"uuid": f"{sys.argv[2]}-{n}", "n": n}, {"uuid": "shared", "by": sys.argv[2]}])
"""


def test_concurrent_writers(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sqlite")  # does not exist: they race to make it, too
    commands = [[sys.executable, "-c", WRITER, path, str(i)] for i in range(4)]
    writers = [subprocess.Popen(command) for command in commands]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    store = SQLiteStore(path)
    store.connect()
    assert store.count() == 4 * 50 + 1
    assert store.count({"uuid": "shared"}) == 1
    assert sorted({d["uuid"] for d in store.query({"n": 49})}) == [f"{i}-49" for i in range(4)]


def test_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sqlite")
    endless = WRITER.replace("range(50)", "range(10**9)")
    writer = subprocess.Popen([sys.executable, "-c", endless, path, "0"])
    store = SQLiteStore(path)
    store.connect()
    while store.count() < 20:
        assert writer.poll() is None
    writer.kill()
    writer.wait()
    n = store.count({"uuid": {"$ne": "shared"}})
    assert store.count() == n + 1
    assert store.query_one({"uuid": f"0-{n - 1}"})["n"] == n - 1
    assert store._collection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_not_writable_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreNotWritableError, match=r"folder: found unable to open"):
        SQLiteStore(str(tmp_path / "folder")).connect()
    store = embedded_store(tmp_path)
    ensure_writable(store)
    assert store.count() == 0
    store.docs_store._collection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreNotWritableError, match="readonly database"):
        ensure_writable(store)


def test_unreachable_mongo_is_one_line_without_password() -> None:
    from maggma.stores import MongoStore

    quick = {"serverSelectionTimeoutMS": 200}
    uri = "mongodb://me:pass-word@127.0.0.1:9/db"
    store = JobStore(MongoStore(None, "outputs", uri=uri, mongoclient_kwargs=quick))
    with pytest.raises(StoreNotWritableError) as caught:
        ensure_writable(store)
    assert "\n" not in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_store_from_settings(tmp_path: Path) -> None:
    file = tmp_path / "store.yaml"
    assert store_from_settings(Settings(store=None)) is None
    with pytest.raises(InputError, match=r"store.yaml: store: found FileNotFoundError"):
        store_from_settings(Settings(store=file))
    part = "{{type: SQLiteStore, path: {0}/s.sqlite, key: {1}}}"
    docs = f"docs_store: {part.format(tmp_path, 'uuid')}\n"
    file.write_text(docs)
    with pytest.raises(InputError, match=r"additional_stores: found \[\]"):
        store_from_settings(Settings(store=file))
    file.write_text(f"{docs}additional_stores:\n  data: {part.format(tmp_path, 'blob_uuid')}\n")
    store = store_from_settings(Settings(store=file))
    assert isinstance(store.docs_store, SQLiteStore)


def broken(store: SQLiteStore, uuid: str, change: str) -> None:
    """Change what is on the disk, past the store."""
    condition = f"json_extract(document, '$.uuid') = '{uuid}'"
    store._collection.execute(f"UPDATE {store.collection_name} SET {change} WHERE {condition}")


DAMAGE = {
    "a flipped byte in a number": "document = replace(document, '234.5', '134.5')",
    "a flipped byte in text": "document = replace(document, 'flipped', 'flippee')",
    "its digest": "digest = 'a' || substr(digest, 2)",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_document_is_dropped_and_named(tmp_path: Path, damage, caplog) -> None:
    store = make(tmp_path)
    good = {"uuid": "good", "energy": -234.5, "text": "flipped"}
    store.update([good, {**good, "uuid": "bad"}])
    broken(store, "bad", DAMAGE[damage])
    assert without_id(store.query()) == without_id([good])
    assert store.query_one({"uuid": "bad"}) is None
    assert store.count({"uuid": "bad"}) == 0
    (record,) = caplog.records  # named once
    assert "dropped row 2, which is damaged" in record.getMessage()
    assert store.damaged() == [2]
    store.update({**good, "uuid": "bad", "energy": 1.0})
    assert store.query_one({"uuid": "bad"})["energy"] == 1.0
    store.remove_docs({"uuid": "bad"})
    assert store.count({"uuid": "bad"}) == 0


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"\xff\xfe{}", b'{"$date": {}}', b"[" * 100_000, b'{"uuid": nul']
)
def test_what_is_no_document_is_dropped(tmp_path: Path, text: bytes, caplog) -> None:
    """Of an earlier version, without digest: with whatever a disk has made of it."""
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, document TEXT)")
        rows = [(b'{"uuid": "good"}',), (text,)]
        connection.executemany("INSERT INTO documents (document) VALUES (CAST(? AS TEXT))", rows)
    connection.close()
    store = SQLiteStore(str(path))
    store.connect()
    assert [document["uuid"] for document in store.query()] == ["good"]
    assert store.damaged() == [2]
    store.update([{"uuid": "good", "n": 1}, {"uuid": "new"}])
    assert {document["uuid"]: document.get("n") for document in store.query()} == {
        "good": 1,
        "new": None,
    }
