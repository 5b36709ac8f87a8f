"""Formation energies and charge transition levels, by doped's DefectThermodynamics."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from monty.json import MontyEncoder

from defect_workflows.campaign import LevelSettings, dielectric_tensor
from defect_workflows.documents.defects import HostDocument
from defect_workflows.documents.labels import Label
from defect_workflows.documents.levels import (
    Correction,
    DefectLevelsDocument,
    LevelsResult,
    StateEnergy,
    TransitionLevel,
)
from defect_workflows.errors import CalculationError, InputError
from defect_workflows.levels.checks import Notes, note_state, note_whole
from defect_workflows.levels.corrections import ENTRY_KEYS, calculated_entry, correct
from defect_workflows.levels.states import StateCalculation, state_error

if TYPE_CHECKING:
    from doped.core import DefectEntry
    from doped.thermodynamics import DefectThermodynamics


def defect_levels(
    host: HostDocument,
    bulk_label: Label,
    calculations: Sequence[StateCalculation],
    settings: LevelSettings,
    *,
    bulk_energy_mlip: float | None = None,
    max_force: float = 0.05,
) -> LevelsResult:
    """Return corrected formation energies and transition levels.

    Parameters
    ----------
    host
        The host; its dielectric tensor enters the corrections.
    bulk_label
        Final single point of the pristine supercell: energy, band edges, potentials.
    calculations
        One per state, see `choose_winners`.
    settings
        Correction scheme and chemical potentials.
    bulk_energy_mlip
        Energy of the pristine supercell on the potential's hse06 head in eV; without it a state
        that was not verified has no energy.
    max_force
        A larger remaining force gets a warning, eV/Å.

    Raises
    ------
    CorrectionError
        If a charged state cannot be corrected (rule: a correction is asserted).
    """
    corrections = {
        item.state.name: correct(
            item.state, item.label, bulk_label, host.dielectric, settings.correction
        )
        for item in calculations
        if item.label is not None
    }
    return assemble(
        host,
        bulk_label,
        calculations,
        corrections,
        settings.chemical_potentials,
        bulk_energy_mlip=bulk_energy_mlip,
        max_force=max_force,
    )


def assemble(
    host: HostDocument,
    bulk_label: Label,
    calculations: Sequence[StateCalculation],
    corrections: Mapping[str, Correction],
    chemical_potentials: Mapping[str, float] | None,
    *,
    bulk_energy_mlip: float | None = None,
    max_force: float = 0.05,
) -> LevelsResult:
    """Return formation energies and levels of states whose corrections are known.

    A charged state that was not verified has no correction: it is listed with its uncorrected
    energy and takes no part in the levels.

    Parameters
    ----------
    corrections
        Correction per state name, of every state with a label.

    Other parameters as in `defect_levels`.

    Raises
    ------
    CalculationError
        If the bulk has no band edges, or no state has an energy.
    InputError
        If chemical potentials are given, but not of every element that is exchanged.
    """
    vbm, gap = _band_edges(bulk_label)
    notes = Notes()
    if rehearsal := _rehearsal(bulk_label, calculations):
        notes.add("rehearsal", "the stand-in for VASP made these numbers: not for any use")
    note_whole(notes, host, corrections, chemical_potentials, gap)

    entries: dict[str, DefectEntry] = {}
    records: list[StateEnergy] = []
    errors: dict[str, float] = {}
    for item in calculations:
        entry, correction = _entry(item, bulk_label, corrections, bulk_energy_mlip, notes)
        if entry is None:
            continue
        _check_chemical_potentials(entry, chemical_potentials)
        entry.corrections = (
            {ENTRY_KEYS[correction.scheme]: correction.energy}
            if (item.state.charge and correction.scheme != "none")
            else {}
        )
        entry.calculation_metadata |= {
            "vbm": vbm,
            "band_gap": gap,
            "dielectric": np.array(host.dielectric).tolist(),
        }
        if item.label is not None or item.state.charge == 0:
            entries[item.state.name] = entry
        errors[item.state.name] = state_error(item, correction)
        note_state(notes, item, correction, max_force)
        records.append(_record(item, entry, correction, vbm, chemical_potentials))
    if not entries:
        raise CalculationError("levels: found no state with an energy, expected at least one")

    thermodynamics = _thermodynamics(entries, chemical_potentials, vbm, gap)
    names = {(item.state.defect, item.state.charge): item.state.name for item in calculations}
    usable = [record for record in records if names[record.defect, record.charge] in entries]
    levels = _levels(usable, names, errors, vbm, gap, notes)
    for record in records:
        record.warnings = notes.of_state.get(names[record.defect, record.charge], [])
    document = DefectLevelsDocument(
        host=host.name,
        vbm=vbm,
        band_gap=gap,
        dielectric=dielectric_tensor(host.dielectric),
        chemical_potentials=dict(chemical_potentials) if chemical_potentials else None,
        rehearsal=rehearsal,
        states=records,
        transition_levels=levels,
        warnings=notes.all,
    )
    return LevelsResult(
        levels=document,
        thermodynamics=json.loads(json.dumps(thermodynamics, cls=MontyEncoder)),
    )


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


def _band_edges(bulk_label: Label) -> tuple[float, float]:
    if bulk_label.vbm is None or bulk_label.cbm is None:
        raise CalculationError(
            f"bulk: found VBM {bulk_label.vbm} and CBM {bulk_label.cbm}, expected the eigenvalues "
            "of both band edges"
        )
    return bulk_label.vbm, bulk_label.cbm - bulk_label.vbm


def _rehearsal(bulk_label: Label, calculations: Sequence[StateCalculation]) -> bool:
    labels = [bulk_label, *(item.label for item in calculations if item.label is not None)]
    return any(label.rehearsal for label in labels)


def _entry(
    item: StateCalculation,
    bulk_label: Label,
    corrections: Mapping[str, Correction],
    bulk_energy_mlip: float | None,
    notes: Notes,
) -> tuple[DefectEntry | None, Correction]:
    """Return doped's entry and the correction; no entry where the state has no energy at all."""
    name = item.state.name
    if item.label is not None:
        structure = item.label.configuration.structure
        entry = calculated_entry(item.state, structure, item.label.energy, bulk_label)
        return entry, corrections[name]
    uncorrected = Correction(scheme="none", energy=0.0, error=None)
    lowest = item.lowest
    if lowest is None or bulk_energy_mlip is None:
        notes.add("state_without_energy", f"{name}: no single point and no energy", name)
        return None, uncorrected
    notes.add(
        "unverified_state",
        f"{name}: no single point stands behind it, its energy is the potential's"
        + ("; charged, so uncorrected and left out of the levels" if item.state.charge else ""),
        name,
    )
    if item.state.charge:
        notes.add("uncorrected_state", f"{name}: no finite-size correction", name)
    # relative to the bulk's energy on the potential, so that errors common to both cancel
    energy = lowest.energy - bulk_energy_mlip + bulk_label.energy
    return calculated_entry(item.state, lowest.structure, energy, bulk_label), uncorrected


