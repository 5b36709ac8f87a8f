"""Warnings of a result: a stable code each, and how serious it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from defect_workflows.documents.base import Document

WarningClass = Literal["error", "warning", "note"]
"""`error`: the number is not usable. `warning`: something about this result to act on. `note`: a
fact that changes no number that is reported."""

CLASSES: dict[str, WarningClass] = {
    "cell_mismatch": "error",
    "charged_in_vacuum": "error",
    "dispersion_mismatch": "error",
    "exact_exchange_mismatch": "error",
    "functional_mismatch": "error",
    "hubbard_mismatch": "error",
    "lasph_mismatch": "error",
    "lmodelhf_mismatch": "error",
    "molecule_excited": "error",
    "potcar_mismatch": "error",
    "scf_not_converged": "error",
    "screening_mismatch": "error",
    "spin_orbit_mismatch": "error",
    "state_without_energy": "error",
    "addgrid_mismatch": "warning",
    "atoms_moved_far_away": "warning",
    "chemical_potentials_mismatch": "warning",
    "correction_error": "warning",
    "correction_large": "warning",
    "dielectric_mismatch": "warning",
    "dielectric_without_ionic": "warning",
    "dos_mismatch": "warning",
    "enaug_mismatch": "warning",
    "encut_mismatch": "warning",
    "fnv_anisotropic": "warning",
    "host_unstable": "warning",
    "ionic_not_converged": "warning",
    "kpoints_mismatch": "warning",
    "locpot_mismatch": "warning",
    "lreal_mismatch": "warning",
    "nkred_mismatch": "warning",
    "no_band_gap": "warning",
    "no_fermi_level": "warning",
    "nonstandard_hybrid": "warning",
    "prec_mismatch": "warning",
    "precfock_mismatch": "warning",
    "rehearsal": "warning",
    "residual_force": "warning",
    "rounds_not_converged": "warning",
    "sampling_region_small": "warning",
    "shallow_acceptor": "warning",
    "shallow_donor": "warning",
    "smearing_mismatch": "warning",
    "spin_mismatch": "warning",
    "uncorrected_state": "warning",
    "unfinished_starts": "warning",
    "unresolved_starts": "warning",
    "unverified_state": "warning",
    "vbm_off_gamma": "warning",
    "calculation_left_out": "note",
    "cell_shifted": "note",
    "charge_guessed": "note",
    "degeneracy_unknown": "note",
    "dielectric_settings": "note",
    "dos_settings": "note",
    "far_atoms_unknown": "note",
    "host_states_unknown": "note",
    "level_outside_gap": "note",
    "multiplicity_unknown": "note",
    "no_chemical_potentials": "note",
    "output_files": "note",
    "potential_other_levels": "note",
    "potential_other_minimum": "note",
    "unstable_charge_state": "note",
}
"""Class of every code, the most serious first (documented in docs/levels.md)."""


class LevelWarning(Document):
    """Something that a careful referee would notice; its class follows from its code."""

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    code: str = Field(description="Stable code, e.g. residual_force.")
    message: str = Field(description="One line.")
    kind: WarningClass = Field(default="warning", alias="class", description="Class of the code.")
    state: str | None = Field(
        default=None, description="The state that it is about, e.g. v_Cd_-2; None: several or all."
    )

    @model_validator(mode="before")
    @classmethod
    def _class_of_code(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "code" not in value:
            return value
        if value["code"] not in CLASSES:
            raise ValueError(f"code: found {value['code']!r}, expected one that has a class")
        return {**value, "class": CLASSES[value["code"]]}
