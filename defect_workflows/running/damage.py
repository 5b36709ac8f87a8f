"""Results of a store that cannot be used any more, found before a campaign needs them."""

from __future__ import annotations

from jobflow import JobStore

from defect_workflows.decoding import check, name_of, read_output
from defect_workflows.errors import DamagedDocumentError, UntrustedDocumentError
from defect_workflows.running.sqlite import SQLiteStore
from defect_workflows.running.stores import parts


def damaged_results(store: JobStore) -> tuple[int, list[str]]:
    """Look through all documents of a connected store.

    Parameters
    ----------
    store
        The store; reading all of it takes a while.

    Returns
    -------
    int, list of str
        Number of documents of jobs; one line for each that is damaged, incomplete, of another
        version, or names classes that no result is made of.
    """
    lines = [
        f"{part.name} row {row}"
        for part in parts(store)
        if isinstance(part, SQLiteStore)
        for row in part.damaged()
    ]
    found = list(store.docs_store.query(properties=["uuid", "index"]))
    for entry in found:
        try:
            for document in store.docs_store.query(
                {"uuid": entry["uuid"], "index": entry["index"]}
            ):
                check(document, name_of(document))
            read_output(store, entry["uuid"], entry["index"])
        except (DamagedDocumentError, UntrustedDocumentError, KeyError) as error:
            lines.append(" ".join(str(error).split()))
    return len(found), lines
