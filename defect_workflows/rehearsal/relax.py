"""The ionic relaxation: L-BFGS that never accepts an energy going up.

J. Nocedal, Math. Comp. 35, 773 (1980); the step is capped and, when the energy rises, shortened to
the minimum of the parabola through the two energies and the slope.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .inputs import Array

MAX_STEP = 0.25
"""Longest move of an atom in one step, Å."""
START_CURVATURE = 40.0
"""Curvature assumed before the first step, eV/Å^2."""
MEMORY = 40
"""Steps whose curvature is remembered."""
NOISE = 1e-5
"""Rise of the energy that counts as numerical noise, eV."""


class Lbfgs:
    """Proposes positions from the energies and forces of the positions it proposed before."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Array, Array]] = []
        self._accepted: tuple[Array, float, Array] | None = None
        self._step: Array | None = None

    def propose(self, positions: Array, energy: float, forces: Array) -> Array:
        """Next positions (Å) after energy (eV) and forces (eV/Å, shape (n_atoms, 3)) at these."""
        x, gradient = positions.ravel(), -forces.ravel()
        if self._accepted is not None and self._step is not None:
            x0, energy0, gradient0 = self._accepted
            self._remember(x - x0, gradient - gradient0)
            if energy > energy0 + NOISE:
                slope = float(gradient0 @ self._step)
                shorter = -slope / (2 * (energy - energy0 - slope))
                self._step = self._step * np.clip(shorter, 0.1, 0.5)
                return (x0 + self._step).reshape(-1, 3)
        self._accepted = (x, energy, gradient)
        step = -self._inverse_hessian_times(gradient)
        if step @ gradient >= 0:  # not downhill: forget the curvature
            self._pairs.clear()
            step = -gradient / START_CURVATURE
        longest = np.linalg.norm(step.reshape(-1, 3), axis=1).max()
        self._step = step * (MAX_STEP / max(longest, MAX_STEP))
        return (x + self._step).reshape(-1, 3)

    def _remember(self, step: Array, change: Array) -> None:
        if step @ change > 1e-8 * (step @ step):
            self._pairs = [*self._pairs, (step, change)][-MEMORY:]

    def _inverse_hessian_times(self, vector: Array) -> Array:
        """Two-loop recursion."""
        result, projections = vector.copy(), []
        for step, change in reversed(self._pairs):
            projection = (step @ result) / (step @ change)
            result -= projection * change
            projections.append(projection)
        if self._pairs:
            step, change = self._pairs[-1]
            result *= (step @ change) / (change @ change)
        else:
            result /= START_CURVATURE
        for (step, change), projection in zip(self._pairs, reversed(projections), strict=True):
            result += step * (projection - (change @ result) / (step @ change))
        return result


def movable_part(forces: Array, lattice: Array, movable: NDArray[np.bool_] | None) -> Array:
    """Forces (shape (n_atoms, 3)) within what selective dynamics leaves free.

    The flags belong to the lattice vectors: an atom moves in the span of those flagged true.
    """
    if movable is None:
        return forces
    result = np.zeros_like(forces)
    for flags in np.unique(movable, axis=0):
        atoms, free = (movable == flags).all(axis=1), lattice[flags]
        result[atoms] = forces[atoms] @ np.linalg.pinv(free) @ free
    return result
