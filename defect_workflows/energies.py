"""Estimates of energies that several stages make alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

FORCE_CONSTANT = 3.0
"""Force constant that turns remaining forces into energy, eV/Å^2: soft, so that the estimate is
high (a transverse optical phonon of 4 THz in CdTe is 4 eV/Å^2)."""


REACH = 0.3
"""An atom is not credited with more of a way than this, in Å: forces that would take it further
come from short contacts, which are stiffer."""


def energy_left(forces: ArrayLike) -> float:
    """Return what relaxing the remaining forces F could gain, about sum(F^2) / (2 k), in eV.

    Parameters
    ----------
    forces
        Forces in eV/Å, shape (n, 3).
    """
    return float(np.sum(np.square(forces))) / (2 * FORCE_CONSTANT)


def energy_in_reach(forces: ArrayLike) -> float:
    """Return what forces F promise far from a minimum, in eV: no atom goes further than `REACH`.

    As `energy_left` up to forces of k times `REACH`, linear in F above.

    Parameters
    ----------
    forces
        Forces in eV/Å, shape (n, 3).
    """
    force = np.linalg.norm(forces, axis=-1)
    way = np.minimum(force / FORCE_CONSTANT, REACH)
    return float(np.sum(force * way - FORCE_CONSTANT * way**2 / 2))
