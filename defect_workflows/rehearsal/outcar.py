"""OUTCAR, written as the run goes on."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np

from .electrostatics import WIDTH, Potential
from .engine import Cycle, SinglePoint
from .inputs import Array, Inputs
from .parameters import Parameters

KBAR = 1602.1766208
"""kB per eV/Å^3."""
RULE = "-" * 104


def _logical(value: bool) -> str:
    return "T" if value else "F"


class Outcar:
    """Writes OUTCAR; each method appends one block and flushes it."""

    def __init__(self, path: Path, program: str, inputs: Inputs, parameters: Parameters) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._inputs, self._parameters = inputs, parameters
        self._start = time.time()
        self._write(
            f" vasp.6.4.3 is not what ran here: {program}",
            f" executed on             rehearsal date {time.strftime('%Y.%m.%d  %H:%M:%S')}",
            " running    1 mpi-ranks, on    1 nodes",
            "",
            f" REHEARSAL: energies and forces are those of {parameters.method}",
            *(f" REHEARSAL: {remark}" for remark in parameters.remarks),
            "",
            " INCAR:",
            *(f"   {tag} = {value}" for tag, value in inputs.incar.items()),
            "",
            *(f" POTCAR:    {potential.titel}" for potential in inputs.potcar),
        )

    def setup(self, n_bands: int, grid: tuple[int, int, int]) -> None:
        """Potentials, cell, dimensions and parameters."""
        poscar, p = self._inputs.poscar, self._parameters
        for potential in self._inputs.potcar:
            self._write(
                f" POTCAR:    {potential.titel}",
                f"   VRHFIN ={potential.vrhfin}",
                f"   LEXCH  = {potential.lexch}",
                f"   TITEL  = {potential.titel}",
                f"   POMASS = {potential.mass:8.3f}; ZVAL   = {potential.valence:8.3f}"
                "    mass and valenz",
                f"   ENMAX  = {potential.enmax:8.3f}; ENMIN  = {potential.enmin:8.3f} eV",
                "",
            )
        nx, ny, nz = grid
        n_points = nx * ny * nz
        self._write(
            "",
            "----- Dimension of arrays:",
            "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1"
            f"   number of bands    NBANDS= {n_bands:6d}",
            f"   number of dos      NEDOS = {p['NEDOS']:6d}"
            f"   number of ions     NIONS = {sum(poscar.counts):6d}",
            f"   total plane-waves  NPLWV = {n_points:6d}",
            f"   dimension x,y,z NGX = {nx:5d} NGY ={ny:5d} NGZ ={nz:5d}",
            f"   dimension x,y,z NGXF={nx:6d} NGYF={ny:5d} NGZF={nz:5d}",
            f"   support grid    NGXF={nx:6d} NGYF={ny:5d} NGZF={nz:5d}",
            f"   ions per type =            {''.join(f'{n:4d}' for n in poscar.counts)}",
            "",
        )
        self._write(*self._parameter_lines())
        self._cell(poscar.lattice)

    def _parameter_lines(self) -> list[str]:
        p, potcar = self._parameters, self._inputs.potcar
        return [
            f" SYSTEM =  {p['SYSTEM']}",
            f" POSCAR =  {self._inputs.poscar.comment}",
            "",
            " Startparameter for this run:",
            f"   PREC   = {p['PREC'].lower()[:6]:6s}    normal or accurate",
            f"   ISTART = {p['ISTART']:6d}    job   : 0-new  1-cont  2-samecut",
            f"   ICHARG = {p['ICHARG']:6d}    charge: 1-file 2-atom 10-const",
            f"   ISPIN  = {p['ISPIN']:6d}    spin polarized calculation?",
            "   LNONCOLLINEAR =      F non collinear calculations",
            "   LSORBIT =      F    spin-orbit coupling",
            f"   LASPH  = {_logical(p['LASPH']):>6s}    aspherical Exc in radial PAW",
            "",
            " Electronic Relaxation 1",
            f"   ENCUT  = {p['ENCUT']:6.1f} eV  {p['ENCUT'] / 13.605693:5.2f} Ry",
            f"   NELM   = {p['NELM']:6d};   NELMIN= {p['NELMIN']:2d}; NELMDL= {p['NELMDL']:2d}"
            "     # of ELM steps",
            f"   EDIFF  = {p['EDIFF']:.1E}   stopping-criterion for ELM",
            f"   LREAL  = {p['LREAL']:>6s}    real-space projection",
            f"   LMAXMIX     = {p['LMAXMIX']:4d} max onsite mixed and CHGCAR",
            "",
            " Ionic relaxation",
            f"   EDIFFG = {p['EDIFFG']:.1E}   stopping-criterion for IOM",
            f"   NSW    = {p['NSW']:6d}    number of steps for IOM",
            f"   IBRION = {p['IBRION']:6d}    ionic relax: 0-MD 1-quasi-New 2-CG",
            f"   ISIF   = {p['ISIF']:6d}    stress and relaxation",
            f"   ISYM   = {p['ISYM']:6d}    0-nonsym 1-usesym 2-fastsym",
            f"   POTIM  = {p['POTIM']:6.4f}    time-step for ionic-motion",
            "  Mass of Ions in am",
            "   POMASS = " + "".join(f"{potential.mass:6.2f}" for potential in potcar),
            "  Ionic Valenz",
            "   ZVAL   = " + "".join(f"{potential.valence:6.2f}" for potential in potcar),
            f"   NELECT = {p['NELECT']:12.4f}    total number of electrons",
            f"   NUPDOWN= {p['NUPDOWN']:12.4f}    fix difference up-down",
            "",
            f"   ISMEAR = {p['ISMEAR']:5d};   SIGMA  = {p['SIGMA']:6.2f}"
            "  broadening in eV -4-tet -1-fermi 0-gaus",
            f"   IALGO  = {p['IALGO']:6d}    algorithm",
            " Write flags",
            f"   LWAVE        = {_logical(p['LWAVE']):>6s}    write WAVECAR",
            f"   LCHARG       = {_logical(p['LCHARG']):>6s}    write CHGCAR",
            f"   LVTOT        = {_logical(p['LVTOT']):>6s}    write LOCPOT, total local potential",
            f"   LVHAR        = {_logical(p['LVHAR']):>6s}    write LOCPOT, Hartree potential only",
            f"   LORBIT       = {p['LORBIT']:6d}    0 simple, 1 ext, 2 COOP (PROOUT)",
            " Exchange correlation treatment:",
            f"   GGA     = {p['GGA'].upper():>5s}    GGA type",
            f"   LHFCALC = {_logical(p['LHFCALC']):>5s}    Hartree Fock is set to",
            f"   AEXX    = {p['AEXX']:9.4f} exact exchange contribution",
            f"   HFSCREEN= {p['HFSCREEN']:9.4f} screening length (either q_TF or 0.3 A-1)",
            " Linear response parameters",
            "   LEPSILON=     F    determine dielectric tensor",
            "   LCHIMAG   =     F  perturbation theory with respect to B field",
            "",
            "",
        ]

    def _cell(self, lattice: Array) -> None:
        reciprocal = np.linalg.inv(lattice).T
        self._write(
            f"  energy-cutoff  : {self._parameters['ENCUT']:12.2f}",
            f"  volume of cell : {abs(np.linalg.det(lattice)):12.2f}",
            "      direct lattice vectors                 reciprocal lattice vectors",
            *(
                "".join(f"{x:13.9f}" for x in np.concatenate(rows))
                for rows in zip(lattice, reciprocal, strict=True)
            ),
            "",
        )

    def cycle(self, ionic_step: int, number: int, cycle: Cycle) -> None:
        """One electronic step."""
        self._write(
            "",
            f"--------------------------------------- Iteration {ionic_step:6d}({number:4d})  "
            "---------------------------------------",
            "",
            f" total energy-change (2. order) :{cycle.change:15.7E}  ({cycle.residual:15.7E})",
            f" number of electron {self._parameters['NELECT']:15.7f} magnetization       0.0000000",
            "",
            " Free energy of the ion-electron system (eV)",
            "  ---------------------------------------------------",
            "  entropy T*S    EENTRO =        -0.00000000",
            f"  free energy    TOTEN  = {cycle.energy:18.8f} eV",
            "",
            f"  energy without entropy = {cycle.energy:18.8f}  energy(sigma->0) = "
            f"{cycle.energy:18.8f}",
            "",
            RULE,
            "",
        )

    def ionic_step(
        self, fractional: Array, point: SinglePoint, potential: Potential | None
    ) -> None:
        """Forces, stress and energy of one ionic step; site potentials and bands of the last.

        VASP writes the latter at every step. Nobody reads them, and custodian parses OUTCAR again
        and again while the run goes on.
        """
        lattice = self._inputs.poscar.lattice
        reason = (
            "because EDIFF is reached" if point.converged else "EDIFF was not reached (unconverged)"
        )
        self._write(f"------------------------ aborting loop {reason} {'-' * 40}", "", "")
        if potential is not None:
            self._site_potentials(potential.at_sites(fractional))
            self._bands(point)
        volume = abs(np.linalg.det(lattice))
        order = ([0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0])
        stress = -point.virial[order]
        pressure = stress[:3].mean() / volume * KBAR
        self._write(
            RULE,
            "",
            "  FORCE on cell =-STRESS in cart. coord.  units (eV):",
            "  Direction    XX          YY          ZZ          XY          YZ          ZX",
            "  " + "-" * 86,
            "  Total " + "".join(f"{x:12.5f}" for x in stress),
            "  in kB " + "".join(f"{x:12.5f}" for x in stress / volume * KBAR),
            f"  external pressure = {pressure:11.2f} kB  Pullay stress =        0.00 kB",
            "",
            " VOLUME and BASIS-vectors are now :",
            " " + "-" * 77,
        )
        self._cell(lattice)
        rows = zip(fractional @ lattice, point.forces, strict=True)
        drift = point.forces.sum(axis=0)
        self._write(
            " POSITION                                       TOTAL-FORCE (eV/Angst)",
            " " + "-" * 83,
            *(
                "".join(f"{x:13.5f}" for x in x3) + "    " + "".join(f"{f:14.6f}" for f in f3)
                for x3, f3 in rows
            ),
            " " + "-" * 83,
            "    total drift:                           " + "".join(f"{x:14.6f}" for x in drift),
            "",
            "",
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
            "  ---------------------------------------------------",
            f"  free  energy   TOTEN  = {point.energy:18.8f} eV",
            "",
            f"  energy  without entropy={point.energy:18.8f}  energy(sigma->0) ="
            f"{point.energy:18.8f}",
            "",
            RULE,
            "",
        )

    def _site_potentials(self, potentials: Array) -> None:
        cells = [f"{i:8d}{v:9.4f}" for i, v in enumerate(potentials, start=1)]
        self._write(
            " average (electrostatic) potential at core",
            "  the test charge radii are" + f"{WIDTH:10.4f}" * len(self._inputs.potcar),
            "  (the norm of the test charge is              1.0000)",
            *("".join(cells[i : i + 5]) for i in range(0, len(cells), 5)),
            "",
            "",
            "",
        )

    def _bands(self, point: SinglePoint) -> None:
        self._write(f" E-fermi : {point.fermi_energy:8.4f}     XC(G=0):   0.0000", "")
        for spin in range(1, self._parameters["ISPIN"] + 1):
            if self._parameters["ISPIN"] == 2:
                self._write(f" spin component {spin}", "")
            self._write(
                " k-point     1 :       0.0000    0.0000    0.0000",
                "  band No.  band energies     occupation",
                *(
                    f"{i:7d} {energy:12.4f} {occupation / self._parameters['ISPIN']:12.5f}"
                    for i, (energy, occupation) in enumerate(
                        zip(point.eigenvalues, point.occupations, strict=True), start=1
                    )
                ),
                "",
            )

    def reached_accuracy(self) -> None:
        """The relaxation converged."""
        self._write(" reached required accuracy - stopping structural energy minimisation", "")

    def finish(self) -> None:
        """Timing, as every run that ended by itself has it."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        total = usage.ru_utime + usage.ru_stime
        self._write(
            "",
            " General timing and accounting informations for this job:",
            " ========================================================",
            "",
            f"                  Total CPU time used (sec): {total:12.3f}",
            f"                            User time (sec): {usage.ru_utime:12.3f}",
            f"                          System time (sec): {usage.ru_stime:12.3f}",
            f"                         Elapsed time (sec): {time.time() - self._start:12.3f}",
            "",
            f"                   Maximum memory used (kb): {usage.ru_maxrss:12.0f}",
            "                   Average memory used (kb):          N/A",
            "",
        )
        self._file.close()

    def _write(self, *lines: str) -> None:
        self._file.write("\n".join(lines) + "\n")
        self._file.flush()
