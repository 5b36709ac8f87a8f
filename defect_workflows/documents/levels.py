"""Formation energies and charge transition levels (the contract of levels.json)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from defect_workflows.documents.base import Document, EncodedObject, Matrix3D

Scheme = Literal["eFNV", "FNV", "none"]


class Correction(Document):
    """Finite-size correction of a charged supercell."""

    scheme: Scheme = Field(description="Kumagai-Oba (eFNV), Freysoldt (FNV) or none.")
    energy: float = Field(description="Correction in eV, to be added to the formation energy.")
    error: float | None = Field(
        default=None, description="Estimate of its error in eV, from the scatter of the potential."
    )


class LevelWarning(Document):
    """Something that a careful referee would notice."""

    code: str = Field(description="Stable code, e.g. level_outside_gap.")
    message: str = Field(description="One line.")


class StateEnergy(Document):
    """One defect state."""

    defect: str = Field(description="Name of the defect without charge.")
    charge: int = Field(description="Charge in units of e.")
    energy: float = Field(description="Raw supercell energy in eV.")
    formation_energy: float = Field(
        description="Formation energy in eV at the VBM (zero Fermi level), corrected."
    )
    correction: Correction = Field(description="Finite-size correction, zero for neutral states.")
    verified: bool = Field(description="True when an HSE06 single point stands behind it.")
    potential_energy_error: float | None = Field(
        default=None, description="Potential minus HSE06 at the searched structure in eV."
    )
    energy_mlip: float | None = Field(
        default=None,
        description="Energy of the lowest searched structure on the potential alone in eV.",
    )
    max_force: float | None = Field(
        default=None, description="Largest force left at the structure used, in eV/Å."
    )
    warnings: list[str] = Field(default_factory=list, description="Codes of its warnings.")


class TransitionLevel(Document):
    """A charge transition level."""

    defect: str = Field(description="Name of the defect without charge.")
    charges: tuple[int, int] = Field(description="The two charges, the more positive one first.")
    energy: float = Field(description="Level in eV above the VBM.")
    error: float = Field(
        description=(
            "Estimate of its error in eV: errors of the two corrections and what relaxing the "
            "remaining forces could still gain (or the committee's spread where a state is not "
            "verified), in quadrature, per electron. Not the error of the functional."
        )
    )
    in_gap: bool = Field(description="Between VBM and CBM.")
    verified: bool = Field(description="Both states have an HSE06 single point.")
    energy_mlip: float | None = Field(
        default=None, description="The same level from the potential alone, in eV above the VBM."
    )


class DefectLevelsDocument(Document):
    """Everything levels.json says."""

    host: str = Field(description="Reduced formula of the host.")
    vbm: float = Field(description="Valence band maximum in eV, on the calculation's scale.")
    band_gap: float = Field(description="Band gap in eV.")
    dielectric: Matrix3D = Field(description="Dielectric tensor used in the corrections.")
    chemical_potentials: dict[str, float] | None = Field(
        default=None,
        description="Absolute chemical potentials in eV; None: relative to elemental references 0.",
    )
    rehearsal: bool = Field(description="True when the stand-in for VASP made the numbers.")
    states: list[StateEnergy] = Field(description="One record per state.")
    transition_levels: list[TransitionLevel] = Field(description="One record per level.")
    warnings: list[LevelWarning] = Field(default_factory=list, description="Of the whole result.")


class LevelsResult(Document):
    """The levels with doped's own object behind them."""

    levels: DefectLevelsDocument = Field(description="Contents of levels.json.")
    thermodynamics: EncodedObject = Field(
        description="doped's DefectThermodynamics, as_dict (contents of thermodynamics.json)."
    )
