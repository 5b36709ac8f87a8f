"""Symmetric copies of structures.

A distorted defect has as many orientations as the site loses symmetry, all of one energy. Whether
one structure leads to another is asked of the copy that is nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.moments import moments_of, with_moments
from defect_workflows.search.cluster import difference, farthest


@dataclass(frozen=True)
class Copy:
    """A symmetric copy of a structure.

    Attributes
    ----------
    structure
        The copy, which carries the charge, its atoms in the order of the structure it is near to.
    rotation
        Turns row vectors of the original into those of the copy, shape (3, 3).
    order
        Index in the original of each atom of the copy, shape (n,).
    distance
        Largest displacement of an atom from the structure it is near to, in Å.
    """

    structure: Structure
    rotation: np.ndarray
    order: np.ndarray
    distance: float

    def vectors(self, vectors: ArrayLike) -> np.ndarray:
        """Return what vectors of the original's atoms, such as forces, are at the copy's."""
        return (np.asarray(vectors) @ self.rotation)[self.order]


def copy_within(structure: Structure, onto: Structure, reach: float) -> Copy | None:
    """Return a copy of a structure with no atom further from another one's than `reach`.

    The structure itself if it is; else the nearest copy, by pymatgen's StructureMatcher, which
    moves it as a whole to where the mean displacement is zero.

    Parameters
    ----------
    structure, onto
        Two structures of one composition, in one cell.
    reach
        In Å.

    Returns
    -------
    Copy or None
        None if there is none.
    """
    if (distance := farthest(structure, onto)) <= reach:
        return Copy(structure, np.eye(3), np.arange(len(structure)), distance)
    # a distance changes by no more than both of its atoms move: most structures end here
    if difference(structure, onto) > 2 * reach:
        return None
    spacing = (onto.volume / len(onto)) ** (1 / 3)
    # twice the reach: pairs are matched before the mean displacement is taken off
    matcher = StructureMatcher(
        ltol=1e-3,
        angle_tol=0.1,
        stol=2 * reach / spacing,
        primitive_cell=False,
        scale=False,
    )
    found = matcher.get_transformation(onto, structure)
    if found is None:
        return None
    supercell, translation, order = found
    lattice = supercell @ structure.lattice.matrix
    places = structure.cart_coords @ np.linalg.inv(lattice) + translation
    near = Structure(onto.lattice, [site.specie for site in onto], places[order])
    if (distance := farthest(near, onto)) > reach:
        return None
    rotation = np.linalg.inv(lattice) @ onto.lattice.matrix
    if (moments := moments_of(structure)) is not None:
        near = with_moments(near, np.array(moments)[order].tolist())
    return Copy(with_charge(near, charge_of(structure)), rotation, np.array(order), distance)