def _check_chemical_potentials(
    entry: DefectEntry, chemical_potentials: Mapping[str, float] | None
) -> None:
    if chemical_potentials is None:
        return
    exchanged = {element.symbol for element in entry.defect.element_changes}
    if missing := sorted(exchanged - set(chemical_potentials)):
        raise InputError(
            f"levels.chemical_potentials: found none for {', '.join(missing)} "
            f"({entry.name}), expected one per exchanged element"
        )


def _record(
    item: StateCalculation,
    entry: DefectEntry,
    correction: Correction,
    vbm: float,
    chemical_potentials: Mapping[str, float] | None,
) -> StateEnergy:
    with warnings.catch_warnings():
        # said once for the whole result, as `no_chemical_potentials`
        warnings.filterwarnings("ignore", message="No chemical potentials")
        formation = entry.formation_energy(
            chempots=dict(chemical_potentials) if chemical_potentials else None, vbm=vbm
        )
    lowest = item.lowest
    label = item.label
    if label is not None:
        energy: float = label.energy
        force: float | None = float(np.linalg.norm(label.forces, axis=1).max())
    else:
        assert lowest is not None  # or there would be no entry
        energy, force = lowest.energy, lowest.max_force
    return StateEnergy(
        defect=item.state.defect,
        charge=item.state.charge,
        energy=energy,
        formation_energy=float(formation),
        correction=correction,
        verified=label is not None,
        potential_energy_error=item.energy_error,
        energy_mlip=lowest.energy if lowest is not None else None,
        max_force=force,
    )


def _thermodynamics(
    entries: Mapping[str, DefectEntry],
    chemical_potentials: Mapping[str, float] | None,
    vbm: float,
    gap: float,
) -> DefectThermodynamics:
    from doped.thermodynamics import DefectThermodynamics

    return DefectThermodynamics(
        list(entries.values()),
        chempots=dict(chemical_potentials) if chemical_potentials else None,
        vbm=vbm,
        band_gap=gap,
    )


def _levels(
    records: Sequence[StateEnergy],
    names: Mapping[tuple[str, int], str],
    errors: Mapping[str, float],
    vbm: float,
    gap: float,
    notes: Notes,
) -> list[TransitionLevel]:
    levels = []
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
        for upper, lower in pairwise(stable):
            level = TransitionLevel(
                defect=defect,
                charges=(upper, lower),
                energy=_crossing(energies, upper, lower),
                error=np.hypot(errors[names[defect, upper]], errors[names[defect, lower]])
                / (upper - lower),
                in_gap=0 < _crossing(energies, upper, lower) < gap,
                verified=states[upper].verified and states[lower].verified,
                energy_mlip=_crossing(mlip, upper, lower) if {upper, lower} <= set(mlip) else None,
            )
            if not level.in_gap:
                notes.add(
                    "level_outside_gap",
                    f"{defect} ({_signed(upper)}/{_signed(lower)}): {level.energy:.3f} eV above "
                    f"the VBM is outside the gap of {gap:.3f} eV",
                )
            levels.append(level)
    return levels


def _crossing(energies: Mapping[int, float], upper: int, lower: int) -> float:
    """Return the Fermi level at which two charges have the same formation energy, in eV."""
    return (energies[lower] - energies[upper]) / (upper - lower)


def _signed(charge: int) -> str:
    """Return a charge as doped writes it: +1, 0, -2."""
    return f"{charge:+d}" if charge else "0"


def _list(charges: Sequence[int]) -> str:
    return ", ".join(_signed(charge) for charge in charges)
