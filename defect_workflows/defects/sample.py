"""Configurations to label: distortions and rattles, the same geometries in every charge state."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pymatgen.core import Structure
from pymatgen.util.coord import pbc_diff

from defect_workflows.campaign import SamplingSettings
from defect_workflows.distortions import (
    RATTLED,
    UNPERTURBED,
    Distorter,
    bond_distortion,
    closest_contact,
    in_charge_state,
    rattled,
    seed_of,
)
from defect_workflows.documents.defects import BULK, ChargedConfiguration, DefectState, Origin

logger = logging.getLogger(__name__)

SHORTEST_CONTACT = 0.7
"""Geometries with atoms closer than this share of their covalent radii are not labelled."""

SHORTEST_PATH = 0.25
"""A geometry on the path to a distortion has gone at least this share of it."""


@dataclass(frozen=True)
class Geometry:
    """A geometry of one defect, offered to all of its charge states."""

    family: str
    kind: Literal["rattle", "distortion", "path"]
    structure: Structure


def sample(
    states: Sequence[DefectState], bulk: Structure, settings: SamplingSettings
) -> list[ChargedConfiguration]:
    """Return the configurations to label.

    All charge states of a defect get the same geometries: energies of one geometry in two charges
    are the strongest signal for what the charge does. Every configuration follows from the
    seed, the defect and its number alone, so a larger `per_state` adds configurations and leaves
    the earlier ones.

    Parameters
    ----------
    states
        Defect states; those of one defect share its unrelaxed supercell.
    bulk
        Pristine supercell.
    settings
        How many, how far.

    Returns
    -------
    list of ChargedConfiguration
        `settings.per_state` for every state, in the order of the states, then `settings.bulk`
        rattled pristine supercells with charge 0.
    """
    geometries: dict[str, list[Geometry]] = {}
    for state in states:
        if state.defect not in geometries:
            siblings = [other for other in states if other.defect == state.defect]
            endless = _geometries(siblings, settings)
            geometries[state.defect] = list(itertools.islice(endless, settings.per_state))
    configurations = [
        _configuration(
            in_charge_state(geometry.structure, state.charge),
            Origin(state=state.name, family=geometry.family, kind=geometry.kind),
        )
        for state in states
        for geometry in geometries[state.defect]
    ]
    pristine = in_charge_state(bulk, 0)
    for number in range(settings.bulk):
        amplitude = settings.rattle_amplitudes[number % len(settings.rattle_amplitudes)]
        structure = rattled(pristine, amplitude, seed_of(settings.seed, BULK, number))
        origin = Origin(state=BULK, family=f"{BULK}/{RATTLED}/{number}", kind="bulk")
        configurations.append(_configuration(structure, origin))
    logger.info("sampled %d configurations of %d states", len(configurations), len(states))
    return configurations


def _geometries(siblings: Sequence[DefectState], settings: SamplingSettings) -> Iterator[Geometry]:
    """Yield the endless series of geometries of one defect."""
    # The charge states in an order of their own, so that the list's order does not matter.
    ordered = sorted(siblings, key=lambda state: (abs(state.charge), state.charge))
    distorters: dict[int, Distorter] = {}
    for state in ordered:
        distorter = Distorter.from_state(state)
        distorters.setdefault(distorter.neighbours, distorter)
    reference = next(iter(distorters.values()))
    defect = ordered[0].defect

    known = reference.names([], dimer=True, antisites=True)
    basins = [(reference, name) for name in known if name != UNPERTURBED]
    bonds = [
        (distorter, bond_distortion(value))
        for value in settings.distortions
        for neighbours, distorter in distorters.items()
        if neighbours > 0
    ]
    # Half of the geometries near the basins known beforehand, half of them bond distortions.
    plan = _alternate(basins, bonds) if bonds else itertools.cycle(basins)
    visits: dict[str, int] = {}
    for distorter, name in plan:
        shape = name if name in known else f"{distorter.neighbours}NN_{name}"
        visit = visits[shape] = visits.get(shape, -1) + 1
        family = f"{defect}/{shape}/{visit}"
        seed = seed_of(settings.seed, family)
        amplitude = settings.rattle_amplitudes[visit % len(settings.rattle_amplitudes)]
        target = distorter.shape(name)
        kind: Literal["rattle", "distortion", "path"] = "distortion"
        if name == RATTLED:
            kind = "rattle"
        elif visit % 2:
            # Every second visit stops on the way, where relaxations pass.
            kind = "path"
            share = np.random.default_rng(seed).uniform(SHORTEST_PATH, 1.0)
            target = _on_the_way(distorter.structure, target, share)
        # Looked at before as well: ShakeNBreak tries for minutes to rattle atoms apart.
        if closest_contact(target) < SHORTEST_CONTACT or (
            closest_contact(structure := rattled(target, amplitude, seed)) < SHORTEST_CONTACT
        ):
            logger.debug("%s: atoms too close, left out", family)
            continue
        yield Geometry(family=family, kind=kind, structure=structure)


def _alternate(
    first: Sequence[tuple[Distorter, str]], second: Sequence[tuple[Distorter, str]]
) -> Iterator[tuple[Distorter, str]]:
    for pair in zip(itertools.cycle(first), itertools.cycle(second), strict=False):
        yield from pair


def _on_the_way(start: Structure, end: Structure, share: float) -> Structure:
    """Return the structure that has gone a share of the shortest way from start to end."""
    way = pbc_diff(end.frac_coords, start.frac_coords)
    structure = end.copy()
    for index, position in enumerate(start.frac_coords + share * way):
        structure.translate_sites(index, position - end.frac_coords[index], to_unit_cell=False)
    return structure


def _configuration(structure: Structure, origin: Origin) -> ChargedConfiguration:
    return ChargedConfiguration.of(structure, origin)
