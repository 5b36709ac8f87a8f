"""Transition levels: the lower envelope of formation energies over the Fermi level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from defect_workflows.documents.levels import StateEnergy, TransitionLevel
from defect_workflows.levels.checks import Notes


def lower_envelope(energies: Mapping[int, float]) -> list[int]:
    """Return the charges that are lowest at some Fermi level, the most positive one first.

    The formation energy of charge q is a line of slope q over the Fermi level. doped's own
    transition levels stop 1 eV beyond the band edges; this has no such limit.

    Parameters
    ----------
    energies
        Formation energy in eV at zero Fermi level, per charge.
    """
    charges = [max(energies)]
    while lower := [q for q in energies if q < charges[-1]]:
        last = charges[-1]
        charges.append(min(lower, key=lambda q: ((energies[q] - energies[last]) / (last - q), q)))
    return charges


def transition_levels(
    records: Sequence[StateEnergy],
    names: Mapping[tuple[str, int], str],
    errors: Mapping[str, float],
    vbm: float,
    gap: float,
    notes: Notes,
) -> tuple[list[TransitionLevel], list[TransitionLevel]]:
    """Return the levels of the lower envelope, and those of charges that are never the lowest.

    Parameters
    ----------
    records
        States with usable energies.
    names
        Name of the state per defect and charge.
    errors
        Error of the energy per state name in eV.
    vbm, gap
        Band edges in eV.
    notes
        Where unstable charges and levels outside the gap are noted.
    """
    levels, unstable = [], []
    for defect in dict.fromkeys(record.defect for record in records):
        states = {record.charge: record for record in records if record.defect == defect}
        energies = {charge: record.formation_energy for charge, record in states.items()}
        mlip = {
            charge: record.energy_mlip + record.correction.energy + charge * vbm
            for charge, record in states.items()
            if record.energy_mlip is not None
        }
        stable = lower_envelope(energies)
        for charge in sorted(set(energies) - set(stable), reverse=True):
            notes.add(
                "unstable_charge_state",
                f"{names[defect, charge]}: not the lowest at any Fermi level",
                names[defect, charge],
            )
        if len(mlip) == len(energies) and lower_envelope(mlip) != stable:
            notes.add(
                "potential_other_levels",
                f"{defect}: the potential alone has stable charges {_list(lower_envelope(mlip))}, "
                f"verified are {_list(stable)}",
            )

        error = {charge: errors[names[defect, charge]] for charge in states}
        kept = list(pairwise(stable))
        neighbours = pairwise(sorted(energies, reverse=True))
        levels += [_level(states, energies, mlip, error, gap, pair) for pair in kept]
        unstable += [
            _level(states, energies, mlip, error, gap, pair)
            for pair in neighbours
            if pair not in kept
        ]
    for one in levels:
        if not one.in_gap:
            upper, lower = (_signed(charge) for charge in one.charges)
            notes.add(
                "level_outside_gap",
                f"{one.defect} ({upper}/{lower}): {one.energy:.3f} eV above "
                f"the VBM is outside the gap of {gap:.3f} eV",
            )
    return levels, unstable


def _level(
    states: Mapping[int, StateEnergy],
    energies: Mapping[int, float],
    mlip: Mapping[int, float],
    errors: Mapping[int, float],
    gap: float,
    pair: tuple[int, int],
) -> TransitionLevel:
    """Return the level between two charges of a defect, the more positive one first."""
    upper, lower = pair
    energy = _crossing(energies, upper, lower)
    return TransitionLevel(
        defect=states[upper].defect,
        charges=pair,
        energy=energy,
        error=np.hypot(errors[upper], errors[lower]) / (upper - lower),
        in_gap=0 < energy < gap,
        verified=states[upper].verified and states[lower].verified,
        converged=_both(states[upper].converged, states[lower].converged),
        energy_mlip=_crossing(mlip, upper, lower) if {upper, lower} <= set(mlip) else None,
        error_mlip=_error_mlip(states[upper], states[lower]),
    )


def _both(one: bool | None, other: bool | None) -> bool | None:
    return None if one is None or other is None else one and other


def _error_mlip(upper: StateEnergy, lower: StateEnergy) -> float | None:
    """Return the standard deviation in eV of the potential's level between two states."""
    if upper.energy_mlip_error is None or lower.energy_mlip_error is None:
        return None
    parts = [
        error or 0.0
        for state in (upper, lower)
        for error in (state.energy_mlip_error, state.correction.error)
    ]
    return float(np.linalg.norm(parts)) / (upper.charge - lower.charge)


def _crossing(energies: Mapping[int, float], upper: int, lower: int) -> float:
    """Return the Fermi level at which two charges have the same formation energy, in eV."""
    return (energies[lower] - energies[upper]) / (upper - lower)


def _signed(charge: int) -> str:
    """Return a charge as doped writes it: +1, 0, -2."""
    return f"{charge:+d}" if charge else "0"


def _list(charges: Sequence[int]) -> str:
    return ", ".join(_signed(charge) for charge in charges)
