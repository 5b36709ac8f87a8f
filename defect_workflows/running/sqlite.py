"""A durable maggma store without a server: one SQLite file, any number of processes."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bson import json_util
from maggma.core import Sort, Store
from maggma.stores import MemoryStore
from monty.json import jsanitize

from defect_workflows.errors import MachineError, StoreNotWritableError

logger = logging.getLogger(__name__)

BUSY_TIMEOUT = 60.0  # s that a writer waits for another one
_NAME = re.compile(r"[A-Za-z_]\w*")
_FIELD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class SQLiteStore(Store):
    """Documents as JSON in one table of an SQLite file.

    Every update is one transaction, on disk before the call returns: a killed process leaves all of
    it or nothing. Each document has a digest: one that is no longer what was written is damaged, is
    named in the log, and counts as not there. Equality (and ``$in``) on an indexed field is
    answered by SQLite; whatever else the criteria ask is answered by maggma's own `MemoryStore` on
    the documents that remain, so queries mean what they mean there. The file must lie on a disk of
    the machine that runs: SQLite's write-ahead log does not work across machines.

    Parameters
    ----------
    path
        The SQLite file; made, with its folder, when it does not exist.
    collection_name
        The table. Several stores may share a file.
    indexed_fields
        Dotted names of fields to index, beside `key`. An indexed field holds scalars, not lists.
    key
        Field that identifies a document where `update` is not told otherwise.

    Raises
    ------
    StoreNotWritableError
        By `connect` and every write, if the file cannot be written.
    """

    def __init__(
        self,
        path: str,
        collection_name: str = "documents",
        indexed_fields: Sequence[str] = (),
        key: str = "uuid",
    ) -> None:
        if not _NAME.fullmatch(collection_name):
            raise ValueError(f"collection_name: found {collection_name!r}, expected an identifier")
        self.path = str(Path(path).absolute())
        self.collection_name = collection_name
        self.indexed_fields = list(indexed_fields)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._indexed: set[str] = set()
        self._damaged: set[int] = set()
        super().__init__(key=key)

    @property
    def name(self) -> str:
        """Name of the store."""
        return f"sqlite://{self.path}/{self.collection_name}"

    @property
    def _collection(self) -> sqlite3.Connection:
        """Return the open connection."""
        if self._connection is None:
            raise RuntimeError(f"{self.name} is not connected: call connect() first")
        return self._connection

    def connect(self, force_reset: bool = False) -> None:
        """Open the file, make the table and its indices."""
        if self._connection is not None and not force_reset:
            return
        self.close()
        with self._typed_errors():
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            _enter_wal_mode(self._connection)
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self.collection_name} "
                "(id INTEGER PRIMARY KEY, document TEXT NOT NULL, digest TEXT)"
            )
            columns = self._connection.execute(f"PRAGMA table_info({self.collection_name})")
            if "digest" not in {column[1] for column in columns}:  # of an earlier version
                self._connection.execute(
                    f"ALTER TABLE {self.collection_name} ADD COLUMN digest TEXT"
                )
            for field in {self.key, *self.indexed_fields}:
                self.ensure_index(field)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def count(self, criteria: dict | None = None) -> int:
        """Count the documents that match."""
        if not criteria:
            query = f"SELECT COUNT(*) FROM {self.collection_name}"
            with self._typed_errors():
                return self._collection.execute(query).fetchone()[0]
        return self._candidates(criteria).count(criteria)

    def query(
        self,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[dict]:
        """Yield the documents that match; arguments as of every maggma store."""
        plain = properties is None or isinstance(properties, list | tuple)
        if not plain or any("." in name for name in properties or ()):
            memory = self._candidates(criteria)
            yield from memory.query(criteria, properties, sort, skip=skip, limit=limit)
            return
        # large documents pass by the memory store, which would copy them several times
        rows = self._rows(criteria)
        memory = self._in_memory(rows, _top_level_fields([*(criteria or ()), *(sort or ())]))
        for found in memory.query(criteria, ["_id"], sort, skip=skip, limit=limit):
            document = rows[found["_id"]]
            kept = document.keys() if properties is None else document.keys() & set(properties)
            yield found | {name: document[name] for name in document if name in kept}

    def groupby(
        self,
        keys: list[str] | str,
        criteria: dict | None = None,
        properties: dict | list | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[dict, list[dict]]]:
        """Yield groups of documents; arguments as of every maggma store."""
        memory = self._candidates(criteria)
        yield from memory.groupby(keys, criteria, properties, sort, skip=skip, limit=limit)

    def distinct(
        self, field: str, criteria: dict | None = None, all_exist: bool = False
    ) -> list[Any]:
        """Return the distinct values of a field."""
        return self._candidates(criteria).distinct(field, criteria, all_exist)

    def update(self, docs: list[dict] | dict, key: list | str | None = None) -> None:
        """Replace the documents that have the same key, insert the others, in one transaction."""
        keys = [key] if isinstance(key, str) else key or [self.key]
        documents = [
            jsanitize(doc, allow_bson=True, recursive_msonable=True)
            for doc in (docs if isinstance(docs, list) else [docs])
        ]
        rows = []
        for document in documents:
            document.pop("_id", None)
            text = json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS)
            values = (text, _digest(text.encode()))
            rows.append(({name: document[name] for name in keys}, values))
        table = self.collection_name
        with self._transaction() as connection:
            for criteria, values in rows:
                present = self.query_one(criteria, properties=["_id"])
                if present is None:
                    statement = f"INSERT INTO {table} (document, digest) VALUES (?, ?)"
                    connection.execute(statement, values)
                else:
                    statement = f"UPDATE {table} SET document = ?, digest = ? WHERE id = ?"
                    connection.execute(statement, (*values, present["_id"]))

    def remove_docs(self, criteria: dict) -> None:
        """Remove the documents that match."""
        with self._transaction() as connection:
            found = [(doc["_id"],) for doc in self.query(criteria, properties=["_id"])]
            connection.executemany(f"DELETE FROM {self.collection_name} WHERE id = ?", found)

    def ensure_index(self, key: str, unique: bool = False) -> bool:
        """Index a field; False if it cannot be (name, or documents that are not unique)."""
        if not _FIELD.fullmatch(key):
            return False
        if key not in self._indexed:
            try:
                self._collection.execute(
                    f"CREATE {'UNIQUE' if unique else ''} INDEX IF NOT EXISTS "
                    f'"{self.collection_name}:{key}" ON {self.collection_name} ({_extract(key)})'
                )
            except sqlite3.IntegrityError:
                return False
            except sqlite3.OperationalError as error:
                if "malformed JSON" not in str(error):
                    raise
                return False  # a damaged document: Python looks through all of them instead
            self._indexed.add(key)
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SQLiteStore) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def _candidates(self, criteria: dict | None) -> MemoryStore:
        """Return, in memory, all documents that can match."""
        return self._in_memory(self._rows(criteria))

    def _in_memory(self, rows: dict[int, dict], fields: set[str] | None = None) -> MemoryStore:
        """Return a memory store of documents, or of some of their fields."""
        memory = MemoryStore(key=self.key)
        memory.connect()
        if rows:
            memory._collection.insert_many(
                {"_id": id_, **{k: v for k, v in document.items() if fields is None or k in fields}}
                for id_, document in rows.items()
            )
        return memory

    def _rows(self, criteria: dict | None) -> dict[int, dict]:
        """Return all documents that can match by their numbers: SQLite's part of the criteria."""
        conditions, values = [], []
        for field, condition in (criteria or {}).items():
            wanted = _wanted_scalars(condition) if field in self._indexed else None
            if wanted is not None:
                conditions.append(f"{_extract(field)} IN ({', '.join('?' * len(wanted))})")
                values.extend(wanted)
        # as bytes: damage need not be text any more
        query = f"SELECT id, CAST(document AS BLOB), digest FROM {self.collection_name}"
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        with self._lock, self._typed_errors():
            rows = self._collection.execute(f"{query} ORDER BY id", values).fetchall()
        found = {}
        for id_, text, digest in rows:
            document = _decoded(text, digest)
            if isinstance(document, dict):
                found[id_] = document
            elif id_ not in self._damaged:
                self._damaged.add(id_)
                logger.error("%s: dropped row %d, which is damaged (%s)", self.name, id_, document)
        return found

    def damaged(self) -> list[int]:
        """Return the rows that cannot be read."""
        self._rows(None)
        return sorted(self._damaged)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._typed_errors():
            connection = self._collection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            mend = (
                "move it away, what it held is then computed again "
                "('sqlite3 FILE .recover' may save what can be read)"
            )
            raise sqlite_error(f"store {self.path}", error, mend) from error


