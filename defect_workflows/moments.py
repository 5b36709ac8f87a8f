"""Magnetic moments of sites: carried from the host to every INCAR, whatever happens to the atoms.

A structure with a magnetic order has the site property ``magmom`` on every site, in Bohr magnetons;
one without has none, and VASP begins with its own default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymatgen.core import Structure
from pymatgen.electronic_structure.core import Magmom

SITE_KEY = "magmom"
"""pymatgen's name of the site property."""

SAME_SITE = 0.5
"""An atom within so many Å of a site of the host, of its element, is the host's own."""

_COLLINEAR = 0.01
"""Share of the largest moment that may stand across the common axis."""


def moments_of(structure: Structure) -> list[float] | None:
    """Return the moments of a structure's sites in Bohr magnetons, None if it has no order."""
    found = [site.properties.get(SITE_KEY) for site in structure]
    if all(moment is None for moment in found):
        return None
    return [0.0 if moment is None else float(moment) for moment in found]


def with_moments(structure: Structure, moments: Sequence[float] | None) -> Structure:
    """Return a copy of a structure with these moments, in the order of its sites.

    Raises
    ------
    ValueError
        If there is not one moment for each site.
    """
    copy = structure.copy()
    if SITE_KEY in structure.site_properties:
        copy.remove_site_property(SITE_KEY)
    if moments is not None:
        if len(moments) != len(structure):
            raise ValueError(f"moments: found {len(moments)}, expected {len(structure)}")
        copy.add_site_property(SITE_KEY, [float(moment) for moment in moments])
    return copy


def moments_by_site(structure: Structure, host: Structure) -> list[float] | None:
    """Return moments of a structure whose atoms are where those of a host with moments are.

    Atoms in another order are found by where they are; an atom that the host does not have, such as
    an interstitial or a substitute, has none (0).

    Parameters
    ----------
    structure
        Unrelaxed structure, in the cell of the host.
    host
        Structure with or without moments.
    """
    moments = moments_of(host)
    if moments is None:
        return None
    distances = structure.lattice.get_all_distances(structure.frac_coords, host.frac_coords)
    nearest = np.argmin(distances, axis=1)
    return [
        moments[index]
        if distances[number, index] < SAME_SITE
        and structure[number].specie.symbol == host[index].specie.symbol
        else 0.0
        for number, index in enumerate(map(int, nearest))
    ]


def collinear_moments(structure: Structure) -> list[float] | None:
    """Return the moments that a structure file gives, along their common axis; None if all are 0.

    They stand in the site property ``magmom`` (a number or a vector) or in the spin of the species.

    Raises
    ------
    ValueError
        If they have no common axis.
    """
    vectors = np.array([_vector(site) for site in structure])
    sizes = np.linalg.norm(vectors, axis=1)
    if sizes.max() == 0:
        return None
    axis = vectors[int(np.argmax(sizes))] / sizes.max()
    if axis[int(np.argmax(np.abs(axis) > _COLLINEAR))] < 0:  # up is up: keep the file's signs
        axis = -axis
    along = vectors @ axis
    across = np.linalg.norm(vectors - np.outer(along, axis), axis=1)
    if across.max() > _COLLINEAR * sizes.max():
        raise ValueError(
            "found magnetic moments that are not collinear, expected one axis (VASP runs collinear)"
        )
    return [round(float(moment), 6) + 0.0 for moment in along]


def _vector(site: Any) -> np.ndarray:
    moment = site.properties.get(SITE_KEY)
    if moment is None:
        moment = getattr(site.specie, "spin", None) or 0.0
    return np.array(Magmom(moment).global_moment, dtype=float)
