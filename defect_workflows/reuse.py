"""Nothing is paid for twice: fingerprints of inputs, and finished results found by them.

An expensive job computes the fingerprint of everything that determines its result and puts it into
the field ``fingerprint`` of the document it returns. Before it computes, it asks its own store for
a document with that fingerprint. This is also how a killed campaign resumes, under every manager::

    @reuse.job(data=["model"])
    def train(labels: list[Label], settings: PotentialSettings) -> PotentialDocument:
        key = reuse.fingerprint("train", labels, settings)
        return reuse.finished_or(
            lambda: train_committee(labels, settings, fingerprint=key), key, PotentialDocument
        )

A job that does not compute but replaces itself with others (`Response(replace=...)`) calls
`find_finished` and lets the last of them return the document.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

import jobflow
import numpy as np
from jobflow import CURRENT_JOB, JobConfig
from monty.json import MSONable
from pydantic import BaseModel
from pymatgen.core import IStructure

from defect_workflows.decoding import read_output
from defect_workflows.errors import DamagedDocumentError, ReuseError, UntrustedDocumentError
from defect_workflows.stored import reading, sharing

logger = logging.getLogger(__name__)

FINGERPRINT_FIELD = "output.fingerprint"
REUSED_FROM = "reused_from"
"""Key of the job's metadata, in its document in the store too: uuid of the job that computed."""

COORDINATE_DECIMALS = 6
SIGNIFICANT_DIGITS = 10
ZERO = 1e-12


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of the inputs of a calculation.

    Independent of the order of keys, of the process and of the versions of the libraries. Lattice
    vectors and Cartesian coordinates of structures are rounded to 1e-6 Å, all other floats to 10
    significant digits (magnitudes below 1e-12 are 0): rounding noise that crosses a boundary can
    cost a repeated calculation, never a wrong result. 1 equals 1.0, a tuple equals a list.

    Parameters
    ----------
    *parts
        Plain values, numpy arrays, structures, pydantic documents, dataclasses, MSONable objects.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        If a part has no canonical form.
    """
    return hashlib.sha256(_dumps([canonical(part) for part in parts]).encode()).hexdigest()


def canonical(value: Any) -> Any:
    """Return the plain, rounded form of a value that its fingerprint is made of."""
    match value:
        case None | bool() | str():
            return value.value if isinstance(value, Enum) else value
        case Enum():
            return canonical(value.value)
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return _rounded(float(value))
        case np.bool_():
            return bool(value)
        case np.ndarray():
            return canonical(value.tolist())
        case bytes():
            return {"@bytes": hashlib.sha256(value).hexdigest()}
        case PurePath() | date():
            return str(value)
        case list() | tuple():
            return [canonical(item) for item in value]
        case set() | frozenset():
            return {"@set": sorted(_dumps(canonical(item)) for item in value)}
        case Mapping():
            return _canonical_mapping(value)
        case IStructure():
            return _canonical_structure(value)
        case BaseModel():
            return _record(value, dict(value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _record(
                value, {field.name: getattr(value, field.name) for field in fields(value)}
            )
        case MSONable():
            return canonical(value.as_dict())
        case _:
            raise TypeError(
                f"fingerprint: found {type(value).__name__}, expected plain values, arrays, "
                "structures, pydantic, dataclass or MSONable objects"
            )


def job(method: Callable | None = None, **kwargs: Any) -> Any:
    """Make a function a jobflow job that may ask its store for finished results.

    Takes what `jobflow.job` takes. Addresses among its arguments (`stored.StoredOutput`) are read
    from the store before it starts. An output that the store has already, as a finished result that
    is returned, becomes a reference to that.
    """
    if method is None:
        return functools.partial(job, **kwargs)
    config = replace(kwargs.pop("config", JobConfig()), expose_store=True)
    return jobflow.job(sharing(reading(method)), config=config, **kwargs)


def find_finished[T: BaseModel](key: str, *kinds: type[T]) -> T | None:
    """Return the finished document with this fingerprint from the store of the running job.

    The newest one that can be read counts; damaged ones are named in the log. That a result was
    found is recorded in the job's metadata under `REUSED_FROM`. Outside of a job there is no store,
    and nothing is found.

    Parameters
    ----------
    key
        The fingerprint.
    *kinds
        Types of document that count: `Label` alone, or `RefusedLabel` too where a refused
        calculation shall not be repeated.

    Raises
    ------
    ReuseError
        If the running job was not made by `reuse.job`, so that its store is out of reach.
    """
    if CURRENT_JOB.job is None:
        return None
    store = CURRENT_JOB.store
    if store is None:
        raise ReuseError(f"job {CURRENT_JOB.job.name}: found @jobflow.job, expected @reuse.job")
    store.ensure_index(FINGERPRINT_FIELD)
    found = store.query(
        {FINGERPRINT_FIELD: key}, properties=["uuid", "index"], sort={"completed_at": -1}
    )
    for entry in list(found):
        try:
            document = read_output(store, entry["uuid"], entry["index"])
        except (DamagedDocumentError, UntrustedDocumentError) as error:
            # damaged, killed between document and large object, or of another version
            logger.warning("a finished result is dropped and computed again: %s", error)
            continue
        # what was asked for and what was read may differ in a document that was tampered with
        if isinstance(document, kinds) and getattr(document, "fingerprint", None) == key:
            CURRENT_JOB.job.metadata[REUSED_FROM] = entry["uuid"]
            return document
    return None


def finished_or[T: BaseModel](compute: Callable[[], T], key: str, *kinds: type[T]) -> T:
    """Return the finished document with this fingerprint, or compute it.

    Parameters
    ----------
    compute
        Makes the document; its ``fingerprint`` must be `key`.
    key, *kinds
        As in `find_finished`.

    Raises
    ------
    ReuseError
        If the computed document carries another fingerprint: it would never be found again.
    """
    document = find_finished(key, *kinds)
    if document is None:
        document = compute()
        carried = getattr(document, "fingerprint", None)
        if carried != key:
            raise ReuseError(
                f"{type(document).__name__}.fingerprint: found {carried}, expected {key}"
            )
    return document


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _rounded(value: float) -> int | float:
    if abs(value) < ZERO:
        return 0
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded


def _canonical_mapping(mapping: Mapping) -> dict:
    # a store turns integer keys into strings; library versions and modules do not change results
    kept = {str(canonical(k)): v for k, v in mapping.items() if k not in ("@module", "@version")}
    if len(kept) < len(mapping) - sum(k in mapping for k in ("@module", "@version")):
        raise TypeError(f"fingerprint: keys {sorted(map(str, mapping))} are equal as strings")
    return {name: canonical(value) for name, value in kept.items()}


def _canonical_structure(structure: IStructure) -> dict:
    def coordinates(array: np.ndarray) -> list:
        return (np.round(array, COORDINATE_DECIMALS) + 0.0).tolist()  # + 0.0 removes -0.0

    return {
        "@class": "Structure",
        "lattice": coordinates(structure.lattice.matrix),
        "coordinates": coordinates(structure.cart_coords),
        "species": [site.species_string for site in structure],
        "charge": canonical(structure.charge),
        "site_properties": canonical(structure.site_properties),
        "properties": canonical(structure.properties),
    }


def _record(value: Any, content: dict[str, Any]) -> dict:
    return {"@class": type(value).__name__, **{k: canonical(v) for k, v in content.items()}}
