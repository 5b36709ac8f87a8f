"""Geometries with vacuum: slabs, wires and molecules, for which the methods here do not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.geometry.dimensionality.rank_determination import RDA

if TYPE_CHECKING:
    from pymatgen.core import Structure

Geometry = Literal["molecule", "wire", "slab"]

VACUUM = 6.0
"""Atoms further apart than this in Å have vacuum between them. Neighbours in crystals are nearer:
5.3 Å in caesium, 4.4 Å in xenon, 3 to 4 Å across the gaps of layered crystals and between the
molecules of molecular ones; slabs are calculated with 8 Å of vacuum or more."""

_GEOMETRIES: tuple[Geometry | None, ...] = ("molecule", "wire", "slab", None)


def vacuum_geometry(structure: Structure) -> Geometry | None:
    """Return what a cell with vacuum holds; None for a crystal.

    Atoms within `VACUUM` of each other belong together. A crystal extends in three directions then,
    layered, molecular and porous ones included: what surrounds a pore is connected around it. A
    slab extends in two directions, a wire in one, a molecule in none, in whichever cell.
    Dimensions by rank determination (Larsen et al., Phys. Rev. Materials 3, 034003 (2019)) in ASE.

    Parameters
    ----------
    structure
        Of a host or a supercell.
    """
    ranks = RDA(len(structure))
    centers, neighbours, images, _ = structure.get_neighbor_list(VACUUM)
    bonds = np.column_stack([centers, neighbours, images]).astype(int)
    # each pair is there from both sides
    for i, j, *image in bonds[centers <= neighbours].tolist():
        ranks.insert_bond(i, j, tuple(image))
    found = ranks.check()
    return _GEOMETRIES[max(dimension for dimension, count in enumerate(found) if count)]
