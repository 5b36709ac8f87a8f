"""Estimates of energies that several stages make alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

FORCE_CONSTANT = 3.0
"""Force constant that turns remaining forces into energy, eV/Å^2: soft, so that the estimate is
high (a transverse optical phonon of 4 THz in CdTe is 4 eV/Å^2)."""


def energy_left(forces: ArrayLike) -> float:
    """Return what relaxing the remaining forces F could gain, about sum(F^2) / (2 k), in eV.

    Parameters
    ----------
    forces
        Forces in eV/Å, shape (n, 3).
    """
    return float(np.sum(np.square(forces))) / (2 * FORCE_CONSTANT)
