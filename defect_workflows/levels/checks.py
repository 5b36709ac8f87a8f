"""What a careful referee would notice: warnings with stable codes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from defect_workflows.documents.defects import HostDocument
from defect_workflows.documents.levels import Correction, LevelWarning
from defect_workflows.levels.states import StateCalculation

logger = logging.getLogger(__name__)

CORRECTION_TOLERANCE = 0.05
"""A correction whose error is larger gets a warning, eV (doped's own tolerance)."""

SAME_MINIMUM = 0.01
"""Minima closer in energy than this are not told apart, eV."""


@dataclass
class Notes:
    """Collects warnings: all of them, and the codes that belong to each state."""

    all: list[LevelWarning] = field(default_factory=list)
    of_state: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, message: str, state: str | None = None) -> None:
        """Note a warning, of the whole result or of a state by name."""
        logger.warning("%s: %s", code, message)
        self.all.append(LevelWarning(code=code, message=message))
        if state is not None:
            self.of_state.setdefault(state, []).append(code)


def note_whole(
    notes: Notes,
    host: HostDocument,
    corrections: Mapping[str, Correction],
    chemical_potentials: Mapping[str, float] | None,
    gap: float,
) -> None:
    """Note what concerns the whole result."""
    if chemical_potentials is None:
        notes.add(
            "no_chemical_potentials",
            "no chemical potentials: formation energies are relative to elemental references 0; "
            "transition levels do not depend on them",
        )
    if gap <= 0:
        notes.add("no_band_gap", f"the bulk has a gap of {gap:.3f} eV: no level lies in it")
    tensor = np.array(host.dielectric)
    anisotropic = not np.allclose(tensor, np.eye(3) * tensor[0, 0], rtol=0.02)
    if anisotropic and any(item.scheme == "FNV" for item in corrections.values()):
        notes.add(
            "fnv_anisotropic",
            "FNV takes the harmonic mean of this anisotropic dielectric tensor: prefer eFNV",
        )


def note_state(
    notes: Notes, item: StateCalculation, correction: Correction, max_force: float
) -> None:
    """Note what concerns a state with a single point."""
    name = item.state.name
    if item.label is None:
        return
    if item.state.charge and correction.scheme == "none":
        notes.add("uncorrected_state", f"{name}: no finite-size correction, as asked", name)
    if correction.error is not None and correction.error > CORRECTION_TOLERANCE:
        notes.add(
            "correction_error",
            f"{name}: the correction is uncertain by {correction.error:.3f} eV",
            name,
        )
    force = float(np.linalg.norm(item.label.forces, axis=1).max())
    if force > max_force:
        notes.add(
            "residual_force", f"{name}: a force of {force:.3f} eV/Å is left (> {max_force})", name
        )
    if item.candidate is None or item.lowest is None:
        return
    preference = item.candidate.energy - item.lowest.energy
    if preference > SAME_MINIMUM:
        notes.add(
            "potential_other_minimum",
            f"{name}: the potential alone prefers another minimum by {preference:.3f} eV",
            name,
        )
