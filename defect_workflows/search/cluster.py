"""Which relaxed structures are the same minimum.

A structure is described by what every atom sees: the sorted distances to its neighbours, element
by element, none counted beyond a radius. Distances do not change under translations, rotations,
reflections and the order of atoms, and sorted distances move by no more than the atoms do, so
symmetric copies of a minimum are equal and nearby structures are near.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure
from pymatgen.util.coord import pbc_diff
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

RADIUS = 6.0
"""Neighbours up to this distance in Å describe an atom."""

SAME_DISTANCE = 0.15
"""Two structures whose distances differ by less, in Å, are one minimum."""

SAME_ENERGY = 0.02
"""Two structures whose energies differ by more, in eV, are never one minimum."""


def surroundings(structure: Structure) -> np.ndarray:
    """Return what every atom sees.

    Parameters
    ----------
    structure
        A periodic structure with n atoms of m elements.

    Returns
    -------
    array, shape (n, m, k)
        Sorted distances in Å from every atom to its neighbours of every element (in alphabetical
        order); k is as large as needed and the rest is filled up with `RADIUS`.
    """
    elements, element_of = np.unique(
        [site.specie.symbol for site in structure], return_inverse=True
    )
    centres, neighbours, _, distances = structure.get_neighbor_list(RADIUS)
    # a group of neighbours for every atom and element
    groups = centres * len(elements) + element_of[neighbours]
    order = np.lexsort((distances, groups))
    sizes = np.bincount(groups, minlength=len(structure) * len(elements))
    places = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.full((len(sizes), sizes.max()), RADIUS)
    table[groups[order], places] = distances[order]
    return table.reshape(len(structure), len(elements), -1)


def difference(first: Structure, second: Structure) -> float:
    """Return by how much the distances in two structures differ at most, in Å.

    Every atom is matched with the atom of the same element in the other structure that sees nearly
    the same. Infinite for structures of different composition.
    """
    elements = [np.array([site.specie.symbol for site in s]) for s in (first, second)]
    if sorted(elements[0]) != sorted(elements[1]):
        return float("inf")
    tables = [surroundings(structure) for structure in (first, second)]
    width = max(table.shape[2] for table in tables)
    seen = [
        np.pad(t, ((0, 0), (0, 0), (0, width - t.shape[2])), constant_values=RADIUS).reshape(
            len(t), -1
        )
        for t in tables
    ]
    largest = 0.0
    for element in set(elements[0]):
        costs = cdist(seen[0][elements[0] == element], seen[1][elements[1] == element], "chebyshev")
        largest = max(largest, costs[linear_sum_assignment(costs)].max())
    return float(largest)


def displacements(start: Structure, end: Structure) -> np.ndarray:
    """Return the shortest ways of the atoms from one structure to another in Å, shape (n, 3).

    Both have the same cell and their atoms in the same order.
    """
    way = pbc_diff(end.frac_coords, start.frac_coords)
    return np.array(start.lattice.get_cartesian_coords(way))


def farthest(start: Structure, end: Structure) -> float:
    """Return the largest displacement of an atom from one structure to another, in Å."""
    return float(np.linalg.norm(displacements(start, end), axis=1).max())


def same(first: Structure, second: Structure) -> bool:
    """Tell whether two structures are one minimum."""
    return difference(first, second) < SAME_DISTANCE


def cluster(structures: Sequence[Structure], energies: Sequence[float]) -> list[list[int]]:
    """Sort relaxed structures of one state into minima.

    Parameters
    ----------
    structures
        Relaxed structures.
    energies
        Their energies in eV.

    Returns
    -------
    list of list of int
        Indices of the structures in each minimum, lowest first; the minima with the lowest energy
        first.
    """
    minima: list[list[int]] = []
    for index in np.argsort(energies, kind="stable"):
        for minimum in minima:
            lowest = minimum[0]
            if energies[index] - energies[lowest] < SAME_ENERGY and same(
                structures[lowest], structures[index]
            ):
                minimum.append(int(index))
                break
        else:
            minima.append([int(index)])
    return minima
