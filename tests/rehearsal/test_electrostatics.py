from __future__ import annotations

import numpy as np
import pytest

from defect_workflows.rehearsal.electrostatics import (
    COULOMB,
    SPACING,
    WIDTH,
    Potential,
    grid_shape,
)

CUBE = 20 * np.eye(3)
SKEW = np.array([[9.0, 0, 0], [2.0, 10, 0], [-1, 3.0, 8.0]])


def test_grid() -> None:
    shape = grid_shape(SKEW)
    assert all(n % 2 == 0 for n in shape)
    lengths = np.linalg.norm(SKEW, axis=1)
    assert all(length / n <= SPACING for length, n in zip(lengths, shape, strict=True))


def test_point_charge_as_an_electron_feels_it() -> None:
    """In a cubic cell: -q k (1/r - 2.837297 / L + 2 pi r^2 / (3 L^3)) close to the charge.

    M. Leslie and M. J. Gillan, J. Phys. C 18, 973 (1985); the Gaussian's width adds
    2 pi WIDTH^2 / L^3 to the average.
    """
    edge, charge = 20.0, -2.0
    potential = Potential.from_charges(CUBE, np.zeros((1, 3)), np.array([charge]))
    r = 5 * WIDTH
    at_r = _at_point(potential, np.array([r / edge, 0, 0]))
    madelung = 1 / r - 2.837297 / edge + 2 * np.pi * r**2 / (3 * edge**3)
    width = 2 * np.pi * WIDTH**2 / edge**3
    assert at_r == pytest.approx(-charge * COULOMB * (madelung + width), abs=0.02)
    assert at_r > 0  # a negative charge repels the electron


def test_average_is_zero_and_charge_neutral_cells_need_no_background() -> None:
    rng = np.random.default_rng(3)
    sites, charges = rng.random((6, 3)), rng.normal(size=6)
    grid = Potential.from_charges(SKEW, sites, charges).on_grid()
    assert grid.mean() == pytest.approx(0, abs=1e-10)
    assert grid.shape == grid_shape(SKEW)


def test_sites_and_grid_agree() -> None:
    """A site potential is the average of the grid over the test charge at the site."""
    rng = np.random.default_rng(4)
    sites, charges = rng.random((5, 3)), np.array([0.5, -0.4, 0.2, -0.1, -2.0])
    potential = Potential.from_charges(SKEW, sites, charges)
    grid = potential.on_grid()
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    for site, value in zip(sites, potential.at_sites(sites), strict=True):
        weight = np.zeros(grid.shape)
        for image in np.ndindex(3, 3, 3):
            distance = (indices / grid.shape - site + np.array(image) - 1) @ SKEW
            weight += np.exp(-(distance**2).sum(axis=-1) / (2 * WIDTH**2))
        assert (grid * weight).sum() / weight.sum() == pytest.approx(value, abs=1e-5)


def test_moving_everything_moves_the_potential() -> None:
    rng = np.random.default_rng(5)
    sites, charges = rng.random((4, 3)), np.array([1.0, -0.7, 0.4, -0.7])
    here = Potential.from_charges(SKEW, sites, charges).at_sites(sites)
    moved = sites + np.array([0.31, -0.62, 1.27])
    there = Potential.from_charges(SKEW, moved, charges).at_sites(moved)
    np.testing.assert_allclose(there, here, atol=1e-9)


def _at_point(potential: Potential, fractional: np.ndarray) -> float:
    """V at a point: its Fourier series, summed there."""
    nx, ny, nz = potential.shape
    h, k, m = np.fft.fftfreq(nx, 1 / nx), np.fft.fftfreq(ny, 1 / ny), np.fft.rfftfreq(nz, 1 / nz)
    waves = [np.exp(2j * np.pi * i * x) for i, x in zip((h, k, m), fractional, strict=True)]
    waves[2] = waves[2] * np.where(m > 0, 2, 1)
    return float(np.einsum("xyz,x,y,z->", potential.coefficients, *waves).real)
