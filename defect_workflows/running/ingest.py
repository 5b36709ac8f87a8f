"""Labels from finished calculations in a store: written once, found by their fingerprints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jobflow import JobStore
from monty.json import jsanitize

from defect_workflows.dft.ingest import (
    INGESTED,
    SAME_STATE,
    FoundRun,
    Known,
    find_runs,
    formula_of,
    kind_of,
    labels_of,
    read_found,
    stored_labels,
    theory_warnings,
)
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.ingest import (
    DuplicateFrame,
    IngestedRun,
    IngestReport,
    RefusedFrame,
)
from defect_workflows.documents.labels import Label
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import InputError
from defect_workflows.running.stores import embedded_store, ensure_writable, store_from_settings
from defect_workflows.settings import read_settings

DEFAULT_FOLDER = "ingested"
"""Work folder of labels for which neither a folder nor a store is named."""

_NAME, _KIND, _REHEARSAL = "name", "metadata.kind", "output.rehearsal"


def ingest(
    directories: Sequence[Path],
    store: JobStore,
    *,
    where: str = "",
    on_run: Callable[[FoundRun], None] | None = None,
) -> IngestReport:
    """Put every converged ionic step of finished calculations into a store, each once.

    Parameters
    ----------
    directories
        Folders; their subfolders are searched too.
    store
        Where the labels go; must be connected.
    where
        What the report calls the store.
    on_run
        Called before a run is read.

    Raises
    ------
    InputError
        If a folder does not exist, no folder holds VASP output, or real calculations would come
        together with those of a rehearsal.
    """
    check_folders(directories)
    report = IngestReport(store=where, runs=[], refused=[], duplicates=[], warnings=[])
    seen: set[Path] = set()
    theories = []
    writer = _Writer(store, report)
    for found in (item for directory in directories for item in find_runs(directory)):
        if isinstance(found, RefusedFrame):
            report.refused.append(found)
            continue
        first = found.files.paths[0].resolve()
        if first in seen:  # one folder lies in another that was asked for too
            continue
        seen.add(first)
        if on_run is not None:
            on_run(found)
        for part in read_found(found):
            if isinstance(part, RefusedFrame):
                report.refused.append(part)
                continue
            run, calculation = part
            labels, refused = labels_of(run, calculation)
            report.refused += refused
            report.warnings += _unusable_files(calculation)
            report.runs.append(_record(run, calculation, labels))
            if labels:
                theories.append(
                    (str(run.directory), calculation.structure, calculation.level_of_theory)
                )
                writer.write(run, report.runs[-1], labels)
            _count_refused(report)
    report.warnings += theory_warnings(theories)
    return report


def check_folders(directories: Sequence[Path]) -> None:
    """Check that folders are there and hold VASP output, before anything is made.

    Raises
    ------
    InputError
        Names the first that is not there, or all of them if none holds any.
    """
    for directory in directories:
        if not directory.is_dir():
            found = "a file" if directory.exists() else "no such folder"
            raise InputError(f"{directory}: {found}, expected finished VASP calculations")
    if not any(True for directory in directories for _ in find_runs(directory)):
        names = ", ".join(str(directory) for directory in directories)
        raise InputError(f"{names}: found no vasprun.xml or OUTCAR, expected VASP calculations")


def open_store(workdir: Path | None) -> tuple[JobStore, str]:
    """Return the connected store of a work folder, else the machine's, and what to call it.

    Without either, labels go to the folder `DEFAULT_FOLDER` here.

    Raises
    ------
    InputError
        If the store cannot be written.
    """
    store = None if workdir is not None else store_from_settings(read_settings())
    where = str(read_settings().store)
    if store is None:
        folder = workdir or Path(DEFAULT_FOLDER)
        store, where = embedded_store(folder), str(folder / "store.sqlite")
    ensure_writable(store)
    store.connect()
    return store, where


def _unusable_files(calculation: FinishedCalculation) -> list[LevelWarning]:
    return [
        LevelWarning(code="output_files", message=f"not used, the other file was: {line}")
        for line in calculation.unusable
    ]


def _record(
    found: FoundRun, calculation: FinishedCalculation, labels: list[tuple[int, Label]]
) -> IngestedRun:
    return IngestedRun(
        directory=str(found.directory),
        files=calculation.files,
        formula=formula_of(calculation.structure),
        charge=calculation.charge,
        fidelity=labels[0][1].fidelity if labels else None,
        rehearsal=calculation.rehearsal,
        ended=calculation.ended,
        frames=len(calculation.frames),
        labels=0,
        known=0,
        duplicates=0,
        refused=0,
        seconds=calculation.seconds,
    )


def _count_refused(report: IngestReport) -> None:
    """Count the refused steps of each run: a later one may take back a label of an earlier one."""
    counts = Counter((item.directory, tuple(item.files)) for item in report.refused)
    for run in report.runs:
        run.refused = counts[run.directory, tuple(run.outputs)]


class _Writer:
    """Writes labels that are not there yet."""

    def __init__(self, store: JobStore, report: IngestReport) -> None:
        self._store, self._report = store, report
        self._known: dict[str, Known] = {}
        self._checked: bool | None = None
        for field in (_NAME, _KIND, _REHEARSAL):
            store.ensure_index(field)

    def write(self, found: FoundRun, run: IngestedRun, labels: list[tuple[int, Label]]) -> None:
        """Write the labels of one run; what is there already is counted."""
        self._check_rehearsal(found, labels[0][1])
        documents: dict[str, dict] = {}
        for step, label in labels:
            kind = kind_of(label)
            known = self._of_kind(kind)
            same = known.same(label)
            if same is not None:
                difference = label.energy - same.energy
                if same.directory == label.directory and same.fingerprint == label.fingerprint:
                    run.known += 1
                    continue
                if abs(difference) <= SAME_STATE:
                    run.duplicates += 1
                    self._duplicate(found, step, same, difference)
                    continue
                if difference > 0:
                    self._refuse_state(found, step, difference, same)
                    continue
                self._replace(same, known, documents, label)
            run.labels += 1
            known.labels.append(label)
            documents[label.fingerprint] = _document(label, kind)
        if documents:
            self._store.update(list(documents.values()), key=["uuid", "index"])

    def _of_kind(self, kind: str) -> Known:
        if kind not in self._known:
            self._known[kind] = Known(list(stored_labels(self._store, {_KIND: kind})))
        return self._known[kind]

    def _duplicate(self, found: FoundRun, step: int, same: Label, difference: float) -> None:
        self._report.duplicates.append(
            DuplicateFrame(
                directory=str(found.directory),
                files=found.names,
                step=step,
                same_as=same.directory or "",
                energy_difference=difference,
            )
        )

    def _refuse_state(self, found: FoundRun, step: int, above: float, same: Label) -> None:
        reason = (
            f"another electronic state of the same structure lies {above:.3f} eV lower "
            f"({same.directory})"
        )
        self._report.refused.append(found.refusal(step, "state", reason))

    def _replace(self, same: Label, known: Known, documents: dict[str, dict], label: Label) -> None:
        """Take a label back whose structure has a lower electronic state."""
        known.labels.remove(same)
        if documents.pop(same.fingerprint, None) is None:
            self._store.remove_docs({"uuid": same.fingerprint})
        for run in self._report.runs:
            if same.directory and _source(run) == same.directory.rpartition("#")[0]:
                run.labels -= 1
        path, _, step = (same.directory or "").rpartition("#")
        directory, _, names = path.rpartition("/")
        self._report.refused.append(
            RefusedFrame(
                directory=directory,
                files=names.split("+"),
                step=int(step) if step.isdigit() else None,
                kind="state",
                reason=f"another electronic state of the same structure lies "
                f"{same.energy - label.energy:.3f} eV lower ({label.directory})",
            )
        )

    def _check_rehearsal(self, found: FoundRun, label: Label) -> None:
        """Refuse to put real calculations and those of a rehearsal into one store."""
        if self._checked is None:
            other = self._store.query_one({_REHEARSAL: not label.rehearsal}, properties=["uuid"])
            self._checked = label.rehearsal
            mixed = other is not None
        else:
            mixed = self._checked != label.rehearsal
        if mixed:
            kinds = ("a rehearsal", "VASP")
            mine, theirs = kinds if label.rehearsal else kinds[::-1]
            raise InputError(
                f"{found.directory}: is a calculation of {mine}, the store has labels of {theirs}, "
                "expected them in a store of their own"
            )


def _document(label: Label, kind: str) -> dict[str, Any]:
    """Return a label as jobflow stores the output of a job."""
    return {
        "uuid": label.fingerprint,
        "index": 1,
        "name": INGESTED,
        "output": jsanitize(label, strict=True, enum_values=True, allow_bson=True),
        "completed_at": datetime.now().isoformat(),
        "metadata": {"kind": kind},
        "hosts": [],
    }


def _source(run: IngestedRun) -> str:
    """Return the folder and files of a run as its labels name them."""
    return f"{run.directory}/{'+'.join(run.outputs)}"
