"""Documents of a store as objects: only classes that results are made of are decoded.

Monty imports the module and takes the class that a document names. Whoever can write to a store
could so choose what runs on the machine that reads it. What lies in a store is therefore looked
through before it is decoded: see docs/trust.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from jobflow import JobStore
from monty.json import MontyDecoder
from pydantic import ValidationError

from defect_workflows.errors import DamagedDocumentError, UntrustedDocumentError
from defect_workflows.settings import PREFIX, read_settings, settings_file

PACKAGES = (
    "defect_workflows.calculations",
    "defect_workflows.campaign",
    "defect_workflows.documents",
    "defect_workflows.stored",
    "doped.core",
    "doped.thermodynamics",
    "jobflow.core.reference",
    "jobflow.core.schemas",
    "pydefect.analyzer",
    "pymatgen.analysis.defects",
    "pymatgen.core",
    "pymatgen.electronic_structure",
    "pymatgen.entries",
    "pymatgen.io.vasp.inputs",
    "pymatgen.io.vasp.outputs",
    "pymatgen.symmetry",
)
"""Packages and modules whose classes results are made of; settings may add others."""

PLAIN = {
    ("bson.objectid", "ObjectId"),
    ("datetime", "datetime"),
    ("numpy", "array"),
    ("pathlib", "Path"),
    ("uuid", "UUID"),
}
"""What monty makes from text and numbers by itself."""

DEEPEST = 100
"""Levels of nesting that a document may have; results have up to twenty."""


def check(value: Any, where: str) -> None:
    """Check that a document as it was stored names no class but those of `PACKAGES`.

    Parameters
    ----------
    value
        Plain values, lists and dicts.
    where
        What the document is, for messages.

    Raises
    ------
    UntrustedDocumentError
        One line: the document, and the module and name that it asks for.
    """
    more = _trusted(os.environ.get(f"{PREFIX}TRUSTED_PACKAGES"), settings_file())
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > DEEPEST:
            raise UntrustedDocumentError(f"{where}: found more than {DEEPEST} levels of nesting")
        if isinstance(item, str):
            if "@module" in item or "\\u0040" in item:
                raise UntrustedDocumentError(f"{where}: found a text that decodes to an object")
        elif isinstance(item, dict):
            if "@module" in item and (reason := _refusal(item, more)) is not None:
                raise UntrustedDocumentError(
                    f"{where}: found {reason}, expected a class that results are made of "
                    "(DEFECT_WORKFLOWS_TRUSTED_PACKAGES adds packages)"
                )
            waiting.extend((x, depth + 1) for x in item.values() if isinstance(x, _NESTED))
        elif isinstance(item, list | tuple):
            waiting.extend((x, depth + 1) for x in item if isinstance(x, _NESTED))


_NESTED = (str, dict, list, tuple)


def decoded(value: Any, where: str) -> Any:
    """Return what a stored document stands for.

    Raises
    ------
    UntrustedDocumentError
        As `check`.
    DamagedDocumentError
        If its classes do not take what it holds: damaged, or of another version of a package.
    """
    check(value, where)
    try:
        return MontyDecoder().process_decoded(value)
    except Exception as error:  # whatever a constructor makes of what it does not expect
        raise DamagedDocumentError(f"{where}: is unreadable ({_line(error)})") from error


class CheckedJobStore(JobStore):
    """A job store that hands out no document that names other classes than results are made of.

    Jobflow decodes what it gets from the store: this is what it gets, also in a rocket of
    FireWorks, where the file that jobflow's ``JOB_STORE`` names holds this class.
    """

    def query(
        self,
        criteria: Any = None,
        properties: Any = None,
        sort: Any = None,
        skip: int = 0,
        limit: int = 0,
        load: Any = None,
    ) -> Iterator[dict]:
        """Yield the documents that match, large objects included; arguments as of `JobStore`.

        Raises
        ------
        UntrustedDocumentError
            As `check`.
        """
        for document in super().query(criteria, properties, sort, skip, limit, load):
            check(document, name_of(document))
            yield document


_view: tuple[JobStore, CheckedJobStore] | None = None


def checked(store: JobStore) -> CheckedJobStore:
    """Return a store, or a view of it, that checks what it hands out."""
    global _view  # the last one: making it touches the stores it consists of
    if isinstance(store, CheckedJobStore):
        return store
    if _view is None or _view[0] is not store:
        inner = vars(store)  # jobflow leaves these attributes without types
        view = CheckedJobStore(
            store.docs_store, inner["additional_stores"], inner["save"], inner["load"]
        )
        _view = (store, view)
    return _view[1]


def read_output(store: JobStore, uuid: str, index: int) -> Any:
    """Return the output of a job, large objects included.

    Raises
    ------
    UntrustedDocumentError, DamagedDocumentError
        One line: the document and what is wrong with it.
    """
    where = f"store document {uuid}"
    try:
        output = checked(store).get_output(uuid, which=index, load=True)
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        # a large object or a result that it refers to is missing: killed while writing, or damaged
        raise DamagedDocumentError(f"{where}: is unreadable ({_line(error)})") from error
    return decoded(output, where)


def name_of(document: dict) -> str:
    """Return what a document of a store is called in messages."""
    job = f" ({document['name']})" if isinstance(document.get("name"), str) else ""
    return f"store document {document.get('uuid')}{job}"


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        return f"{error.title}: {key}: {first['msg'][:160]}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _refusal(item: dict, more: tuple[str, ...]) -> str | None:
    """Return what an encoded object asks for if it must not get it."""
    module, name, function = item["@module"], item.get("@class"), item.get("@callable")
    if not module or (name is None and function is None):
        return None  # stays a dict
    asked = f"{name if name is not None else function!s:.100} of module {module!s:.100}"
    if "@class" in item:
        return None if _allowed(str(module), str(name), more) else f"class {asked}"
    # schemas of references are the only callables in results
    bound = item.get("@bound") is not None
    return None if not bound and _allowed(str(module), str(function), more) else f"callable {asked}"


@lru_cache(maxsize=1)
def _trusted(variable: str | None, file: Path) -> tuple[str, ...]:
    """Return what the settings add; read once, for thousands of documents are looked through."""
    return tuple(read_settings().trusted_packages)


@lru_cache(maxsize=4096)
def _allowed(module: str, name: str, more: tuple[str, ...]) -> bool:
    if (module, name) in PLAIN:
        return True
    if not _within(module, more):
        return False
    try:
        found = getattr(import_module(module), name)
    except Exception:  # unknown there: monty leaves such a document a dict, or fails
        return name.isidentifier()
    # what a trusted module has imported from elsewhere is not trusted
    return isinstance(found, type) and _within(found.__module__, more)


def _within(module: str, more: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in (*PACKAGES, *more))
