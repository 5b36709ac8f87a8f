"""Store files of a machine: what is none is one line, and no password is in it."""

import pytest
from maggma.stores import GridFSStore, MongoStore
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from defect_workflows.errors import InputError, StoreNotWritableError
from defect_workflows.running.stores import (
    database_reason,
    ensure_writable,
    mongo_store,
    store_from_settings,
)
from defect_workflows.settings import Settings

URI = "mongodb://me:s3cret@localhost:1/db"
MONGO = f"""\
docs_store: {{type: MongoStore, uri: "{URI}", database: db, collection_name: outputs}}
additional_stores:
  data: {{type: GridFSStore, uri: "{URI}", database: db, collection_name: blobs}}
"""


def opened(tmp_path, text):
    path = tmp_path / "store.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return store_from_settings(Settings(store=path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docs_store: [1, 2\npassword: s3cret\n", "in line 2"),
        ("s3cret", "ValueError"),
        ("- s3cret\n", "ValueError"),
        ("", "TypeError"),
        ("\0", "ReaderError"),
        ("docs_store: s3cret", "expected a jobflow JobStore"),
        ("docs_store: {type: NoStore, password: s3cret}\n", "NoStore"),
        ("docs_store: {type: MongoStore, pasword: s3cret}\n", "missing"),
        (MONGO.split("additional")[0], "additional_stores: found []"),
        (MONGO.replace("Store,", "URIStore,"), "MongoURIStore, which loses its address"),
        (MONGO.replace("GridFSStore,", "GridFSURIStore,"), "expected GridFSStore with"),
        (
            "docs_store: {type: MemoryStore}\nadditional_stores: {data: {type: MemoryStore}}\n",
            "found MemoryStore, expected a store that other processes can open",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_none(tmp_path, text, expected):
    with pytest.raises(InputError) as raised:
        opened(tmp_path, text)
    message = str(raised.value)
    assert f"{tmp_path}/store.yaml: " in message
    assert expected in message
    assert "\n" not in message
    assert "s3cret" not in message


def test_a_uri_is_what_a_worker_gets_too(tmp_path):
    store = opened(tmp_path, MONGO)
    assert MongoStore.from_dict(store.docs_store.as_dict()).uri == URI
    data = store.additional_stores["data"]
    assert GridFSStore.from_dict(data.as_dict()).uri == URI


def test_a_database_that_cannot_be_reached():
    store = mongo_store("db", "localhost", 1, username="me", password="s3cret")
    for part in (store.docs_store, *store.additional_stores.values()):
        part.mongoclient_kwargs = {"serverSelectionTimeoutMS": 100}
    with pytest.raises(StoreNotWritableError) as raised:
        ensure_writable(store)
    message = str(raised.value)
    assert "localhost/1/db: found ServerSelectionTimeoutError (localhost:1: " in message
    assert len(message) < 250
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "error",
    [
        ServerSelectionTimeoutError("h:1: no (configured timeouts: 1), Timeout: 30s, Topology"),
        OperationFailure("Authentication failed., full error: {'ok': 0.0, 'password': 's3cret'}"),
        OSError("x" * 5000 + "\ns3cret"),
    ],
)
def test_what_a_database_says_is_cut(error):
    said = database_reason(error)
    assert len(said) < 250
    assert not any(word in said for word in ("Topology", "s3cret", "\n"))
