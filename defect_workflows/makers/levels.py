"""Levels of finished VASP runs: folders read, states analysed side by side, levels assembled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pymatgen.core import Composition

from defect_workflows.calculations import Calculations, CompetingPhases, DielectricEntry
from defect_workflows.dft.consistency import consistency_warnings, dopant_warnings
from defect_workflows.dft.files import Skipped, folders
from defect_workflows.dft.host import read_dielectric, read_dos
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    LevelCalculation,
    LevelsResult,
    StateError,
    StepTime,
)
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import CalculationError, CampaignError, InputError
from defect_workflows.levels.checks import (
    Notes,
    note_band_edges,
    note_convergence,
    note_files,
    note_locpot,
)
from defect_workflows.levels.fermi import fermi_levels
from defect_workflows.levels.potentials import given_potentials, limits_from_phases
from defect_workflows.levels.states import StateCalculation
from defect_workflows.levels.thermodynamics import assemble
from defect_workflows.makers.comparison import (
    note_host_run,
    note_left_out,
    note_vacuum,
    without_edges,
)
from defect_workflows.makers.finished import (
    AnalysedState,
    ReadState,
    analyse_state,
    choose_lowest,
    read_bulk,
    read_state,
    without_charges,
    without_doubles,
)
from defect_workflows.makers.phases import choose_phases, read_phase
from defect_workflows.userfile import dielectric_tensor

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how many of its parts are done, and how many there are."""

SAME_EDGES = 0.05
"""Band edges of supercell and density of states may differ by this, eV (doped's tolerance)."""


