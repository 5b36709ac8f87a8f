"""What a careful referee would notice: warnings with stable codes (listed in docs/levels.md)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    Correction,
    LevelCalculation,
    SiteProfile,
    StateAnalysis,
)
from defect_workflows.documents.search import StateRisk
from defect_workflows.documents.verification import LEFT_DOMAIN, NOT_RELAXED, RoundRecord
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.levels.states import StateCalculation

logger = logging.getLogger(__name__)

CORRECTION_TOLERANCE = 0.05
"""A correction whose error is larger gets a warning, eV (doped's own tolerance)."""

CORRECTION_SHARE = 0.5
"""A correction above this share of the gap gets a warning: the cell is too small for the charge."""

SAMPLED_SITES = 8
"""With fewer sites outside the defect region, their average is not a plateau."""

SAME_MINIMUM = 0.01
"""Minima closer in energy than this are not told apart, eV."""

BULK_ENERGY = 0.025
"""The bulk's energy may differ from that of the chemical potentials by this, eV/atom (doped's)."""

GAMMA = 1e-4
"""A k-point closer to Gamma than this is Gamma, fractional coordinates."""


@dataclass
class Notes:
    """Collects warnings: all of them, and the codes that belong to each state."""

    all: list[LevelWarning] = field(default_factory=list)
    of_state: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, message: str, state: str | None = None) -> None:
        """Note a warning, of the whole result or of a state by name."""
        logger.info("%s: %s", code, message)
        self.all.append(LevelWarning(code=code, message=message, state=state))
        if state is not None:
            self.of_state.setdefault(state, []).append(code)

    def extend(self, warnings: Iterable[LevelWarning], state: str | None = None) -> None:
        """Note several warnings."""
        for warning in warnings:
            self.add(warning.code, warning.message, state)


def note_whole(
    notes: Notes,
    dielectric: Matrix3D | None,
    corrections: Mapping[str, Correction],
    limits: Sequence[ChemicalPotentialLimit],
    gap: float,
) -> None:
    """Note what concerns the whole result."""
    if not limits:
        notes.add(
            "no_chemical_potentials",
            "no chemical potentials: formation energies are relative to elemental references 0; "
            "transition levels do not depend on them",
        )
    if gap <= 0:
        notes.add(
            "no_band_gap",
            f"the bulk has a gap of {gap:.3f} eV: no level lies in it, give vbm and band_gap",
        )
    tensor = np.eye(3) if dielectric is None else np.array(dielectric)
    anisotropic = not np.allclose(tensor, np.eye(3) * tensor[0, 0], rtol=0.02)
    if anisotropic and any(item.scheme == "FNV" for item in corrections.values()):
        notes.add(
            "fnv_anisotropic",
            "FNV takes the harmonic mean of this anisotropic dielectric tensor: prefer eFNV",
        )


def note_rounds(notes: Notes, rounds: Sequence[RoundRecord]) -> None:
    """Note what a campaign ended without: a lower structure, and another level, may be missing."""
    if rounds and not rounds[-1].converged:
        found = rounds[-1].reasons
        reasons = [one for one in found if not one.startswith((LEFT_DOMAIN, NOT_RELAXED))]
        if len(reasons) < len(found):
            reasons.append("starts whose end is not known, named for each state")
        notes.add(
            "rounds_not_converged",
            f"not converged after {len(rounds)} rounds, a lower structure may be missing "
            f"(raise convergence.max_rounds): {'; '.join(reasons)}",
        )


def note_potentials(
    notes: Notes, bulk: LevelCalculation, limits: Sequence[ChemicalPotentialLimit]
) -> None:
    """Note chemical potentials that do not add up to the energy of the bulk supercell."""
    amounts = bulk.structure.composition.get_el_amt_dict()
    for limit in limits:
        if not limit.chosen or set(amounts) - set(limit.chemical_potentials):
            continue
        expected = sum(n * limit.chemical_potentials[symbol] for symbol, n in amounts.items())
        difference = (bulk.energy - expected) / sum(amounts.values())
        if abs(difference) > BULK_ENERGY:
            notes.add(
                "chemical_potentials_mismatch",
                f"the bulk's energy differs by {difference:+.3f} eV/atom from the chemical "
                f"potentials ({limit.name}): another functional, or not in equilibrium with it",
            )


