"""Outputs of earlier jobs by address: how a graph that grows refers to what it has already done.

FireWorks refuses jobs that refer to a job outside of the replacement they came with, and a whole
potential or label set has no place in the specification of a job. So a job that replaces itself
(`growing_job`) gets the addresses of its inputs, reads what it needs and hands the addresses on;
ordinary jobs (`reuse.job`) find the outputs in the store before they start.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any, Self

import jobflow
from jobflow import CURRENT_JOB, Flow, Job, JobConfig, JobStore, OutputReference, Response
from monty.json import MSONable, jsanitize

from defect_workflows.decoding import checked, read_output
from defect_workflows.errors import DamagedDocumentError, UntrustedDocumentError

KEPT = 8
"""So many outputs, those read last, stay in memory: the jobs of a refinement read the same ones."""

DIGEST = "digest"
"""Key of the metadata of a job whose output others may refer to."""

DIGEST_FIELD = f"metadata.{DIGEST}"

SMALL = 500
"""Characters up to which an output is no larger than a reference to it with its bookkeeping."""

_outputs: dict[tuple[Any, ...], dict[str, Any]] = {}
"""jobflow's caches of outputs, by job, index and time of completion."""


class StoredOutput(MSONable):
    """The address of a finished job's output, or of a part of it, in the job store.

    Parameters
    ----------
    uuid
        Of the job.
    attributes
        Path into its output: pairs of kind (``a`` attribute, ``i`` index) and name, as jobflow's
        references have it.
    """

    def __init__(self, uuid: str, attributes: list[tuple[str, Any]] | None = None) -> None:
        self.uuid = uuid
        self.attributes = [tuple(attribute) for attribute in attributes or []]

    @classmethod
    def of(cls, reference: OutputReference) -> Self:
        """Return the address that a reference has."""
        return cls(reference.uuid, list(reference.attributes))

    def part(self, name: str) -> Self:
        """Return the address of an attribute."""
        return type(self)(self.uuid, [*self.attributes, ("a", name)])

    def item(self, index: int) -> Self:
        """Return the address of an item of a list."""
        return type(self)(self.uuid, [*self.attributes, ("i", index)])

    def value(self) -> Any:
        """Read the output from the store of the running job; it is shared, not to be changed."""
        store = checked(CURRENT_JOB.store)
        reference = OutputReference(self.uuid, tuple(self.attributes))
        return reference.resolve(store, cache=_kept(self.uuid, store))


def _kept(uuid: str, store: JobStore) -> dict[str, Any]:
    """Return jobflow's cache of the last output of a job, empty unless it was read before."""
    last = store.query_one({"uuid": uuid}, ["completed_at"], sort={"index": -1}) or {}
    version = (uuid, last.get("index"), str(last.get("completed_at")))
    cache = _outputs.pop(version, {})
    _outputs[version] = cache  # the latest is the last
    while len(_outputs) > KEPT:
        del _outputs[next(iter(_outputs))]
    return cache


def part(source: OutputReference | StoredOutput, name: str) -> Any:
    """Return a reference to, or the address of, an attribute of a job's output."""
    return source.part(name) if isinstance(source, StoredOutput) else getattr(source, name)


def growing_job(method: Callable | None = None, **kwargs: Any) -> Any:
    """Make a function that replaces itself a jobflow job whose inputs are addresses.

    Every reference among its arguments arrives as a `StoredOutput`.
    """
    if method is None:
        return functools.partial(growing_job, **kwargs)

    @functools.wraps(method)
    def addressed(*args: Any, **named: Any) -> Any:
        arguments, named = (
            _replaced(args, OutputReference, StoredOutput.of),
            _replaced(named, OutputReference, StoredOutput.of),
        )
        return method(*arguments, **named)

    config = JobConfig(resolve_references=False, expose_store=True)
    return jobflow.job(sharing(addressed), config=config, **kwargs)


def reading(method: Callable) -> Callable:
    """Let a job's function find the outputs whose addresses are among its arguments."""

    @functools.wraps(method)
    def resolved(*args: Any, **named: Any) -> Any:
        arguments = _replaced(args, StoredOutput, StoredOutput.value)
        return method(*arguments, **_replaced(named, StoredOutput, StoredOutput.value))

    return resolved


def sharing(method: Callable) -> Callable:
    """Let a job return a reference to an output of its store that equals its own: no second copy.

    What is there is read first: a damaged one is no substitute.
    """

    @functools.wraps(method)
    def shared(*args: Any, **named: Any) -> Any:
        output = method(*args, **named)
        job, store = CURRENT_JOB.job, CURRENT_JOB.store
        parts = output if isinstance(output, list | tuple) else [output]
        jobs = (Response, Job, Flow, OutputReference)
        if job is None or store is None or any(isinstance(part, jobs) for part in parts):
            return output
        digest = _digest(output)
        if digest is None:
            return output
        store.ensure_index(DIGEST_FIELD)
        same = list(store.query({DIGEST_FIELD: digest}, ["uuid", "index"]))
        if job.uuid not in {entry["uuid"] for entry in same}:  # else it would refer to itself
            for entry in same:
                if _is_intact(store, entry, digest):
                    # jobflow would hold the schema against the reference
                    job.output_schema = None  # type: ignore[assignment]
                    return OutputReference(entry["uuid"])
        job.metadata[DIGEST] = digest
        return output

    return shared


def _digest(output: Any) -> str | None:
    """Return the SHA-256 of an output as it is stored; None if it is hardly more than that."""
    content = jsanitize(output, strict=True, enum_values=True, allow_bson=True)
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest() if len(text) > SMALL else None


def _is_intact(store: JobStore, entry: dict[str, Any], digest: str) -> bool:
    """Whether references to a job lead to this output, and it is what its digest says."""
    last = store.query_one({"uuid": entry["uuid"]}, ["index"], sort={"index": -1})
    if last is None or last["index"] != entry["index"]:
        return False
    try:
        return _digest(read_output(store, entry["uuid"], entry["index"])) == digest
    except (DamagedDocumentError, UntrustedDocumentError):
        return False


def _replaced(value: Any, kind: type, function: Callable) -> Any:
    """Apply a function to all objects of a kind in nested plain containers."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, kind, function) for item in value)
    if isinstance(value, dict):
        return {key: _replaced(item, kind, function) for key, item in value.items()}
    return value
