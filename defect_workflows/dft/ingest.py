"""Finished calculations as labels: every converged ionic step with forces."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jobflow import JobStore
from pymatgen.core import Structure
from pymatgen.util.coord import pbc_diff

from defect_workflows import reuse
from defect_workflows.decoding import decoded, name_of
from defect_workflows.dft.consistency import check_one_level_of_theory
from defect_workflows.dft.differences import cell_difference, differences
from defect_workflows.dft.files import RunFiles, Skipped, all_runs, folders
from defect_workflows.dft.finished import read_run
from defect_workflows.dft.merge import split
from defect_workflows.documents.calculations import FinishedCalculation, Frame
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.ingest import RefusedFrame
from defect_workflows.documents.labels import Label, LabelSet, LevelOfTheory
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import (
    CalculationError,
    DamagedDocumentError,
    UnknownFidelityError,
    UntrustedDocumentError,
)
from defect_workflows.fidelity import Fidelity, fidelity_of, is_standard

logger = logging.getLogger(__name__)

INGESTED = "ingested label"
"""Name of the documents of such labels in a store."""

SAME_STRUCTURE = 1e-5
"""Structures whose coordinates differ by less are the same, Å: an OUTCAR has five decimals, and
two steps of a relaxation that are that close say the same."""

SAME_STATE = 1e-3
"""Energies of one structure that differ by more, eV, are of two electronic states."""


@dataclass(frozen=True)
class FoundRun:
    """A run in a folder.

    Parameters
    ----------
    directory, files
        Where it is.
    family
        Folder as seen from the one that was asked for: runs of a folder stay together when data
        are held out.
    """

    directory: Path
    files: RunFiles
    family: str

    @property
    def names(self) -> list[str]:
        """Names of its files."""
        return self.files.names

    def refusal(self, step: int | None, kind: Any, reason: str) -> RefusedFrame:
        """Return the refusal of a step, or of the whole run."""
        return RefusedFrame(
            directory=str(self.directory), files=self.names, step=step, kind=kind, reason=reason
        )


def find_runs(root: Path) -> Iterator[FoundRun | RefusedFrame]:
    """Yield every VASP run in a folder and its subfolders, or why a folder cannot be read."""
    for folder in folders(root):
        directory = folder.path
        if isinstance(folder, Skipped):
            reason = f"{directory}: {folder.reason}"
            yield RefusedFrame(
                directory=str(directory), files=[], step=None, kind="unreadable", reason=reason
            )
            continue
        if not folder.has_output:
            continue
        family = str(Path(root.resolve().name) / directory.relative_to(root))
        try:
            yield from (FoundRun(directory, files, family) for files in all_runs(directory))
        except CalculationError as error:
            yield RefusedFrame(
                directory=str(directory), files=[], step=None, kind="unreadable", reason=str(error)
            )


def read_found(run: FoundRun) -> Iterator[tuple[FoundRun, FinishedCalculation] | RefusedFrame]:
    """Read a run for its ionic steps; one that died gives those before.

    An OUTCAR to which a restart was appended gives several runs, each with its own settings.
    """
    try:
        parts = [replace(run, files=files) for files in split(run.files)]
    except CalculationError as error:
        yield run.refusal(None, "unreadable", str(error))
        return
    for part in parts:
        # CONTCAR, POSCAR and INCAR beside it are of the last run
        last = part.files.part in (None, part.files.parts)
        refined = last and not run.files.suffix
        try:
            found = read_run(run.directory, part.files, partial=True, refined=refined)
            yield replace(part, files=part.files.only(found.files)), found
        except CalculationError as error:
            yield part.refusal(None, "unreadable", str(error))


def labels_of(
    run: FoundRun, calculation: FinishedCalculation
) -> tuple[list[tuple[int, Label]], list[RefusedFrame]]:
    """Return the labels of a calculation with their ionic steps, and what is none.

    Parameters
    ----------
    run
        Where it comes from.
    calculation
        What was read.
    """
    refused = [run.refusal(None, "incomplete", line) for line in calculation.left_out]
    try:
        fidelity = fidelity_of(calculation.level_of_theory)
    except UnknownFidelityError as error:
        return [], [*refused, run.refusal(None, "fidelity", str(error))]
    formula = formula_of(calculation.structure)
    charge = calculation.charge
    origin = Origin(
        state=f"{formula}_{charge:+d}" if charge else f"{formula}_0",
        family=run.family,
        kind="ingested",
    )
    labels = []
    for frame in calculation.frames:
        if (refusal := _refusal(run, frame)) is not None:
            refused.append(refusal)
            continue
        assert frame.forces is not None  # or it would be refused
        assert frame.stress is not None
        configuration = ChargedConfiguration.of(frame.structure, origin)
        last = frame is calculation.frames[-1] and calculation.ended
        edges = calculation.band_edges if last else None
        label = Label(
            fingerprint=reuse.fingerprint(
                "ingested", configuration.id, fidelity, calculation.level_of_theory
            ),
            configuration=configuration,
            fidelity=fidelity,
            energy=frame.energy,
            forces=frame.forces,
            stress=frame.stress,
            nelect=calculation.nelect,
            vbm=edges.vbm if edges else None,
            cbm=edges.cbm if edges else None,
            level_of_theory=calculation.level_of_theory,
            directory=f"{run.directory}/{'+'.join(run.names)}#{frame.step}",
            rehearsal=calculation.rehearsal,
        )
        labels.append((frame.step, label))
    return labels, refused


def _refusal(run: FoundRun, frame: Frame) -> RefusedFrame | None:
    if not frame.scf_converged:
        return run.refusal(frame.step, "unconverged", "SCF not converged")
    if frame.forces is None or frame.stress is None:
        missing = "forces" if frame.forces is None else "stress"
        return run.refusal(frame.step, "no_forces", f"found no {missing}, expected both")
    return None


def formula_of(structure: Structure) -> str:
    """Return the composition of a cell as one word, e.g. Mg109O107."""
    return structure.composition.formula.replace(" ", "")


def kind_of(label: Label) -> str:
    """Return what labels must share to be of one structure: atoms, charge, level of theory."""
    return reuse.fingerprint(
        [site.specie.symbol for site in label.configuration.structure],
        label.charge,
        label.fidelity,
        # the same mesh is written as explicit points by some and generated by others
        label.level_of_theory.model_dump(exclude={"kpoints", "kpoint_mesh"}),
        label.rehearsal,
    )


@dataclass
class Known:
    """Labels of one kind that are there already."""

    labels: list[Label] = field(default_factory=list)

    def same(self, label: Label) -> Label | None:
        """Return the label of the same structure, the one with the nearest energy."""
        structure = label.configuration.structure
        found = [
            other
            for other in self.labels
            if other.fingerprint == label.fingerprint
            or same_structure(structure, other.configuration.structure)
        ]
        return min(found, key=lambda other: abs(other.energy - label.energy), default=None)


def same_structure(one: Structure, other: Structure) -> bool:
    """Tell whether two structures with the same atoms agree within `SAME_STRUCTURE`."""
    if np.abs(one.lattice.matrix - other.lattice.matrix).max() > SAME_STRUCTURE:
        return False
    difference = pbc_diff(one.frac_coords, other.frac_coords)
    return bool(np.abs(difference @ one.lattice.matrix).max() < SAME_STRUCTURE)


def theory_warnings(theories: Sequence[tuple[str, Structure, LevelOfTheory]]) -> list[LevelWarning]:
    """Return a warning for every setting in which calculations of a fidelity differ.

    Parameters
    ----------
    theories
        Where it comes from, cell and level of theory of every run.
    """
    found: dict[str, LevelWarning] = {}
    first: dict[str, tuple[str, Structure, LevelOfTheory]] = {}
    for where, structure, theory in theories:
        fidelity = fidelity_of(theory)
        if not is_standard(theory):
            parameters = f"AEXX {theory.exact_exchange:g} and HFSCREEN {theory.screening:g}"
            message = f"{fidelity}: {parameters} are not those of its name ({where})"
            warning = LevelWarning(code="nonstandard_hybrid", message=message)
            found.setdefault(f"{fidelity}: {parameters}", warning)
        where_first, cell, reference = first.setdefault(fidelity, (where, structure, theory))
        same_cell = not cell_difference(structure, cell)
        for item in differences(theory, reference, same_cell=same_cell):
            message = (
                f"{fidelity}: {item.setting}: found {item.one} ({where}) and {item.other} "
                f"({where_first})"
            )
            found.setdefault(f"{fidelity}: {item}", LevelWarning(code=item.code, message=message))
    return list(found.values())


def ingested_labels(
    store: JobStore,
    fidelities: Iterable[Fidelity] | None = None,
    formulas: Iterable[str] | None = None,
    differing: Collection[str] = frozenset(),
) -> LabelSet:
    """Return the ingested labels of a store.

    Parameters
    ----------
    store
        A connected store.
    fidelities
        Only these; default all.
    formulas
        Only cells of these compositions, e.g. Mg109O107; default all.
    differing
        As in `check_one_level_of_theory`.

    Raises
    ------
    LevelOfTheoryError
        If two labels of a fidelity differ in a setting, or a rehearsal's are among real ones.
    """
    labels = [
        label
        for label in stored_labels(store, {"name": INGESTED})
        if (fidelities is None or label.fidelity in set(fidelities))
        and (formulas is None or formula_of(label.configuration.structure) in set(formulas))
    ]
    check_one_level_of_theory(labels, differing)
    return LabelSet(labels=labels, refused=[])


def stored_labels(store: JobStore, criteria: dict[str, Any]) -> Iterator[Label]:
    """Yield the labels among the documents of a store that match; unreadable ones are dropped."""
    # document by document: one that cannot be read does not hide the others
    wanted = ["uuid", "name", "output"]
    for document in store.docs_store.query(criteria, properties=wanted, sort={"uuid": 1}):
        try:
            output = decoded(document.get("output"), name_of(document))
        except (DamagedDocumentError, UntrustedDocumentError) as error:
            logger.error("dropped, as if it were not there: %s", error)
            continue
        if isinstance(output, Label):
            yield output
