"""The last steps to the minimum of the hybrid functional, guided by the potential.

The second derivatives of the potential take quasi-Newton steps on the hybrid functional's own
forces, and what these show corrects the second derivatives (BFGS: Nocedal and Wright, Numerical
Optimization, Springer 2006, eq. 6.19). That is right up to second order whatever the potential's
errors are; a bad potential costs steps, never the minimum. Its own minimum, corrected by the
difference of the forces at the last single point, is a worse place to go to (benchmarks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch_sim as ts
from pymatgen.core import Structure
from torch_sim.models.interface import ModelInterface

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.predict import BATCH_ATOMS, Potential
from defect_workflows.search.cluster import displacements
from defect_workflows.search.relax import FIDELITY, with_positions

LONGEST = 0.25
"""A step moves no atom further than this, in Å."""

SHORTER = (0.1, 0.5)
"""After a step uphill the next one is at most so many times as long: at least, at most."""

PROBE = 0.015
"""Displacement in Å that measures second derivatives."""

SOFTEST = 2.0
"""Second derivatives are at least this large, in eV/Å^2: smaller and negative ones would lead far
away."""

SMALLEST = 1e-8
"""Second derivatives in eV/Å^2, and energies in eV, below this are rounding noise."""


@dataclass(frozen=True)
class Proposal:
    """What to calculate next.

    Attributes
    ----------
    structure
        The structure, which carries the charge.
    gain
        Energy in eV by which it should lie below the lowest single point so far.
    """

    structure: Structure
    gain: float


def next_structure(potential: Potential, labels: Sequence[Label]) -> Proposal:
    """Return where the minimum of the hybrid functional should be.

    Parameters
    ----------
    potential
        The committee, for the second derivatives.
    labels
        Single points of one state at the hybrid functional, in the order they were made, each a
        step from the lowest before it.

    Raises
    ------
    ValueError
        If there are none.
    """
    lowest = min(labels, key=lambda label: label.energy)
    origin = lowest.configuration.structure
    second = second_derivatives(potential, origin)
    longest = LONGEST
    start = labels[0]
    for label in labels[1:]:
        way = displacements(start.configuration.structure, label.configuration.structure)
        change = np.array(start.forces) - np.array(label.forces)
        second = updated(second, way.ravel(), change.ravel())
        longest = LONGEST
        if label.energy < start.energy:
            start = label
        else:
            longest = min(LONGEST, _shorter(start, label, way) * _length(way))
    forces = np.array(lowest.forces)
    step = np.linalg.solve(second, forces.ravel())
    step *= longest / max(longest, _length(step.reshape(-1, 3)))
    return Proposal(
        structure=with_positions(origin, origin.cart_coords + step.reshape(-1, 3)),
        gain=float(forces.ravel() @ step - step @ second @ step / 2),
    )


def second_derivatives(potential: Potential, structure: Structure) -> np.ndarray:
    """Return the second derivatives of the potential's guide in eV/Å^2, positive definite.

    They only guide: what the single points say of the curvature replaces them.

    Parameters
    ----------
    potential
        The committee.
    structure
        Structure of n atoms.

    Returns
    -------
    array, shape (3n, 3n)
        Symmetric; eigenvalues are the absolute values of the true ones, and at least `SOFTEST`.
    """
    guide = potential.guide
    model = guide.torchsim_model(FIDELITY)
    still = guide.state([structure], FIDELITY)
    ways = PROBE * torch.eye(3 * len(structure), device=still.device, dtype=still.dtype)
    at_once = max(1, BATCH_ATOMS[still.device.type] // len(structure))
    there = torch.cat([_forces(model, still, some) for some in ways.split(at_once)])
    raw = ((_forces(model, still, 0 * ways[:1]) - there) / PROBE).cpu().numpy()
    values, vectors = np.linalg.eigh((raw + raw.T) / 2)
    return (vectors * np.maximum(np.abs(values), SOFTEST)) @ vectors.T


def _forces(model: ModelInterface, state: ts.SimState, ways: torch.Tensor) -> torch.Tensor:
    """Return the forces in eV/Å on one system, displaced in several ways at once.

    Parameters
    ----------
    model, state
        The model and the system of n atoms.
    ways
        Displacements in Å, shape (ways, 3n); that of the forces too.
    """
    displaced = ts.concatenate_states([state] * len(ways))
    displaced.positions = displaced.positions + ways.reshape(-1, 3)
    return model(displaced)["forces"].reshape(ways.shape)


def updated(second: np.ndarray, way: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return second derivatives in eV/Å^2 that explain a change of forces, by BFGS.

    Positive definite ones stay so: a change that would make them otherwise is left out.

    Parameters
    ----------
    second
        Shape (m, m), positive definite.
    way
        Displacement in Å, shape (m,).
    change
        Forces before minus forces after it in eV/Å, shape (m,).
    """
    if way @ change <= SMALLEST * (way @ way):
        return second
    along = second @ way
    return (
        second - np.outer(along, along) / (way @ along) + np.outer(change, change) / (way @ change)
    )


def _shorter(lowest: Label, label: Label, way: np.ndarray) -> float:
    """Return at which share of a step uphill the parabola of slope and energies has its minimum."""
    slope = -float(np.sum(np.array(lowest.forces) * way))
    rise = label.energy - lowest.energy
    return float(np.clip(-slope / (2 * max(rise - slope, SMALLEST)), *SHORTER))


def _length(way: np.ndarray) -> float:
    """Return the largest displacement of an atom in Å; displacements have shape (n, 3)."""
    return float(np.linalg.norm(way, axis=1).max())