@dataclass
class FinishedLevels:
    """Levels of finished VASP runs.

    Parameters
    ----------
    calculations
        What the user asked for.
    processes
        States are read and analysed in this many processes. Default: one per core that this
        process may use.
    max_force
        A larger remaining force gets a warning, eV/Å.
    progress
        Called as the work goes on.
    """

    calculations: Calculations
    processes: int | None = None
    max_force: float = 0.05
    progress: Progress = lambda step, done, total: None
    _seconds: list[StepTime] = field(default_factory=list, init=False)

    def make(self) -> LevelsResult:
        """Read, check, correct and assemble.

        Returns
        -------
        LevelsResult
            States that could not be used are listed in its `errors`.

        Raises
        ------
        InputError
            If there can be no result at all: the bulk or something else that all states need is
            missing or broken, or no state is left.
        """
        with self._pool() as pool:
            with self._step("read"):
                bulk, read, errors = self._read(pool)
                read = without_charges(read)
            with self._step("host"):
                notes = self._notes(bulk)
                used, metastable = choose_lowest(read, bulk)
                note_left_out(notes, metastable)
                note_vacuum(notes, bulk, [item.finished.charge for item in used])
                dielectric = self._dielectric(bulk, notes)
                limits = self._limits(pool, bulk, used, notes)
            with self._step("analyse"):
                analysed, more = self._analyse(pool, used, bulk, dielectric)
        errors += more
        if not analysed:
            others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise InputError(f"defects: no state can be used: {errors[0].message}{others}")
        with self._step("levels"):
            result = self._assemble(analysed, bulk, dielectric, limits, notes)
        result.levels.metastable = metastable
        result.levels.errors = errors
        if self.calculations.bulk.dos is not None:
            with self._step("Fermi level"):
                self._add_fermi_levels(result, bulk, limits)
        result.levels.seconds = self._seconds
        return result

    def _read(
        self, pool: Executor
    ) -> tuple[FinishedCalculation, list[ReadState], list[StateError]]:
        """Read the bulk and all states."""
        asked = self.calculations
        first = pool.submit(read_bulk, asked.bulk.dir)
        jobs = [pool.submit(read_state, defect) for defect in asked.defects]
        self._follow("read", [first, *jobs])
        found = [job.result() for job in jobs]
        return (
            first.result(),
            [item for item in found if isinstance(item, ReadState)],
            [item for item in found if isinstance(item, StateError)],
        )

    def _notes(self, bulk: FinishedCalculation) -> Notes:
        """Start the notes with what the bulk itself shows.

        Raises
        ------
        InputError
            If band edges are needed that it does not show.
        """
        asked, notes = self.calculations, Notes()
        problem = without_edges(bulk)
        if problem and (asked.vbm is None or asked.band_gap is None):
            raise InputError(
                f"bulk.dir: {bulk.directory}: found {problem}, expected band edges, or the keys "
                "vbm and band_gap"
            )
        note_files(notes, "bulk", bulk)
        if problem and bulk.band_edges is not None:
            notes.add("no_band_gap", f"the bulk has {problem}: vbm and band_gap are those given")
        note_convergence(notes, "bulk", bulk)
        note_band_edges(notes, bulk, asked.vbm is not None, asked.band_gap is not None)
        return notes

    def _dielectric(self, bulk: FinishedCalculation, notes: Notes) -> Matrix3D | None:
        found = self.calculations.dielectric
        if not isinstance(found, DielectricEntry):
            return None if found is None else dielectric_tensor(found)
        try:
            calculated = read_dielectric(found.dir, bulk)
        except CalculationError as error:
            raise InputError(f"dielectric.dir: {error}") from None
        note_host_run(notes, "dielectric", found.dir, calculated.differences)
        if not calculated.ionic:
            notes.add(
                "dielectric_without_ionic",
                f"{found.dir}: the ionic part of the dielectric tensor is missing or zero: "
                "corrections come out too large where atoms screen",
            )
        return calculated.tensor

    def _limits(
        self,
        pool: Executor,
        bulk: FinishedCalculation,
        used: Sequence[ReadState],
        notes: Notes,
    ) -> list[ChemicalPotentialLimit]:
        asked = self.calculations.chemical_potentials
        if not isinstance(asked, CompetingPhases):
            return given_potentials(asked)
        folders = list(dict.fromkeys(one for root in asked.dirs for one in run_folders(root)))
        if not folders:
            raise InputError(
                f"chemical_potentials.dirs: found no VASP output in {asked.dirs[0]}, expected "
                "calculations of competing phases"
            )
        jobs = [pool.submit(read_phase, folder) for folder in folders]
        self._follow("competing phases", jobs)
        read = [job.result() for job in jobs]
        phases, found = choose_phases(read, bulk, [item.finished for item in used], self.max_force)
        notes.extend(found)
        left_out = [item.message for item in found if item.code == "calculation_left_out"]
        try:
            limits, found = limits_from_phases(
                Composition(bulk.structure.composition.reduced_formula),
                [(item.structure.composition, item.energy) for item in phases],
                asked.limit,
            )
        except InputError as error:
            raise InputError("; ".join([str(error), *left_out[:1]])) from None
        notes.extend(found)
        return limits

    def _analyse(
        self,
        pool: Executor,
        used: Sequence[ReadState],
        bulk: FinishedCalculation,
        dielectric: Matrix3D | None,
    ) -> tuple[list[AnalysedState], list[StateError]]:
        perfect = LevelCalculation.from_finished(bulk)
        scheme = self.calculations.correction
        jobs = [pool.submit(analyse_state, item, perfect, dielectric, scheme) for item in used]
        self._follow("analyse", jobs)
        found = [job.result() for job in jobs]
        good, doubles = without_doubles(item for item in found if isinstance(item, AnalysedState))
        return good, [item for item in found if isinstance(item, StateError)] + doubles

    def _assemble(
        self,
        analysed: Sequence[AnalysedState],
        bulk: FinishedCalculation,
        dielectric: Matrix3D | None,
        limits: Sequence[ChemicalPotentialLimit],
        notes: Notes,
    ) -> LevelsResult:
        perfect = LevelCalculation.from_finished(bulk)
        for item in analysed:
            _note_finished(notes, item, bulk, perfect)
        named = [(item.state.name, item.read.finished) for item in analysed]
        for name, warning in dopant_warnings(named, bulk):
            notes.extend([warning], name)
        return assemble(
            bulk.structure.composition.reduced_formula,
            perfect,
            [StateCalculation(item.state, item.calculation) for item in analysed],
            {item.state.name: item.analysis for item in analysed},
            limits,
            dielectric=dielectric,
            band_edges=self._band_edges(bulk),
            max_force=self.max_force,
            notes=notes,
        )

    def _band_edges(self, bulk: FinishedCalculation) -> tuple[float, float]:
        """Return VBM and gap: given, or the bulk's."""
        edges, vbm, gap = bulk.band_edges, self.calculations.vbm, self.calculations.band_gap
        if edges is not None:
            vbm = edges.vbm if vbm is None else vbm
            gap = edges.cbm - edges.vbm if gap is None else gap
        assert vbm is not None  # `_notes` has asked for what the bulk does not show
        assert gap is not None
        return vbm, gap

    def _add_fermi_levels(
        self,
        result: LevelsResult,
        bulk: FinishedCalculation,
        limits: Sequence[ChemicalPotentialLimit],
    ) -> None:
        """Add Fermi level and concentrations; what stands against them is a warning."""
        document, folder = result.levels, self.calculations.bulk.dos
        assert folder is not None
        try:
            if not limits:
                raise CalculationError("no chemical potentials: no self-consistent Fermi level")
            dos, vbm, gap, differences = read_dos(folder, bulk)
            document.fermi_levels = fermi_levels(result, limits, dos, self.calculations.temperature)
        except CalculationError as error:
            document.warnings.append(LevelWarning(code="no_fermi_level", message=str(error)))
            return
        notes = Notes()
        note_host_run(notes, "dos", folder, differences)
        document.warnings += notes.all
        if max(abs(vbm - document.vbm), abs(gap - document.band_gap)) > SAME_EDGES:
            message = (
                f"the density of states has VBM {vbm:.3f} and gap {gap:.3f} eV, the levels are "
                f"referred to {document.vbm:.3f} and {document.band_gap:.3f} eV"
            )
            document.warnings.append(LevelWarning(code="dos_mismatch", message=message))

    def _follow(self, step: str, jobs: Sequence[Future]) -> None:
        self.progress(step, 0, len(jobs))
        for done, _ in enumerate(as_completed(jobs), 1):
            self.progress(step, done, len(jobs))

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds.append(StepTime(step=name, seconds=round(time.perf_counter() - start, 3)))

    @contextmanager
    def _pool(self) -> Iterator[Executor]:
        workers = min(self.processes or available_cores(), len(self.calculations.defects) + 1)
        # imported before the fork: each worker would take seconds for it
        import doped.analysis
        import doped.thermodynamics  # noqa: F401

        kind = "fork" if sys.platform == "linux" else None
        context = multiprocessing.get_context(kind)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(workers, context, initializer=_leave_signals) as pool:
            try:
                yield pool
            except BrokenProcessPool:
                raise CampaignError(
                    "a process that read or analysed a calculation was killed (memory?), expected "
                    "it to end: try again with --processes 1"
                ) from None
            except BaseException:
                # a calculation that is being read would be waited for
                for child in set(multiprocessing.active_children()) - others:
                    child.kill()
                pool.shutdown(cancel_futures=True)
                raise


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _leave_signals() -> None:
    """Let Ctrl-C end the parent alone, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_folders(root: Path) -> list[Path]:
    """Return the folders at or below a folder that hold VASP output, sorted.

    Raises
    ------
    InputError
        If something below cannot be read: without a phase the limits would be others.
    """
    found = []
    for folder in folders(root):
        if isinstance(folder, Skipped):
            raise InputError(f"chemical_potentials.dirs: {folder.path}: {folder.reason}")
        if folder.has_output:
            found.append(folder.path)
    return sorted(found)


def _note_finished(
    notes: Notes, item: AnalysedState, bulk: FinishedCalculation, perfect: LevelCalculation
) -> None:
    """Note what a finished run itself shows, and where it differs from the bulk's."""
    name, finished = item.state.name, item.read.finished
    note_files(notes, name, finished)
    note_convergence(notes, name, finished)
    if item.read.asked.charge is None:
        notes.add(
            "charge_guessed",
            f"{name}: no charge was given, NELECT and ZVAL say {finished.charge:+d}",
            name,
        )
    notes.extend(consistency_warnings(name, finished, bulk), name)
    note_locpot(notes, name, item.calculation, perfect)
    notes.extend(item.warnings, name)
