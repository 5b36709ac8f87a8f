"""A folder with a finished VASP calculation as a document. The one place where VASP is read."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from defect_workflows.charge import with_charge
from defect_workflows.dft import files
from defect_workflows.dft.files import RunFiles
from defect_workflows.dft.incar import add_incar
from defect_workflows.dft.locpot import planar_averages
from defect_workflows.dft.merge import BROKEN, Parsed, one_line, parse
from defect_workflows.dft.outcar import refine
from defect_workflows.dft.projections import band_edge_orbitals
from defect_workflows.dft.raw import Run, Step, spin_channels
from defect_workflows.dft.theory import flag, level_of_theory, number
from defect_workflows.documents.base import Matrix3D, Vector3D
from defect_workflows.documents.calculations import FinishedCalculation, Frame
from defect_workflows.documents.labels import PlanarPotential
from defect_workflows.errors import CalculationError, InvalidChargeError


def read_calculation(
    directory: Path | str,
    *,
    planes: bool = True,
    projections: bool = True,
    partial: bool = False,
) -> FinishedCalculation:
    """Read a finished calculation from ``vasprun.xml`` or ``OUTCAR``, or both.

    A file may be compressed, whatever its name says. ``CONTCAR`` or ``POSCAR`` beside an OUTCAR add
    decimals where they agree with it. Nothing else is looked for: not in subfolders either.

    Parameters
    ----------
    directory
        The folder.
    planes
        Also read LOCPOT, where it is there.
    projections
        Also read the orbital character of the states near the band edges, where it is there.
    partial
        Accept a run that died: its complete ionic steps are in `frames`, `ended` is False. The last
        complete step is no final state then.

    Raises
    ------
    CalculationError
        One line, which names the file and what is wrong with it.
    """
    directory = Path(directory)
    return read_run(
        directory,
        files.run_files(directory),
        planes=planes,
        projections=projections,
        partial=partial,
        refined=True,
    )


def read_run(
    directory: Path,
    found: RunFiles,
    *,
    planes: bool = False,
    projections: bool = False,
    partial: bool = False,
    refined: bool = False,
) -> FinishedCalculation:
    """Read one of the runs that `files.all_runs` finds; parameters as of `read_calculation`.

    Parameters
    ----------
    refined
        Take decimals of positions from CONTCAR or POSCAR.
    """
    start = time.perf_counter()
    where = directory / found.names[-1]
    try:
        parsed = parse(found, partial, projections)
        where = directory / parsed.files.names[-1]
        document = _document(directory, parsed, planes=planes, partial=partial, refined=refined)
    except (InvalidChargeError, *BROKEN) as error:
        raise CalculationError(f"{where}: {one_line(error)}") from None
    seconds = time.perf_counter() - start
    return document.model_copy(update={"seconds": seconds, "unusable": parsed.unusable})


def _document(
    directory: Path, parsed: Parsed, *, planes: bool, partial: bool, refined: bool
) -> FinishedCalculation:
    run, notes = parsed.run, parsed.notes
    where = directory / parsed.files.names[-1]
    if not run.steps:
        raise CalculationError(f"{where}: found no complete ionic step, expected at least one")
    last = run.steps[-1]
    if not run.ended and not partial:
        raise CalculationError(f"{where}: is cut off: the run did not end")
    if last.problem and not partial:
        raise CalculationError(f"{where}: last ionic step: {last.problem}")
    read = parsed.files.names
    if refined and parsed.files.vasprun is None:
        read += _refine(directory, run, notes) + add_incar(directory, run, notes)
    charge = run.charge
    frames = [_frame(run, step, charge) for step in run.steps if not step.problem]
    if not frames:
        raise CalculationError(f"{where}: ionic step {last.number}: {last.problem}")
    planar = _planar_potential(directory, run, read) if planes else None
    constrained = number(run.settings, "NUPDOWN", -1.0)
    return FinishedCalculation(
        directory=str(directory),
        files=read,
        structure=frames[-1].structure,
        energy=frames[-1].energy,
        forces=frames[-1].forces,
        nelect=run.nelect,
        valences=_valences(run),
        level_of_theory=level_of_theory(run),
        scf_converged=frames[-1].scf_converged,
        ionic_converged=run.ionic_converged,
        band_edges=run.bands.edges() if run.bands is not None else None,
        smearing_energy=None if last.problem else last.free_energy - last.energy,
        magnetization=run.magnetization,
        nupdown=constrained if constrained >= 0 and spin_channels(run.settings) == 2 else None,
        site_potentials=run.site_potentials,
        planar_potential=planar,
        projected=_projected(run, frames[-1].structure),
        frames=frames,
        left_out=run.left_out
        + [f"step {step.number}: {step.problem}" for step in run.steps if step.problem],
        notes=notes,
        ended=run.ended,
        settings=run.settings,
        seconds=0.0,
        rehearsal=run.rehearsal,
    )


def _valences(run: Run) -> dict[str, float]:
    """Return the ZVAL of every POTCAR by its name: H1.25 and H.75 are two."""
    return {kind.title.split()[1]: kind.valence for kind in run.species}


def _frame(run: Run, step: Step, charge: int) -> Frame:
    return Frame(
        step=step.number,
        structure=with_charge(run.structure(step), charge),
        energy=step.energy,
        forces=None if step.forces is None else vectors(step.forces),
        stress=None if step.stress is None else matrix(step.stress),
        scf_converged=step.scf_converged,
    )


def _refine(directory: Path, run: Run, notes: list[str]) -> list[str]:
    """Add decimals to the final positions; return the files that had them."""
    last = run.steps[-1]
    for name in ("CONTCAR", "POSCAR"):
        path = files.beside(directory, name)
        if path is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                other = Poscar.from_str(files.text(path)).structure
        except (CalculationError, ValueError, LookupError):
            notes.append(f"{path.name}: cannot be read")
            continue
        if [site.specie.symbol for site in other] != run.symbols:
            notes.append(f"{path.name}: has other atoms than the calculation")
            continue
        better = refine(last.positions, last.lattice, other.frac_coords)
        if better is not last.positions:
            last.positions = better
            return [path.name]
    return []


def _projected(run: Run, structure: Structure) -> Any:
    if run.projections is None or run.bands is None:
        return None
    return band_edge_orbitals(run.bands, run.projections, structure)


def _planar_potential(directory: Path, run: Run, read: list[str]) -> PlanarPotential | None:
    path = files.beside(directory, "LOCPOT")
    if path is None:
        return None
    averages = planar_averages(path)
    read.append(path.name)
    # a LOCPOT that neither setting asks for was put there from another run
    asked = {"LVHAR": "hartree+ionic", "LVTOT": "total"}
    content = next((what for name, what in asked.items() if flag(run.settings, name)), "unknown")
    return PlanarPotential(
        averages=[axis.tolist() for axis in averages],
        content=content,
    )


def vectors(rows: np.ndarray) -> list[Vector3D]:
    """Return an array of shape (n, 3) as a document has it."""
    return [(float(x), float(y), float(z)) for x, y, z in rows]


def matrix(rows: np.ndarray) -> Matrix3D:
    """Return an array of shape (3, 3) as a document has it."""
    a, b, c = vectors(rows)
    return a, b, c
