"""Electrostatic potential of atomic charges in a periodic cell, in VASP's conventions.

Each atom is a Gaussian charge of width `WIDTH`; a neutralising background makes the average zero.
The potential is that felt by an electron, so it rises around a negative defect:

    V(G) = -4 pi k e / (volume G^2) exp(-G^2 WIDTH^2 / 2) sum_j q_j exp(-i G r_j),   V(0) = 0

LOCPOT is V on a grid; a site potential is V averaged over a Gaussian test charge at the site. Both
come from the same coefficients and agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .inputs import Array

COULOMB = 14.399645478
"""e^2 / (4 pi epsilon_0), eV Å (CODATA 2018)."""
WIDTH = 1.0
"""Standard deviation of the Gaussian charges, and of the test charge, Å.

An atom's own charge then contributes COULOMB / (sqrt(pi) WIDTH) = 8.1 eV per e to its site
potential: a chemical hardness as in xTB's Coulomb law. Narrower charges leave an alternation
between anions and cations in the site potentials far from a charged defect.
"""
SPACING = 0.4
"""Largest distance of grid points along a lattice vector, Å: coefficients left out are < 1e-12."""


def grid_shape(lattice: Array) -> tuple[int, int, int]:
    """Even numbers of grid points without prime factors above 7, as VASP chooses them."""

    def next_size(minimum: float) -> int:
        size = 2 * int(np.ceil(minimum / 2))
        while True:
            rest = size
            for prime in (2, 3, 5, 7):
                while rest % prime == 0:
                    rest //= prime
            if rest == 1:
                return size
            size += 2

    x, y, z = (next_size(length / SPACING) for length in np.linalg.norm(lattice, axis=1))
    return x, y, z


@dataclass(frozen=True)
class Potential:
    """Potential of a set of charges.

    Attributes
    ----------
    lattice : array of shape (3, 3)
        Lattice vectors in rows, Å.
    shape : tuple of int
        Grid points along each lattice vector.
    coefficients : complex array of shape (nx, ny, nz // 2 + 1)
        V(G), eV, in the order of numpy's `rfftn`.
    """

    lattice: Array
    shape: tuple[int, int, int]
    coefficients: NDArray[np.complex128]

    @classmethod
    def from_charges(cls, lattice: Array, fractional: Array, charges: Array) -> Potential:
        """Potential of charges (e) at fractional positions, shape (n_atoms, 3)."""
        shape = grid_shape(lattice)
        x, y, z = _phases(fractional, shape, sign=-1)
        pairs = (y[:, :, None] * z[:, None, :]).reshape(len(charges), -1)
        structure_factor = ((x * charges[:, None]).T @ pairs).reshape(x.shape[1], y.shape[1], -1)
        g2 = _squared_wave_vectors(lattice, shape)
        g2[0, 0, 0] = np.inf  # the neutralising background
        volume = abs(np.linalg.det(lattice))
        kernel = -4 * np.pi * COULOMB / volume / g2 * np.exp(-g2 * WIDTH**2 / 2)
        for axis, size in enumerate(shape):  # a lone Nyquist wave has no phase: leave it out
            index: list[slice | int] = [slice(None)] * 3
            index[axis] = size // 2
            kernel[tuple(index)] = 0
        return cls(lattice, shape, kernel * structure_factor)

    def on_grid(self) -> Array:
        """V on the grid, eV, shape `shape`."""
        return np.fft.irfftn(self.coefficients, s=self.shape, axes=(0, 1, 2)) * np.prod(self.shape)

    def at_sites(self, fractional: Array) -> Array:
        """V averaged over the test charge at fractional positions, eV, shape (n_sites,)."""
        test_charge = np.exp(-_squared_wave_vectors(self.lattice, self.shape) * WIDTH**2 / 2)
        weighted = self.coefficients * test_charge
        weighted[:, :, 1:] *= 2  # G and -G
        x, y, z = _phases(fractional, self.shape, sign=1)
        pairs = (x[:, :, None] * y[:, None, :]).reshape(len(fractional), -1)
        return np.einsum("iz,iz->i", pairs @ weighted.reshape(-1, weighted.shape[2]), z).real


def _indices(shape: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    nx, ny, nz = shape
    return np.fft.fftfreq(nx, 1 / nx), np.fft.fftfreq(ny, 1 / ny), np.fft.rfftfreq(nz, 1 / nz)


def _phases(
    fractional: Array, shape: tuple[int, int, int], sign: int
) -> list[NDArray[np.complex128]]:
    return [
        np.exp(sign * 2j * np.pi * np.outer(fractional[:, axis], index))
        for axis, index in enumerate(_indices(shape))
    ]


def _squared_wave_vectors(lattice: Array, shape: tuple[int, int, int]) -> Array:
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    metric = reciprocal @ reciprocal.T
    h, k, m = np.meshgrid(*_indices(shape), indexing="ij", sparse=True)
    return (
        metric[0, 0] * h**2
        + metric[1, 1] * k**2
        + metric[2, 2] * m**2
        + 2 * (metric[0, 1] * h * k + metric[0, 2] * h * m + metric[1, 2] * k * m)
    )
