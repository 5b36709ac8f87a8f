"""Where results live: the embedded store, a MongoDB, or what the machine's settings name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jobflow import JobStore
from maggma.core import Store
from maggma.stores import GridFSStore, MemoryStore, MongoStore
from pymongo.errors import PyMongoError

from defect_workflows.decoding import CheckedJobStore, checked
from defect_workflows.errors import InputError, StoreNotWritableError
from defect_workflows.reuse import FINGERPRINT_FIELD
from defect_workflows.running.sqlite import SQLiteStore
from defect_workflows.settings import Settings

DATA_STORE = "data"
"""Name of the additional store for large objects: models, site potentials."""


def embedded_store(workdir: Path) -> JobStore:
    """Return the durable store of a work folder: one file, no server.

    Parameters
    ----------
    workdir
        The work folder; the file is ``store.sqlite`` in it.

    Returns
    -------
    JobStore
        With the additional store ``data``.
    """
    path = str(Path(workdir) / "store.sqlite")
    return CheckedJobStore(
        SQLiteStore(path, "outputs", indexed_fields=[FINGERPRINT_FIELD]),
        additional_stores={
            DATA_STORE: SQLiteStore(path, "data", indexed_fields=["job_uuid"], key="blob_uuid")
        },
    )


def mongo_store(
    database: str,
    host: str = "localhost",
    port: int = 27017,
    username: str = "",
    password: str = "",
    auth_source: str | None = None,
) -> JobStore:
    """Return a store in MongoDB: documents in ``outputs``, large objects in GridFS.

    Credentials come from the caller's settings; nothing here writes them anywhere.

    Parameters
    ----------
    database, host, port
        Where.
    username, password, auth_source
        Credentials; the default of `auth_source` is the database.

    Returns
    -------
    JobStore
        With the additional store ``data``.
    """
    where: dict[str, Any] = {
        "database": database,
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "auth_source": auth_source,
    }
    return CheckedJobStore(
        MongoStore(collection_name="outputs", **where),
        additional_stores={DATA_STORE: GridFSStore(collection_name="outputs_data", **where)},
    )


def store_from_settings(settings: Settings) -> JobStore | None:
    """Return the store that the machine's settings name, or None where they name none.

    Raises
    ------
    InputError
        If the file is missing, is no store, or has no additional store ``data``.
    """
    if settings.store is None:
        return None
    expected = "expected a jobflow JobStore with the additional store 'data'"
    path = settings.store.expanduser()
    try:
        store = JobStore.from_file(path)
    except Exception as error:  # of every YAML and store library; its text may hold a password
        mark = getattr(error, "problem_mark", None)
        said = f"{type(error).__name__} in line {mark.line + 1}" if mark else _without_values(error)
        raise InputError(f"{path}: store: found {said}, {expected}") from None
    if DATA_STORE not in additional_stores(store):
        found = sorted(additional_stores(store))
        raise InputError(f"{path}: additional_stores: found {found}, {expected}")
    for part in parts(store):
        _check_portable(part, path)
    return checked(store)


def _without_values(error: Exception) -> str:
    """Return what an error says if it names keys alone, else its type."""
    named = isinstance(error, OSError | KeyError | TypeError)
    return f"{type(error).__name__} ({error})" if named else type(error).__name__


def _check_portable(part: Store, path: Path) -> None:
    """Check that a store can be handed to the processes that run jobs."""
    kind = type(part).__name__
    if type(part) is MemoryStore:
        raise InputError(f"{path}: found {kind}, expected a store that other processes can open")
    try:
        type(part).from_dict(part.as_dict())
    except Exception:
        other = kind.replace("URI", "")
        raise InputError(
            f"{path}: found {kind}, which loses its address on the way to another process, "
            f"expected {other} with database, collection_name and uri, or with host, port, "
            "username, password and auth_source"
        ) from None


def additional_stores(store: JobStore) -> dict[str, Store]:
    """Return the additional stores of a store by name."""
    return vars(store)["additional_stores"]  # jobflow leaves the attribute without a type


def parts(store: JobStore) -> list[Store]:
    """Return the stores that a store consists of, that of the documents first."""
    return [store.docs_store, *additional_stores(store).values()]


def ensure_writable(store: JobStore) -> None:
    """Connect a store and write, then remove, a probe document in each of its parts.

    Raises
    ------
    StoreNotWritableError
        One line: which store, what happened.
    """
    for part in parts(store):
        probe = {part.key: "defect-workflows-probe", "index": 0}
        try:
            part.connect()
            part.update(probe)
            part.remove_docs({part.key: probe[part.key]})
        except (PyMongoError, OSError) as error:
            raise StoreNotWritableError(
                f"store {_where(part)}: found {database_reason(error)}, expected a writable store"
            ) from error


def database_reason(error: Exception) -> str:
    """Return what a database said, without the state of all its servers."""
    said = re.split(r", (?:Timeout|full error)|\(configured timeouts|\n", str(error))[0].strip()
    return f"{type(error).__name__} ({said[:200]})"


def _where(part: object) -> str:
    """Name a store without its credentials (a URI may hold them)."""
    names = ["host", "port", "database", "path"]
    if getattr(part, "uri", None):
        names = ["database"]
    found = [getattr(part, name, None) for name in names]
    return f"{type(part).__name__} {'/'.join(str(value) for value in found if value is not None)}"
