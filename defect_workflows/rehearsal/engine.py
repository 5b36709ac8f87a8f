"""The physics of the rehearsal: extended tight binding (tblite) in a periodic cell.

IPEA1-xTB stands for PBE and GFN1-xTB for HSE06: two methods of one family whose charged cells
have exact forces, and whose energy landscapes differ about as the two functionals' do.
Everything is at the Gamma point and spin-unpolarised, at 300 K electronic temperature.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tblite.exceptions import TBLiteRuntimeError
from tblite.interface import Calculator, Result

from .inputs import Array

HARTREE = 27.211386245988
"""eV, CODATA 2018."""
BOHR = 0.529177210903
"""Å, CODATA 2018."""

ELECTRONIC_TEMPERATURE = 9.5e-4 * HARTREE
"""tblite's default, 300 K, in eV."""

Method = Literal["IPEA1-xTB", "GFN1-xTB"]

_CYCLE = re.compile(r"\s*(\d+)\s+(-?[\d.]+|-?NaN)\s+(\S+)\s+(\S+)\s*")
# tblite converges the energy to 1e-6 Hartree at accuracy 1
_ACCURACY_PER_EV = 1 / (1e-6 * HARTREE)


@dataclass(frozen=True)
class Cycle:
    """One cycle of the self-consistent field: energy and its change (eV), density residual."""

    energy: float
    change: float
    residual: float


@dataclass(frozen=True)
class SinglePoint:
    """Result of one self-consistent calculation.

    Attributes
    ----------
    energy : float
        Free energy of the electrons and ions, eV; `forces` are its derivative.
    forces : array of shape (n_atoms, 3)
        eV/Å.
    virial : array of shape (3, 3)
        dE/d(strain), eV.
    charges : array of shape (n_atoms,)
        Atomic charges, e.
    eigenvalues, occupations : arrays of shape (n_orbitals,)
        eV; 0 to 2 electrons.
    cycles : list of Cycle
        The self-consistency cycles.
    converged : bool
        Whether they converged.
    """

    energy: float
    forces: Array
    virial: Array
    charges: Array
    eigenvalues: Array
    occupations: Array
    cycles: list[Cycle]
    converged: bool

    @property
    def fermi_energy(self) -> float:
        """Chemical potential of partly filled states, else the middle of the gap, eV."""
        nearest = int(np.argmin(np.abs(self.occupations - 1)))
        occupation = self.occupations[nearest]
        if 0.02 < occupation < 1.98:  # Fermi distribution solved for the chemical potential
            shift = ELECTRONIC_TEMPERATURE * np.log(occupation / (2 - occupation))
            return float(self.eigenvalues[nearest] + shift)
        filled = self.occupations > 1
        return float((self.eigenvalues[filled].max() + self.eigenvalues[~filled].min()) / 2)


class Engine:
    """Single points of one cell with changing positions.

    Parameters
    ----------
    method : Method
        IPEA1-xTB or GFN1-xTB.
    numbers : integer array of shape (n_atoms,)
        Atomic numbers.
    lattice : array of shape (3, 3)
        Lattice vectors in rows, Å.
    positions : array of shape (n_atoms, 3)
        Cartesian starting positions, Å.
    charge : float
        Charge of the cell, e; tblite adds the neutralising background.
    energy_tolerance : float
        Energy change at which the cycles end, eV; at most 2.7e-5 is used.
    max_cycles : int
        Largest number of cycles.
    mixing : float, optional
        Damping of the density mixer; tiny values make the cycles fail to converge.
    on_cycle : callable
        Called with (number, cycle) as the cycles go on.
    """

    def __init__(
        self,
        method: Method,
        numbers: NDArray[np.int64],
        lattice: Array,
        positions: Array,
        charge: float,
        *,
        energy_tolerance: float = 1e-5,
        max_cycles: int = 250,
        mixing: float | None = None,
        on_cycle: Callable[[int, Cycle], None] = lambda number, cycle: None,
    ) -> None:
        self._on_cycle = on_cycle
        self._cycles: list[Cycle] = []
        self._result: Result | None = None
        self._calculator = Calculator(
            method,
            numbers,
            positions / BOHR,
            charge=charge,
            lattice=lattice / BOHR,
            periodic=np.ones(3, dtype=bool),
            color=False,
            logger=self._read_log,
        )
        self._calculator.set("accuracy", min(1.0, energy_tolerance * _ACCURACY_PER_EV))
        self._calculator.set("max-iter", max_cycles)
        self._calculator.set("temperature", ELECTRONIC_TEMPERATURE / HARTREE)
        if mixing is not None:
            self._calculator.set("mixer-damping", mixing)

    @property
    def n_orbitals(self) -> int:
        """Size of the basis: the number of bands."""
        return len(self._calculator.get("orbital-map"))

    def compute(self, positions: Array) -> SinglePoint:
        """Single point at Cartesian positions (Å), started from the density of the previous one."""
        self._cycles = []
        self._calculator.update(positions=positions / BOHR)
        result = Result() if self._result is None else self._result
        converged = True
        try:
            self._calculator.singlepoint(result)
        except TBLiteRuntimeError as error:
            if "not converged" not in str(error):
                raise
            converged = False
        # an unconverged density is no start for the next point
        self._result = result if converged else None
        return SinglePoint(
            energy=float(result.get("energy")) * HARTREE,
            forces=-result.get("gradient") * HARTREE / BOHR,
            virial=result.get("virial") * HARTREE,
            charges=result.get("charges"),
            eigenvalues=result.get("orbital-energies") * HARTREE,
            occupations=result.get("orbital-occupations"),
            cycles=self._cycles,
            converged=converged,
        )

    def _read_log(self, message: str) -> None:
        if match := _CYCLE.fullmatch(message):
            energy, change, residual = (float(match[i]) for i in (2, 3, 4))
            cycle = Cycle(energy * HARTREE, change * HARTREE, residual)
            self._cycles.append(cycle)
            self._on_cycle(int(match[1]), cycle)