def note_state(
    notes: Notes, item: StateCalculation, analysis: StateAnalysis, max_force: float, gap: float
) -> None:
    """Note what concerns a state with a calculation."""
    name, correction = item.state.name, analysis.correction
    if item.calculation is None:
        return
    if item.state.charge and correction.scheme == "none":
        notes.add(
            "uncorrected_state",
            f"{name}: no finite-size correction, as asked: its energy depends on the supercell",
            name,
        )
    if correction.error is not None and correction.error > CORRECTION_TOLERANCE:
        notes.add(
            "correction_error",
            f"{name}: the correction is uncertain by {correction.error:.3f} eV: check it in a "
            "larger supercell",
            name,
        )
    if gap > 0 and abs(correction.energy) > CORRECTION_SHARE * gap:
        notes.add(
            "correction_large",
            f"{name}: the correction of {correction.energy:.3f} eV is "
            f"{abs(correction.energy) / gap:.0%} of the gap: check it in a larger supercell",
            name,
        )
    profile = analysis.profile
    if isinstance(profile, SiteProfile) and profile.sampled < SAMPLED_SITES:
        notes.add(
            "sampling_region_small",
            f"{name}: only {profile.sampled} sites lie outside the defect region of "
            f"{profile.radius:.2f} Å: the supercell is too small for the correction",
            name,
        )
    if item.calculation.forces is not None:
        force = float(np.linalg.norm(item.calculation.forces, axis=1).max())
        if force > max_force:
            notes.add(
                "residual_force",
                f"{name}: a force of {force:.3f} eV/Å is left (> {max_force:g}), "
                + (
                    "relax it further"
                    if item.candidate is None
                    else "raise convergence.max_refinements"
                ),
                name,
            )
    _note_starts(notes, name, item.risk)
    _note_host_states(notes, name, analysis)
    notes.extend(analysis.warnings, name)
    if item.candidate is None or item.lowest is None:
        return
    # a winner of an earlier round has its energy from another potential, and was refined since
    found = item.candidate if item.candidate in item.candidates else item.calculation
    preference = found.energy - item.lowest.energy
    if preference > SAME_MINIMUM:
        notes.add(
            "potential_other_minimum",
            f"{name}: the potential alone prefers another minimum by {preference:.3f} eV",
            name,
        )


def _note_starts(notes: Notes, name: str, risk: StateRisk | None) -> None:
    """Note starts of the search of which nobody knows where they lead."""
    if risk is not None and risk.unresolved:
        notes.add(
            "unresolved_starts",
            f"{name}: {risk.unresolved} of {risk.starts} starts left the domain of the potential, "
            "and HSE06 does not show where they lead: raise search.unresolved_hse06",
            name,
        )
    if risk is not None and risk.unfinished:
        notes.add(
            "unfinished_starts",
            f"{name}: {risk.unfinished} of {risk.starts} starts were not relaxed to the end within "
            "the steps allowed: raise search.max_steps",
            name,
        )


def _note_host_states(notes: Notes, name: str, analysis: StateAnalysis) -> None:
    found = analysis.host_states
    if found is not None and found.shallow_donor:
        notes.add(
            "shallow_donor",
            f"{name}: {found.cbm_electrons:.2f} electrons in the conduction band: a shallow or "
            "perturbed host state is suspected, not a localised defect state: look at its density",
            name,
        )
    if found is not None and found.shallow_acceptor:
        notes.add(
            "shallow_acceptor",
            f"{name}: {found.vbm_holes:.2f} holes in the valence band: a shallow or perturbed host "
            "state is suspected, not a localised defect state: look at its density",
            name,
        )


def note_files(notes: Notes, name: str, finished: FinishedCalculation) -> None:
    """Note what was noticed about the files of a finished run, of a state or of 'bulk'."""
    state = None if name == "bulk" else name
    for line in finished.unusable:
        notes.add("output_files", f"{name}: not used, the other file was: {line}", state)
    for line in finished.notes:
        notes.add("output_files", f"{name}: {line} ({finished.directory})", state)


def note_convergence(notes: Notes, name: str, finished: FinishedCalculation) -> None:
    """Note a finished run, of a state or of 'bulk', that is not converged."""
    state = None if name == "bulk" else name
    if not finished.scf_converged:
        notes.add(
            "scf_not_converged",
            f"{name}: the last electronic minimisation did not reach EDIFF: calculate it again",
            state,
        )
    if finished.ionic_converged is False:
        notes.add(
            "ionic_not_converged",
            f"{name}: the relaxation did not reach its criterion: relax it further",
            state,
        )


def note_band_edges(
    notes: Notes, bulk: FinishedCalculation, vbm_given: bool, gap_given: bool
) -> None:
    """Note band edges that the bulk supercell cannot show."""
    kpoints = np.array(bulk.level_of_theory.kpoints, dtype=float).reshape(-1, 3)
    gamma = len(kpoints) > 0 and bool((np.abs(kpoints).max(axis=1) < GAMMA).any())
    if (vbm_given and gap_given) or gamma or not len(kpoints):
        return
    what = "VBM and gap" if not (vbm_given or gap_given) else "gap" if vbm_given else "VBM"
    where = (
        f"at the single k-point ({', '.join(f'{x:g}' for x in kpoints[0])})"
        if len(kpoints) == 1
        else f"on a mesh of {len(kpoints)} k-points without Gamma"
    )
    notes.add(
        "vbm_off_gamma",
        f"{what} were read {where}: the band edges may lie elsewhere, give vbm and band_gap",
    )


def note_locpot(
    notes: Notes, state: str, calculation: LevelCalculation, bulk: LevelCalculation
) -> None:
    """Note LOCPOTs of different content (LVHAR) on both sides."""
    mine, theirs = calculation.planar_potential, bulk.planar_potential
    if mine is not None and theirs is not None and mine.content != theirs.content:
        notes.add(
            "locpot_mismatch",
            f"{state}: its LOCPOT holds {mine.content}, that of the bulk {theirs.content}: "
            "write both alike (LVHAR)",
            state,
        )
