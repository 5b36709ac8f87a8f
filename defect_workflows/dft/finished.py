"""A folder with a finished VASP calculation as a document. The one place where VASP is read."""

from __future__ import annotations

import re
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp import Incar, Poscar

from defect_workflows.charge import charge_from_nelect, with_charge
from defect_workflows.dft import files
from defect_workflows.dft.files import RunFiles
from defect_workflows.dft.locpot import planar_averages
from defect_workflows.dft.outcar import UNTOLD, parse_outcar, refine, spin_channels
from defect_workflows.dft.projections import band_edge_orbitals
from defect_workflows.dft.raw import Run, Step
from defect_workflows.dft.theory import flag, level_of_theory, number
from defect_workflows.dft.vasprun import parse_vasprun
from defect_workflows.documents.base import Matrix3D, Vector3D
from defect_workflows.documents.calculations import FinishedCalculation, Frame
from defect_workflows.documents.labels import PlanarPotential
from defect_workflows.errors import CalculationError, InvalidChargeError

SAME_ENERGY = 1e-4
"""Energies of one step in two files of one run differ by less, in eV."""

ELECTRONS_TOLERANCE = 0.01


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
    where = found.paths[-1]
    try:
        run, notes = _parse(found, partial, projections)
        return _document(
            directory, found, run, notes, planes=planes, partial=partial, refined=refined
        ).model_copy(update={"seconds": time.perf_counter() - start})
    except InvalidChargeError as error:
        raise CalculationError(f"{where}: {error}") from None
    # of numbers that are none, wherever they turn up
    except (ValueError, LookupError, OverflowError, np.linalg.LinAlgError) as error:
        raise CalculationError(f"{where}: {_one_line(error)}") from None


def _document(
    directory: Path,
    found: RunFiles,
    run: Run,
    notes: list[str],
    *,
    planes: bool,
    partial: bool,
    refined: bool,
) -> FinishedCalculation:
    where = found.paths[-1]
    if not run.steps:
        raise CalculationError(f"{where}: found no complete ionic step, expected at least one")
    last = run.steps[-1]
    if not run.ended and not partial:
        raise CalculationError(f"{where}: is cut off: the run did not end")
    if last.problem and not partial:
        raise CalculationError(f"{where}: last ionic step: {last.problem}")
    read = [path.name for path in found.paths]
    if refined and found.vasprun is None:
        read += _refine(directory, run, notes) + _from_incar(directory, run, notes)
    charge = charge_from_nelect(run.nelect, Counter(run.symbols), _valences(where, run))
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
        valences=_valences(where, run),
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


def _parse(found: RunFiles, partial: bool, projections: bool) -> tuple[Run, list[str]]:
    """Return what the files of a run say together, and what only one of them says."""
    runs = []
    for path, parse in (
        (found.vasprun, lambda data: parse_vasprun(data, partial, projections)),
        (found.outcar, lambda data: parse_outcar(files.as_text(data))),
    ):
        if path is None:
            continue
        try:
            runs.append(parse(files.content(path)))
        except (ValueError, LookupError, OverflowError, np.linalg.LinAlgError) as error:
            raise CalculationError(f"{path}: {_one_line(error)}") from None
    if len(runs) == 1:
        return runs[0], []
    xml, outcar = runs
    _check_same(found, xml, outcar)
    for step, other in zip(xml.steps, outcar.steps, strict=False):
        step.scf_converged = other.scf_converged
    # the file with more decimals, completed by the one that says how the run went
    xml.ended = xml.ended and outcar.ended
    xml.ionic_converged = outcar.ionic_converged
    xml.magnetization = outcar.magnetization
    xml.site_potentials = outcar.site_potentials
    xml.rehearsal = xml.rehearsal or outcar.rehearsal
    xml.bands = xml.bands or outcar.bands
    xml.settings = outcar.settings | xml.settings
    del xml.steps[len(outcar.steps) :]
    return xml, [note for note in outcar.left_out if note not in xml.left_out]


def _check_same(found: RunFiles, xml: Run, outcar: Run) -> None:
    """Refuse two files that are not of the same run."""
    pair = f"{found.vasprun}: is of another run than {found.outcar and found.outcar.name}"
    if xml.symbols != outcar.symbols:
        raise CalculationError(f"{pair}: found other atoms")
    if abs(xml.nelect - outcar.nelect) > ELECTRONS_TOLERANCE:
        raise CalculationError(f"{pair}: found {xml.nelect:g} and {outcar.nelect:g} electrons")
    if xml.ended and outcar.ended and len(xml.steps) != len(outcar.steps):
        raise CalculationError(
            f"{pair}: found {len(xml.steps)} and {len(outcar.steps)} ionic steps"
        )
    for step, other in zip(xml.steps, outcar.steps, strict=False):
        if not (step.problem or other.problem or abs(step.energy - other.energy) < SAME_ENERGY):
            raise CalculationError(
                f"{pair}: step {step.number}: found {step.energy:.6f} and {other.energy:.6f} eV"
            )


def _valences(where: Path, run: Run) -> dict[str, float]:
    valences: dict[str, float] = {}
    for kind in run.species:
        if valences.setdefault(kind.symbol, kind.valence) != kind.valence:
            raise CalculationError(f"{where}: {kind.symbol}: found two ZVAL, expected one")
    return valences


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


def _from_incar(directory: Path, run: Run, notes: list[str]) -> list[str]:
    """Add settings that an OUTCAR of VASP 5 does not tell; return the files that had them."""
    path = files.beside(directory, "INCAR")
    if path is None or not UNTOLD - set(run.settings):
        return []
    incar = {key: str(value) for key, value in Incar.from_str(files.text(path)).items()}
    if abs(number(incar, "ENCUT", 0.0) - number(run.settings, "ENCUT", 0.0)) > 0.1:
        notes.append(f"{path.name}: has another ENCUT than the calculation, is not used")
        return []
    settings = {name: re.sub(r"[\[\],]", " ", incar[name]) for name in UNTOLD & set(incar)}
    unnamed = run.settings.get("IVDW") == "-1"
    run.settings |= {k: v for k, v in settings.items() if k not in run.settings or unnamed}
    return [path.name] if settings else []


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


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())[:200]