def sqlite_error(what: str, error: Exception, mend: str) -> Exception:
    """Return the one line that says what is wrong with an SQLite file and how to mend it.

    Parameters
    ----------
    what
        The file.
    error
        What SQLite raised.
    mend
        What to do with a file that is damaged.
    """
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_NOMEM")):
        return MachineError(f"{what}: {error}: once that is mended, the same command goes on")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreNotWritableError(
            f"{what}: found {error}, expected a writable SQLite file in a writable folder (to "
            "read a finished campaign, copy the folder)"
        )
    if isinstance(error, OSError):
        return StoreNotWritableError(f"{what}: found {error}, expected a writable SQLite file")
    return StoreNotWritableError(f"{what}: is damaged ({error}): {mend}")


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _decoded(text: bytes, digest: str | None) -> dict | str:
    """Return a document, or why it is none; those of an earlier version have no digest."""
    if digest is not None and _digest(text) != digest:
        return "another digest than it was written with"
    try:
        # BSON's own types and NaN are written as {"$type": ...}; without one, plain JSON is faster
        document = json_util.loads(text.decode()) if b'"$' in text else json.loads(text)
    except Exception as error:  # what damage may look like to JSON and BSON
        return f"{type(error).__name__}: {str(error)[:100]}"
    return document if isinstance(document, dict) else f"found {type(document).__name__}"


def _top_level_fields(names: list[str]) -> set[str] | None:
    """Return the fields of a document that dotted names mention; None where operators may do."""
    if any(name.startswith("$") for name in names):
        return None
    return {name.split(".")[0] for name in names}


def _extract(field: str) -> str:
    """SQL expression of a dotted field; the same text in index and query, or SQLite ignores it."""
    path = ".".join(f'"{part}"' for part in field.split("."))
    return f"json_extract(document, '$.{path}')"


def _wanted_scalars(condition: Any) -> list | None:
    """Values that an indexed field may have to match, or None if SQLite cannot tell."""
    if isinstance(condition, dict):
        wanted = condition.get("$in") if list(condition) == ["$in"] else None
    else:
        wanted = [condition]
    if isinstance(wanted, list) and len(wanted) < 1000 and all(map(_comparable, wanted)):
        return wanted
    return None


def _comparable(value: Any) -> bool:
    """Whether JSON, SQLite and Python agree on equality of this value."""
    if isinstance(value, str):
        return "\0" not in value
    return isinstance(value, int) and abs(value) < 2**53


def _enter_wal_mode(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite's busy timeout does not cover this one step."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
