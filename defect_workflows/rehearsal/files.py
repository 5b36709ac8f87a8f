"""The smaller output files: CONTCAR, OSZICAR, LOCPOT, WAVECAR."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from .electrostatics import Potential
from .engine import Cycle, SinglePoint
from .inputs import Array, Poscar
from .parameters import Parameters

# 2 m_e / hbar^2 in 1/(eV Å^2): |G|^2 / this is the kinetic energy of a plane wave
_PLANE_WAVE = 0.262465831
# marks single-precision coefficients in a WAVECAR
_RTAG = 45200
# length of a WAVECAR record in 8-byte words: what its second record needs
_RECORD = 13


def fortran(x: float, width: int, decimals: int) -> str:
    """A real as Fortran's E format has it: ``-.12345E+03``."""
    if not math.isfinite(x):
        return f"{x!s:>{width}}".replace("nan", "NaN")
    mantissa, exponent = f"{abs(x):.{decimals - 1}E}".split("E")
    power = int(exponent) + (x != 0)
    text = f"{'-' if x < 0 else ''}.{mantissa.replace('.', '')}E{power:+03d}"
    return f"{text:>{width}}"


class Oszicar:
    """Writes the electronic and ionic steps to OSZICAR and standard output, as VASP does."""

    def __init__(self, path: Path, stdout: TextIO) -> None:
        self._files = (path.open("w", encoding="utf-8"), stdout)

    def start_ionic_step(self) -> None:
        """Heading of the electronic steps."""
        header = "       N       E                     dE             d eps       ncg     rms"
        self._write(header + "          rms(c)")

    def cycle(self, number: int, cycle: Cycle) -> None:
        """One electronic step."""
        change = fortran(cycle.change, 14, 5)
        self._write(
            f"DAV: {number:3d} {fortran(cycle.energy, 20, 12)} {change} {change}      0 "
            f"{fortran(cycle.residual, 11, 3)}"
        )

    def ionic_step(self, number: int, energy: float, change: float, spin: bool) -> None:
        """Energy of an ionic step and its change."""
        magnetization = "  mag=     0.0000" if spin else ""
        self._write(
            f"{number:4d} F= {fortran(energy, 0, 8)} E0= {fortran(energy, 0, 8)}  d E ="
            f"{fortran(change, 0, 6)}{magnetization}"
        )

    def _write(self, line: str) -> None:
        for file in self._files:
            file.write(line + "\n")
            file.flush()


def _positions(poscar: Poscar, decimals: int) -> list[str]:
    lines = [
        poscar.comment,
        "   1.00000000000000",
        *("".join(f" {x:{decimals + 6}.{decimals}f}" for x in row) for row in poscar.lattice),
        "".join(f"{symbol:>5s}" for symbol in poscar.species),
        "".join(f"{count:6d}" for count in poscar.counts),
    ]
    if poscar.movable is not None:
        lines.append("Selective dynamics")
    lines.append("Direct")
    for i, row in enumerate(poscar.fractional % 1):
        line = "".join(f" {x:{decimals + 4}.{decimals}f}" for x in row)
        if poscar.movable is not None:
            line += "".join("   T" if flag else "   F" for flag in poscar.movable[i])
        lines.append(line)
    return lines


def write_contcar(path: Path, poscar: Poscar, fractional: Array) -> None:
    """Write the structure with new fractional coordinates, 16 decimals."""
    lines = _positions(replace(poscar, fractional=fractional), decimals=16)
    path.write_text("\n".join(lines) + "\n")


def write_locpot(path: Path, poscar: Poscar, fractional: Array, potential: Potential) -> None:
    """Write the potential (eV) on its grid, the first index running fastest."""
    structure = replace(poscar, fractional=fractional, movable=None)
    values = potential.on_grid().ravel(order="F")
    full, rest = divmod(len(values), 5)
    layout = "%18.11E %18.11E %18.11E %18.11E %18.11E\n" * full + "%18.11E " * rest
    header = "\n".join(_positions(structure, decimals=9))
    shape = "".join(f"{n:5d}" for n in potential.shape)
    path.write_text(f"{header}\n \n{shape}\n" + layout % tuple(values) + "\n")


def write_wavecar(path: Path, poscar: Poscar, parameters: Parameters, point: SinglePoint) -> None:
    """Write a WAVECAR with the true bands and the plane wave G = 0 only, its coefficients zero.

    It stands for the orbitals in what is handed from run to run, and holds none: the cutoff in it
    lies below the first reciprocal lattice vector, not at ENCUT.
    """
    shortest = np.linalg.norm(2 * np.pi * np.linalg.inv(poscar.lattice), axis=0).min()
    cutoff = 0.1 * shortest**2 / _PLANE_WAVE
    n_bands, n_spins = len(point.eigenvalues), parameters["ISPIN"]
    bands = np.column_stack([point.eigenvalues, 0 * point.eigenvalues, point.occupations / 2])
    header = np.zeros((2, _RECORD))
    header[0, :3] = 8 * _RECORD, n_spins, _RTAG
    header[1] = 1, n_bands, cutoff, *poscar.lattice.ravel(), point.fermi_energy
    k_point = np.concatenate([[1, 0, 0, 0], bands.ravel()])  # one plane wave, at Gamma
    padding = -len(k_point) % _RECORD
    spin = np.concatenate([k_point, np.zeros(padding + n_bands * _RECORD)])
    np.concatenate([header.ravel(), *[spin] * n_spins]).tofile(path)
