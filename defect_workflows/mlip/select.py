"""What deserves the expensive fidelity: geometries far from each other, in all their charges."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from dscribe.descriptors import SOAP

from defect_workflows.charge import to_atoms
from defect_workflows.errors import PotentialError
from defect_workflows.reuse import fingerprint

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from defect_workflows.documents.defects import ChargedConfiguration

logger = logging.getLogger(__name__)

MINIMUM_PER_STATE = 2
"""Every state, and the bulk, gets at least this many, where it has them."""


def select(
    configurations: Sequence[ChargedConfiguration],
    share: float,
    minimum: int = MINIMUM_PER_STATE,
) -> list[ChargedConfiguration]:
    """Choose the configurations to label at the expensive fidelity.

    Each defect, and the bulk, gets its share. Within a defect geometries are taken by
    farthest-point sampling on SOAP descriptors, beginning with the most typical one, each geometry
    in all the charge states it is offered in: the difference of two charges at one geometry is the
    strongest signal for the charge. A state short of `minimum` gets further geometries of its own.
    The choice depends on nothing random and not on the order of the input.

    Parameters
    ----------
    configurations
        All configurations.
    share
        Share of them to choose, 0 < share <= 1, rounded up to whole geometries.
    minimum
        Smallest number for each state.

    Returns
    -------
    list of ChargedConfiguration
        In the order of the input.

    Raises
    ------
    PotentialError
        If there are no configurations, or the share is not in (0, 1].
    """
    if not configurations or not 0 < share <= 1:
        raise PotentialError(
            f"select: found {len(configurations)} configurations and share {share}, "
            "expected at least one and 0 < share <= 1"
        )
    by_defect: dict[str, list[ChargedConfiguration]] = defaultdict(list)
    for configuration in configurations:
        by_defect[configuration.origin.defect].append(configuration)
    chosen: set[str] = set()
    for members in by_defect.values():
        chosen |= _select_of_defect(members, share, minimum)
    logger.info("selected %d of %d configurations", len(chosen), len(configurations))
    return [configuration for configuration in configurations if configuration.id in chosen]


def farthest_points(points: np.ndarray) -> list[int]:
    """Return an order of points, shape (n, d): each is the farthest from all before it.

    The first is the one nearest to the mean. Any beginning of the order covers the points well.
    """
    order = [int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    distance = np.linalg.norm(points - points[order[0]], axis=1)
    while len(order) < len(points):
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
    return order


def descriptors(structures: Sequence[Structure]) -> np.ndarray:
    """Return SOAP power spectra averaged over the atoms of each structure, shape (n, features).

    SOAP (Bartók et al., PRB 87, 184115, 2013) needs no potential, which does not exist yet;
    dscribe is there with ShakeNBreak.
    """
    elements = sorted({site.specie.symbol for structure in structures for site in structure})
    soap = SOAP(
        species=elements, r_cut=5.0, n_max=6, l_max=4, sigma=0.3, periodic=True, average="outer"
    )
    return np.atleast_2d(soap.create([to_atoms(structure) for structure in structures]))


def _select_of_defect(
    members: Sequence[ChargedConfiguration], share: float, minimum: int
) -> set[str]:
    geometries: dict[str, list[ChargedConfiguration]] = defaultdict(list)
    for configuration in members:
        structure = configuration.structure
        # equal positions at any charge are one geometry; families may hold several
        key = fingerprint(structure.lattice.matrix, structure.cart_coords, structure.species)
        geometries[key].append(configuration)
    keys = sorted(geometries)
    order = farthest_points(descriptors([geometries[key][0].structure for key in keys]))
    target = math.ceil(share * len(members))
    counts: dict[str, int] = defaultdict(int)
    states = {configuration.origin.state for configuration in members}
    chosen: set[str] = set()
    for index in order:
        offered = geometries[keys[index]]
        if len(chosen) >= target:
            offered = [c for c in offered if counts[c.origin.state] < minimum]
        for configuration in offered:
            chosen.add(configuration.id)
            counts[configuration.origin.state] += 1
        if len(chosen) >= target and all(counts[state] >= minimum for state in states):
            break
    return chosen
