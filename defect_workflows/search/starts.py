"""Where the relaxations of a search start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from defect_workflows.search.cluster import SAME_ENERGY, same
from defect_workflows.search.contenders import WIDEST_BOWL, winners
from defect_workflows.search.copies import copy_within
from defect_workflows.search.relax import FIDELITY, SHORTEST_CONTACT, relax

if TYPE_CHECKING:
    from defect_workflows.mlip.predict import Potential

OFFER_FORCE = 0.05
"""Force in eV/Å to which an offered structure is relaxed, to see where the potential leads."""

OFFER_STEPS = 100

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
    """Return ShakeNBreak's distortions of a defect state, undistorted first, and its antisites.

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
    verified: Sequence[VerifiedCandidate],
    states: Sequence[DefectState],
    waiting: Collection[str] = (),
) -> list[Start]:
    """Return the winner of each charge state as starts of its neighbours, where it is new to them.

    Of those that are `waiting` none is offered yet.

    It is not if they have had it, or a step of its refinement less than `SAME_ENERGY` above it:
    along a soft mode the last steps are long, and lead nowhere else. Named e.g. 'Winner_from_-1'.
    """
    best = winners(verified)
    offered = []
    for state in states:
        had = [
            label.configuration.structure
            for item in verified
            if item.candidate.state == state.name
            for label in (item.labels[0], item.label)
        ]
        for origin, winner in best.items():
            if origin in waiting:
                continue
            minimum = Start(origin, "Winner", winner.label.configuration.structure)
            last_steps = [
                label.configuration.structure
                for label in winner.labels
                if label.energy - winner.energy < SAME_ENERGY
            ]
            offered += [
                start
                for start in neighbour_starts(state, states, [minimum])
                if not any(same(one, step) for one in had for step in last_steps)
            ]
    return offered


def worth_offering(
    potential: Potential, offered: Sequence[Start], verified: Sequence[VerifiedCandidate]
) -> list[Start]:
    """Return the offered starts that may lead below the lowest verified structure of their state.

    Each is relaxed on the potential. Where that ends too high, with caution, or at what is the
    lowest already, the single point is saved; where it runs away or leaves the domain the potential
    has no say. Nor has it where too few labels were unseen to know its uncertainty, but for
    starts in the lowest's own bowl (no atom further than `WIDEST_BOWL` from a symmetric copy of it)
    that lead to it.

    Parameters
    ----------
    potential
        The committee.
    offered
        Starts, which carry the charge of their state.
    verified
        Verified candidates of all states.
    """
    lowest = {
        state: item.label.configuration.structure for state, item in winners(verified).items()
    }
    known = [start for start in offered if start.state in lowest]
    there = potential.predict([lowest[start.state] for start in known], FIDELITY)
    ends = relax(
        potential,
        [start.structure for start in known],
        max_force=OFFER_FORCE,
        max_steps=OFFER_STEPS,
        references=[prediction.energy for prediction in there],
    )
    here = potential.predict([end.structure for end in ends], FIDELITY)
    ruled_out = []
    for start, end, one, other in zip(known, ends, here, there, strict=True):
        sigma = potential.difference_sigma(max(one, other, key=lambda item: item.distance))
        above = one.energy - energy_left(one.forces) - other.energy
        minimum = lowest[start.state]
        known_there = same(end.structure, minimum)
        if potential.calibrated:
            worthless = known_there or above > CAUTION * sigma
        else:
            near = copy_within(minimum, start.structure, WIDEST_BOWL) is not None
            worthless = known_there and near
        if worthless and end.verdict in ("minimum", "not_converged"):
            ruled_out.append(id(start))
    return [start for start in offered if id(start) not in ruled_out]


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
    for name in distorter.names(settings.distortions, settings.dimer, settings.antisites):
        structure = distorter.distorted(name, seed_of(seed, state, name), settings.rattle)
        if name == UNPERTURBED or closest_contact(structure) > SHORTEST_CONTACT:
            found.append(Start(state=state, name=name, structure=structure))
    return found
