"""Formation energies and charge transition levels, by doped's DefectThermodynamics."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from monty.json import MontyEncoder

from defect_workflows.campaign import LevelSettings
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.defects import HostDocument
from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    Correction,
    CorrectionProfile,
    DefectLevelsDocument,
    LevelCalculation,
    LevelsResult,
    StateAnalysis,
    StateEnergy,
)
from defect_workflows.documents.verification import RoundRecord
from defect_workflows.errors import CalculationError, CorrectionError, InputError
from defect_workflows.levels.align import in_frame
from defect_workflows.levels.analysis import analyse
from defect_workflows.levels.checks import (
    Notes,
    note_potentials,
    note_rounds,
    note_state,
    note_whole,
)
from defect_workflows.levels.corrections import ENTRY_KEYS
from defect_workflows.levels.entries import calculated_entry
from defect_workflows.levels.envelope import transition_levels
from defect_workflows.levels.potentials import doped_potentials, given_potentials
from defect_workflows.levels.states import StateCalculation, potential_error, state_error

if TYPE_CHECKING:
    from doped.core import DefectEntry
    from doped.thermodynamics import DefectThermodynamics


def defect_levels(
    host: HostDocument,
    bulk: LevelCalculation,
    calculations: Sequence[StateCalculation],
    settings: LevelSettings,
    *,
    bulk_energy_mlip: float | None = None,
    max_force: float = 0.05,
    rounds: Sequence[RoundRecord] = (),
) -> LevelsResult:
    """Return corrected formation energies and transition levels of a campaign.

    Parameters
    ----------
    host
        The host; its dielectric tensor enters the corrections.
    bulk
        Final calculation of the pristine supercell: energy, band edges, potentials.
    calculations
        One per state, see `choose_winners`.
    settings
        Correction scheme and chemical potentials.
    bulk_energy_mlip
        Energy of the pristine supercell on the potential's hse06 head in eV; without it a state
        that was not verified has no energy.
    max_force
        A larger remaining force gets a warning, eV/Å.
    rounds
        Records of the campaign's rounds: the last one tells which states are converged.

    Raises
    ------
    CorrectionError
        If a charged state cannot be corrected (rule: a correction is asserted).
    """
    notes = Notes()
    note_rounds(notes, rounds)
    analyses, framed = {}, []
    for item in calculations:
        state, calculation = item.state, item.calculation
        if calculation is not None:
            if calculation.functional != bulk.functional:
                raise CorrectionError(
                    f"{state.name}: found a calculation at {calculation.functional}, "
                    f"expected the bulk's {bulk.functional}"
                )
            calculation, shift = in_frame(state.name, calculation, bulk)
            notes.extend(shift, state.name)
            analyses[state.name] = analyse(
                state, calculation, bulk, host.dielectric, settings.scheme
            )
        framed.append(replace(item, calculation=calculation))
    return assemble(
        host.name,
        bulk,
        framed,
        analyses,
        given_potentials(settings.chemical_potentials),
        dielectric=host.dielectric,
        bulk_energy_mlip=bulk_energy_mlip,
        max_force=max_force,
        unconverged=rounds[-1].unconverged if rounds else None,
        notes=notes,
    )


def assemble(
    host: str,
    bulk: LevelCalculation,
    calculations: Sequence[StateCalculation],
    analyses: Mapping[str, StateAnalysis],
    limits: Sequence[ChemicalPotentialLimit] = (),
    *,
    dielectric: Matrix3D | None = None,
    band_edges: tuple[float, float] | None = None,
    bulk_energy_mlip: float | None = None,
    max_force: float = 0.05,
    unconverged: Collection[str] | None = None,
    notes: Notes | None = None,
) -> LevelsResult:
    """Return formation energies and levels of states whose corrections are known.

    A charged state that was not verified has no correction: it is listed with its uncorrected
    energy and takes no part in the levels.

    Parameters
    ----------
    host
        Reduced formula of the host.
    bulk, calculations, bulk_energy_mlip, max_force
        As in `defect_levels`.
    analyses
        Correction and what else is known per state name, of every state with a calculation.
    limits
        Limits of the chemical potentials, one of them chosen; none: elemental references 0.
    dielectric
        Tensor that the corrections were made with.
    band_edges
        VBM and band gap in eV. Default: the bulk's.
    unconverged
        Names of the states that a campaign's rounds are not converged in; None without a campaign.
    notes
        Warnings found before. Default: none.

    Raises
    ------
    CalculationError
        If the bulk has no band edges, or no state has an energy.
    InputError
        If chemical potentials are given, but not of every element that is exchanged.
    """
    vbm, gap = _band_edges(bulk) if band_edges is None else band_edges
    notes = notes or Notes()
    if rehearsal := _rehearsal(bulk, calculations):
        notes.add("rehearsal", "the stand-in for VASP made these numbers: not for any use")
    note_whole(
        notes, dielectric, {name: one.correction for name, one in analyses.items()}, limits, gap
    )
    note_potentials(notes, bulk, limits)

    entries: dict[str, DefectEntry] = {}
    records: list[StateEnergy] = []
    errors: dict[str, float] = {}
    for item in calculations:
        found = _calculation(item, bulk, bulk_energy_mlip, notes)
        if found is None:
            continue
        analysis = (
            StateAnalysis(correction=Correction(scheme="none", energy=0.0))
            if item.calculation is None
            else analyses[item.state.name]
        )
        entry = calculated_entry(item.state, found, bulk)
        _check_chemical_potentials(entry, limits)
        _complete(entry, analysis, vbm, gap, dielectric)
        if item.calculation is not None or item.state.charge == 0:
            entries[item.state.name] = entry
        errors[item.state.name] = state_error(item, analysis.correction)
        note_state(notes, item, analysis, max_force, gap)
        record = _record(item, found, entry, analysis, bulk, vbm, limits)
        if unconverged is not None:
            record.converged = item.state.name not in unconverged
        records.append(record)
    if not entries:
        raise CalculationError("levels: found no state with an energy, expected at least one")

    names = {(item.state.defect, item.state.charge): item.state.name for item in calculations}
    usable = [record for record in records if names[record.defect, record.charge] in entries]
    levels, unstable = transition_levels(usable, names, errors, vbm, gap, notes)
    for record in records:
        record.warnings = notes.of_state.get(names[record.defect, record.charge], [])
    document = DefectLevelsDocument(
        host=host,
        functional=bulk.functional,
        vbm=vbm,
        band_gap=gap,
        dielectric=dielectric,
        chemical_potentials=next(
            (limit.chemical_potentials for limit in limits if limit.chosen), None
        ),
        limits=list(limits),
        rehearsal=rehearsal,
        states=records,
        transition_levels=levels,
        unstable_levels=unstable,
        warnings=notes.all,
    )
    thermodynamics = _thermodynamics(entries, limits, vbm, gap)
    return LevelsResult(
        levels=document,
        thermodynamics=json.loads(json.dumps(thermodynamics, cls=MontyEncoder)),
        profiles=[
            CorrectionProfile(state=name, correction=one.correction, profile=one.profile)
            for name, one in analyses.items()
            if one.profile is not None
        ],
    )


def _band_edges(bulk: LevelCalculation) -> tuple[float, float]:
    if bulk.vbm is None or bulk.cbm is None:
        raise CalculationError(
            f"bulk: found VBM {bulk.vbm} and CBM {bulk.cbm}, expected the eigenvalues "
            "of both band edges"
        )
    return bulk.vbm, bulk.cbm - bulk.vbm


def _rehearsal(bulk: LevelCalculation, calculations: Sequence[StateCalculation]) -> bool:
    found = [item.calculation for item in calculations if item.calculation is not None]
    return any(calculation.rehearsal for calculation in (bulk, *found))


def _calculation(
    item: StateCalculation, bulk: LevelCalculation, bulk_energy_mlip: float | None, notes: Notes
) -> LevelCalculation | None:
    """Return the state's calculation, or the potential's in its place; None without any energy."""
    if item.calculation is not None:
        return item.calculation
    name, lowest = item.state.name, item.lowest
    if lowest is None or bulk_energy_mlip is None:
        notes.add("state_without_energy", f"{name}: no single point and no energy", name)
        return None
    notes.add(
        "unverified_state",
        f"{name}: no single point stands behind it (see the refused calculations), its energy is "
        "the potential's"
        + ("; charged, so uncorrected and left out of the levels" if item.state.charge else ""),
        name,
    )
    if item.state.charge:
        notes.add("uncorrected_state", f"{name}: no finite-size correction", name)
    # relative to the bulk's energy on the potential, so that errors common to both cancel
    energy = lowest.energy - bulk_energy_mlip + bulk.energy
    return LevelCalculation(structure=lowest.structure, energy=energy, functional=bulk.functional)


def _complete(
    entry: DefectEntry,
    analysis: StateAnalysis,
    vbm: float,
    gap: float,
    dielectric: Matrix3D | None,
) -> None:
    """Give doped's entry what was found out about it, so that doped does not ask again."""
    correction, degeneracy = analysis.correction, analysis.degeneracy
    if entry.charge_state and correction.scheme != "none":
        key = ENTRY_KEYS[correction.scheme]
        entry.corrections = {key: correction.energy}
        entry.corrections_metadata = {f"{key}_error": correction.error}
    entry.calculation_metadata |= {
        "vbm": vbm,
        "band_gap": gap,
        "dielectric": None if dielectric is None else np.array(dielectric).tolist(),
    }
    if degeneracy is not None:
        entry.degeneracy_factors = {"spin degeneracy": degeneracy.spin}
        if degeneracy.orientation is not None:
            entry.degeneracy_factors["orientational degeneracy"] = degeneracy.orientation
        entry.calculation_metadata |= {
            "relaxed point symmetry": degeneracy.point_group,
            "bulk site symmetry": degeneracy.site_point_group,
        }


