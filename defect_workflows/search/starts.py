"""Where the relaxations of a search start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Structure

from defect_workflows.campaign import SearchSettings
from defect_workflows.distortions import (
    UNPERTURBED,
    Distorter,
    closest_contact,
    in_charge_state,
    rattled,
    seed_of,
)
from defect_workflows.documents.defects import BULK, DefectState
from defect_workflows.documents.search import CAUTION, VerifiedCandidate
from defect_workflows.energies import energy_left
from defect_workflows.search.cluster import same
from defect_workflows.search.relax import FIDELITY, SHORTEST_CONTACT
from defect_workflows.search.verify import winners

if TYPE_CHECKING:
    from defect_workflows.mlip.predict import Potential

SHAKE = 0.1
"""Standard deviation in Å of the rattle that minima are tested with."""


@dataclass(frozen=True)
class Start:
    """One start of a relaxation.

    Attributes
    ----------
    state
        Defect state, or 'bulk' for the control.
    name
        ShakeNBreak's name of the distortion.
    structure
        The structure, which carries the charge.
    """

    state: str
    name: str
    structure: Structure


def starts(state: DefectState, settings: SearchSettings, seed: int) -> list[Start]:
    """Return ShakeNBreak's distortions of a defect state, undistorted first.

    Every start follows from the seed, the state and its name alone. Starts with atoms on top of
    each other are left out.
    """
    return _starts(state.name, Distorter.from_state(state), settings, seed)


def control_starts(bulk: Structure, settings: SearchSettings, seed: int) -> list[Start]:
    """Return the same distortions around an atom of the pristine supercell, undistorted first.

    Where one of them ends below the pristine supercell, the host itself is not in its ground
    state on the potential, and the gains of defects mean nothing.
    """
    ends = [min(settings.distortions), max(settings.distortions)] if settings.distortions else []
    few = settings.model_copy(update={"distortions": sorted(set(ends))})
    return _starts(BULK, Distorter.from_bulk(bulk), few, seed)


def neighbour_starts(
    state: DefectState, states: Sequence[DefectState], minima: Sequence[Start]
) -> list[Start]:
    """Return the minima of the neighbouring charge states of a defect as starts.

    Parameters
    ----------
    state
        The state to start.
    states
        All states of the search.
    minima
        Their minima so far, each named after the start that led there.

    Returns
    -------
    list of Start
        Named as in ShakeNBreak after where they come from, e.g. 'Dimer_from_0'.
    """
    siblings = {other.name: other.charge for other in states if other.defect == state.defect}
    below = [charge for charge in siblings.values() if charge < state.charge]
    above = [charge for charge in siblings.values() if charge > state.charge]
    neighbours = {*sorted(below)[-1:], *sorted(above)[:1]}
    return [
        Start(
            state=state.name,
            name=f"{minimum.name}_from_{charge if charge <= 0 else f'+{charge}'}",
            structure=in_charge_state(minimum.structure, state.charge),
        )
        for minimum in minima
        if (charge := siblings.get(minimum.state)) in neighbours
    ]


def exchanged_starts(
    verified: Sequence[VerifiedCandidate], states: Sequence[DefectState]
) -> list[Start]:
    """Return the winner of each charge state as starts of its neighbours, where it is new to them.

    Named e.g. 'Winner_from_-1'.
    """
    minima = [
        Start(state, "Winner", item.label.configuration.structure)
        for state, item in winners(verified).items()
    ]
    return [
        start
        for state in states
        for start in neighbour_starts(state, states, minima)
        if not any(
            same(label.configuration.structure, start.structure)
            for item in verified
            if item.candidate.state == state.name
            for label in (item.labels[0], item.label)
        )
    ]


def worth_offering(
    potential: Potential, offered: Sequence[Start], verified: Sequence[VerifiedCandidate]
) -> list[Start]:
    """Return the offered starts that may lead below the lowest verified structure of their state.

    Those of which the potential says, with caution, that relaxing them does not get so low are left
    out: the search has tried minima of neighbouring charge states on the potential already.

    Parameters
    ----------
    potential
        The committee.
    offered
        Starts, which carry the charge of their state.
    verified
        Verified candidates of all states.
    """
    lowest = winners(verified)
    kept = []
    for start in offered:
        if start.state in lowest:
            known = lowest[start.state].label.configuration.structure
            here, there = potential.predict([start.structure, known], FIDELITY)
            spread = float(np.std(here.members - there.members, ddof=1))
            above = here.energy - energy_left(here.forces) - there.energy
            if above > CAUTION * potential.difference_sigma(spread):
                continue
        kept.append(start)
    return kept


def verified_starts(verified: Sequence[VerifiedCandidate]) -> list[Start]:
    """Return where verified candidates have got to at HSE06 as starts, e.g. 'Verified_1'."""
    return [
        Start(
            state=item.candidate.state,
            name=f"Verified_{number}",
            structure=item.label.configuration.structure,
        )
        for number, item in enumerate(verified, start=1)
    ]


def shaken_starts(minima: Sequence[Start], seed: int) -> list[Start]:
    """Return the minima rattled a little: one that is a saddle point, held by symmetry, is left.

    Named e.g. 'Dimer_shaken'.
    """
    return [
        Start(
            state=minimum.state,
            name=f"{minimum.name}_shaken",
            structure=rattled(
                minimum.structure, SHAKE, seed_of(seed, minimum.state, minimum.name, "shaken")
            ),
        )
        for minimum in minima
    ]


def _starts(state: str, distorter: Distorter, settings: SearchSettings, seed: int) -> list[Start]:
    found = []
    for name in distorter.names(settings.distortions, settings.dimer):
        structure = distorter.distorted(name, seed_of(seed, state, name), settings.rattle)
        if name == UNPERTURBED or closest_contact(structure) > SHORTEST_CONTACT:
            found.append(Start(state=state, name=name, structure=structure))
    return found
