from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Structure

from defect_workflows.rehearsal.engine import Engine, Method
from defect_workflows.rehearsal.relax import Lbfgs, movable_part


def engine(structure: Structure, charge: float, method: Method = "GFN1-xTB", **options) -> Engine:
    numbers = np.array([site.specie.Z for site in structure])
    options = {"energy_tolerance": 1e-8} | options
    lattice = structure.lattice.matrix
    return Engine(method, numbers, lattice, structure.cart_coords, charge, **options)


@pytest.mark.parametrize("method", ["IPEA1-xTB", "GFN1-xTB"])
@pytest.mark.parametrize("charge", [0, -1, -2])
def test_forces_are_the_derivative_of_the_energy(vacancy, charge, method) -> None:
    calculator, x, h = engine(vacancy, charge, method), vacancy.cart_coords, 2e-3
    forces = calculator.compute(x).forces
    for atom, axis in ((0, 0), (2, 1), (4, 2), (6, 0)):
        step = np.zeros_like(x)
        step[atom, axis] = h
        rise = calculator.compute(x + step).energy - calculator.compute(x - step).energy
        assert -rise / (2 * h) == pytest.approx(forces[atom, axis], abs=1e-3)


def test_virial_is_the_derivative_with_strain(vacancy: Structure) -> None:
    virial = engine(vacancy, -2).compute(vacancy.cart_coords).virial
    h = 1e-3
    for i, j in ((0, 0), (2, 2), (0, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h
            strained = Structure(
                vacancy.lattice.matrix @ strain, vacancy.species, vacancy.frac_coords
            )
            energies.append(engine(strained, -2).compute(strained.cart_coords).energy)
        assert (energies[0] - energies[1]) / (2 * h) == pytest.approx(virial[i, j], abs=5e-3)


def test_charges_and_electrons_add_up(vacancy: Structure) -> None:
    for charge in (0, -1, -2):
        point = engine(vacancy, charge).compute(vacancy.cart_coords)
        assert point.charges.sum() == pytest.approx(charge, abs=1e-8)
        # xTB: two valence electrons for Cd, six for Te
        assert point.occupations.sum() == pytest.approx(3 * 2 + 4 * 6 - charge, abs=1e-6)
        frontier = np.searchsorted(point.eigenvalues, point.fermi_energy)
        assert point.occupations[: frontier - 3].min() > 1
        assert point.occupations[frontier + 3 :].max() < 1


def test_method_and_charge_change_the_energy(vacancy: Structure) -> None:
    energies = {
        (method, charge): engine(vacancy, charge, method).compute(vacancy.cart_coords).energy
        for method in ("IPEA1-xTB", "GFN1-xTB")
        for charge in (0, -2)
    }
    assert len({round(energy, 1) for energy in energies.values()}) == 4
    # the vacancy accepts electrons
    assert energies["GFN1-xTB", -2] < energies["GFN1-xTB", 0]


def test_deterministic(vacancy: Structure) -> None:
    first, second = (engine(vacancy, -1).compute(vacancy.cart_coords) for _ in range(2))
    assert first.energy == second.energy
    np.testing.assert_array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.charges, second.charges)


def test_restart_gives_the_same_energy(vacancy: Structure) -> None:
    calculator = engine(vacancy, -2, energy_tolerance=1e-6)
    first = calculator.compute(vacancy.cart_coords)
    again = calculator.compute(vacancy.cart_coords)
    assert again.energy == pytest.approx(first.energy, abs=1e-6)
    assert len(again.cycles) < len(first.cycles)


@pytest.mark.parametrize("options", [{"max_cycles": 3}, {"max_cycles": 30, "mixing": 1e-4}])
def test_unconverged_cycles(vacancy: Structure, options: dict) -> None:
    seen: list[int] = []
    point = engine(
        vacancy, -2, **options, on_cycle=lambda number, cycle: seen.append(number)
    ).compute(vacancy.cart_coords)
    assert not point.converged
    assert len(point.cycles) == options["max_cycles"]
    assert seen == list(range(1, options["max_cycles"] + 1))


def test_relaxation_finds_the_minimum(vacancy: Structure) -> None:
    calculator, optimiser, x = engine(vacancy, -2), Lbfgs(), vacancy.cart_coords
    energies = []
    for _ in range(60):
        point = calculator.compute(x)
        energies.append(point.energy)
        if np.linalg.norm(point.forces, axis=1).max() < 0.01:
            break
        x = optimiser.propose(x, point.energy, point.forces)
    else:
        pytest.fail("not relaxed in 60 steps")
    assert energies[-1] < energies[0] - 0.1
    assert energies[-1] == min(energies)


def test_relaxation_backs_off_when_the_energy_rises() -> None:
    """A step over a barrier: up in energy, though the force there points further on."""
    optimiser, x0, force = Lbfgs(), np.array([[1.0, 0, 0]]), np.array([[8.0, 0, 0]])
    x1 = optimiser.propose(x0, 0.0, force)
    assert 1.1 < x1[0, 0] <= 1.25
    x2 = optimiser.propose(x1, 1.0, force)
    assert 1 < x2[0, 0] <= (x0 + x1)[0, 0] / 2
    # accepted once the energy is below that of the start, and on from there
    assert optimiser.propose(x2, -0.1, force)[0, 0] > x2[0, 0]


def test_relaxation_stays_where_there_is_no_force() -> None:
    x = np.ones((2, 3))
    np.testing.assert_array_equal(Lbfgs().propose(x, 0.0, np.zeros((2, 3))), x)


def test_selective_dynamics() -> None:
    lattice = np.array([[4.0, 0, 0], [1, 4, 0], [0, 1, 4]])
    forces = np.random.default_rng(0).normal(size=(4, 3))
    movable = np.array([[True] * 3, [False] * 3, [True, False, False], [True, True, False]])
    free = movable_part(forces, lattice, movable)
    np.testing.assert_allclose(free[0], forces[0])
    np.testing.assert_array_equal(free[1], 0)
    np.testing.assert_allclose(free[2], [forces[2, 0], 0, 0], atol=1e-12)
    # within the first two lattice vectors, and the rest of the force is orthogonal to them
    assert (free[3] @ np.linalg.inv(lattice))[2] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(lattice[:2] @ (forces[3] - free[3]), 0, atol=1e-12)
    np.testing.assert_array_equal(movable_part(forces, lattice, None), forces)
