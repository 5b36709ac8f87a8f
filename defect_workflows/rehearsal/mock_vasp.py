"""`mock-vasp`: a stand-in for VASP, run in its place by custodian and atomate2.

Reads INCAR, POSCAR, KPOINTS and POTCAR in the working directory; writes vasprun.xml, OUTCAR,
OSZICAR, CONTCAR, and LOCPOT and WAVECAR when INCAR asks for them. The charge comes from NELECT and
the valences of POTCAR, the method from LHFCALC: GFN1-xTB for a hybrid, else IPEA1-xTB. What INCAR
asks for and is not done stands at the head of OUTCAR. Exit status: 0 the run ended by itself, be it
converged or not; 1 the input was refused; 2 `MOCK_VASP_FAULT` is malformed (see faults.py).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

# read once when tblite is loaded: one thread unless the user says otherwise
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError

from defect_workflows import __version__
from defect_workflows.errors import InputError

from .electrostatics import Potential, grid_shape
from .engine import Cycle, Engine, SinglePoint
from .faults import fault_of_this_call
from .files import Oszicar, write_contcar, write_locpot, write_wavecar
from .inputs import Array, Inputs
from .outcar import Outcar
from .parameters import Parameters, resolve
from .relax import Lbfgs, movable_part
from .vasprun import Vasprun

CRASH_STATUS = 139
"""Exit status of an injected crash, as after a segmentation fault."""


class Run:
    """One run in one directory.

    Parameters
    ----------
    directory : Path
        Where the input files are and the output files go.
    fault : str, optional
        Fault to commit, one of `faults.KINDS`.

    Raises
    ------
    InputError
        The input cannot be read, or asks for what has no counterpart here.
    """

    def __init__(self, directory: Path, fault: str | None = None) -> None:
        self._directory, self._fault = directory, fault
        self._inputs = inputs = Inputs.from_directory(directory)
        self._parameters: Parameters = resolve(inputs, directory)
        parameters, poscar = self._parameters, inputs.poscar
        self._engine = Engine(
            parameters.method,
            poscar.numbers,
            poscar.lattice,
            poscar.fractional @ poscar.lattice,
            parameters.charge,
            energy_tolerance=parameters["EDIFF"],
            max_cycles=parameters["NELM"],
            # so little mixing that the density stays far from self-consistent
            mixing=1e-7 if fault == "scf" else None,
            on_cycle=self._on_cycle,
        )
        tblite = f"{parameters.method} of tblite {version('tblite')}"
        program = f"mock-vasp {__version__}, {tblite}, a rehearsal"
        print(f" {program}\n POSCAR found : {sum(poscar.counts)} ions", flush=True)
        self._outcar = Outcar(directory / "OUTCAR", program, inputs, parameters)
        self._vasprun = Vasprun(directory / "vasprun.xml", program, inputs, parameters)
        self._oszicar = Oszicar(directory / "OSZICAR", sys.stdout)
        self._ionic_step = 0

    def execute(self) -> int:
        """Do the run, write its files as it goes, and return the exit status."""
        poscar = self._inputs.poscar
        for output in (self._outcar, self._vasprun):
            output.setup(self._engine.n_orbitals, grid_shape(poscar.lattice))
        print(" entering main loop", flush=True)
        if self._fault == "crash":
            print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
            return CRASH_STATUS
        while self._fault == "hang":
            time.sleep(3600)
        fractional, point = self._relax()
        if self._parameters.writes_locpot:
            potential = self._potential(fractional, point)
            write_locpot(self._directory / "LOCPOT", poscar, fractional, potential)
        if self._parameters["LWAVE"]:
            print(" writing wavefunctions", flush=True)
            write_wavecar(self._directory / "WAVECAR", poscar, self._parameters, point)
        self._outcar.finish()
        self._vasprun.finish(fractional)
        if self._fault == "truncate":
            path = self._directory / "vasprun.xml"
            os.truncate(path, path.stat().st_size // 2)
        return 0

    def _relax(self) -> tuple[Array, SinglePoint]:
        """Single point or relaxation; returns the last fractional coordinates and their result."""
        parameters, poscar = self._parameters, self._inputs.poscar
        n_steps = parameters["NSW"] if parameters["IBRION"] > 0 else 1
        optimiser, fractional, energy = Lbfgs(), poscar.fractional, 0.0
        while True:
            self._ionic_step += 1
            self._oszicar.start_ionic_step()
            start = time.perf_counter()
            point = self._engine.compute(fractional @ poscar.lattice)
            seconds = time.perf_counter() - start
            if self._fault == "nan":
                point = _poisoned(point)
            if not point.converged:
                print(" WARNING: the electronic self-consistency was not achieved in NELM steps")
            forces = movable_part(point.forces, poscar.lattice, poscar.movable)
            change, energy = point.energy - energy, point.energy
            relaxed = n_steps > 1 and self._is_relaxed(forces, change)
            # NaN positions would only crash the next step
            last = relaxed or self._ionic_step >= n_steps or not np.isfinite(point.energy)
            self._oszicar.ionic_step(self._ionic_step, energy, change, parameters["ISPIN"] == 2)
            potential = self._potential(fractional, point) if last else None
            self._outcar.ionic_step(fractional, point, potential)
            self._vasprun.ionic_step(fractional, point, seconds, last)
            write_contcar(self._directory / "CONTCAR", poscar, fractional)
            if relaxed:
                self._outcar.reached_accuracy()
                print(" reached required accuracy - stopping structural energy minimisation")
            if last:
                return fractional, point
            positions = optimiser.propose(fractional @ poscar.lattice, energy, forces)
            fractional = positions @ np.linalg.inv(poscar.lattice)

    def _is_relaxed(self, forces: Array, change: float) -> bool:
        """EDIFFG: largest force (eV/Å) if negative, change of the energy (eV) if positive."""
        criterion = self._parameters["EDIFFG"]
        if criterion < 0:
            return bool(np.linalg.norm(forces, axis=1).max() < -criterion)
        return self._ionic_step > 1 and abs(change) < criterion

    def _potential(self, fractional: Array, point: SinglePoint) -> Potential:
        return Potential.from_charges(self._inputs.poscar.lattice, fractional, point.charges)

    def _on_cycle(self, number: int, cycle: Cycle) -> None:
        self._oszicar.cycle(number, cycle)
        self._outcar.cycle(self._ionic_step, number, cycle)


def _poisoned(point: SinglePoint) -> SinglePoint:
    """The result with NaN for its energies and forces."""
    nan = float("nan")
    return replace(
        point,
        energy=nan,
        forces=np.full_like(point.forces, nan),
        cycles=[replace(cycle, energy=nan) for cycle in point.cycles],
    )


def main() -> int:
    """Run in the working directory; returns the exit status."""
    try:
        fault = fault_of_this_call(os.environ)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return Run(Path.cwd(), fault).execute()
    except (InputError, TBLiteRuntimeError, TBLiteValueError) as error:
        print(f" ERROR: {error}\n I REFUSE TO CONTINUE WITH THIS SICK JOB ... BYE!!!")
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