def _check_chemical_potentials(
    entry: DefectEntry, limits: Sequence[ChemicalPotentialLimit]
) -> None:
    exchanged = {element.symbol for element in entry.defect.element_changes}
    for limit in limits:
        if missing := sorted(exchanged - set(limit.chemical_potentials)):
            raise InputError(
                f"chemical_potentials: found none for {', '.join(missing)} "
                f"({entry.name}), expected one per exchanged element"
            )


def _record(
    item: StateCalculation,
    found: LevelCalculation,
    entry: DefectEntry,
    analysis: StateAnalysis,
    bulk: LevelCalculation,
    vbm: float,
    limits: Sequence[ChemicalPotentialLimit],
) -> StateEnergy:
    energies = {
        limit.name: _formation_energy(entry, vbm, limit.chemical_potentials) for limit in limits
    }
    chosen = next((limit.name for limit in limits if limit.chosen), None)
    lowest, calculation = item.lowest, item.calculation
    force: float | None
    if calculation is None:
        assert lowest is not None  # or there would be no entry
        energy, force = lowest.energy, lowest.max_force
    else:
        energy, forces = calculation.energy, calculation.forces
        force = None if forces is None else float(np.linalg.norm(forces, axis=1).max())
    return StateEnergy(
        defect=item.state.defect,
        charge=item.state.charge,
        energy=energy,
        raw_difference=found.energy - bulk.energy,
        formation_energy=_formation_energy(entry, vbm, None)
        if chosen is None
        else energies[chosen],
        formation_energies=energies,
        correction=analysis.correction,
        degeneracy=analysis.degeneracy,
        host_states=analysis.host_states,
        magnetization=found.magnetization,
        verified=calculation is not None,
        potential_energy_error=item.energy_error,
        energy_mlip=lowest.energy if lowest is not None else None,
        energy_mlip_error=potential_error(item),
        error=state_error(item, analysis.correction),
        max_force=force,
        directory=found.directory,
    )


def _formation_energy(
    entry: DefectEntry, vbm: float, potentials: Mapping[str, float] | None
) -> float:
    with warnings.catch_warnings():
        # said once for the whole result, as `no_chemical_potentials`
        warnings.filterwarnings("ignore", message="No chemical potentials")
        return float(
            entry.formation_energy(chempots=dict(potentials) if potentials else None, vbm=vbm)
        )


def _thermodynamics(
    entries: Mapping[str, DefectEntry],
    limits: Sequence[ChemicalPotentialLimit],
    vbm: float,
    gap: float,
) -> DefectThermodynamics:
    from doped.thermodynamics import DefectThermodynamics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what doped warns of is noted in `checks`
        return DefectThermodynamics(
            list(entries.values()), chempots=doped_potentials(limits), vbm=vbm, band_gap=gap
        )
