"""Formation energies and charge transition levels (the contract of levels.json)."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field

from defect_workflows.charge import charge_of
from defect_workflows.documents.base import (
    Document,
    EncodedObject,
    Matrix3D,
    StructureField,
    Vector3D,
)
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.labels import Label, PlanarPotential
from defect_workflows.documents.warnings import LevelWarning

Scheme = Literal["eFNV", "FNV", "none"]

OUTCAR_ROUNDING = 1e-5
"""An OUTCAR has positions to five decimals, in Å."""


class LevelCalculation(Document):
    """What levels need of a calculation, be it a campaign's label or a finished run of a user."""

    structure: StructureField = Field(description="Final structure, which carries the charge.")
    energy: float = Field(description="Raw energy of the supercell in eV, uncorrected.")
    forces: list[Vector3D] | None = Field(default=None, description="Forces in eV/Å, per atom.")
    vbm: float | None = Field(default=None, description="Highest occupied eigenvalue in eV.")
    cbm: float | None = Field(default=None, description="Lowest unoccupied eigenvalue in eV.")
    site_potentials: list[float] | None = Field(
        default=None, description="Average potential at each core in eV, as in the OUTCAR."
    )
    planar_potential: PlanarPotential | None = Field(
        default=None, description="Planar averages of the LOCPOT, where it was written."
    )
    magnetization: float | None = Field(
        default=None, description="Total magnetic moment in Bohr magnetons, where it is known."
    )
    nelect: float | None = Field(
        default=None, description="Number of electrons that it had, where it is known."
    )
    projected: EncodedObject | None = Field(
        default=None, description="pydefect's BandEdgeOrbitalInfos, where it is known."
    )
    defect_site: Vector3D | None = Field(
        default=None,
        description="Fractional coordinates of the defect in it, where they were identified.",
    )
    position_rounding: float = Field(
        default=0.0,
        description="Distances from the defect are rounded by up to this, in Å; 0: as precise as "
        "VASP writes them to a vasprun.xml.",
    )
    functional: str | None = Field(
        description="What the energy was calculated with, for comparison; None where it is unknown."
    )
    directory: str | None = Field(default=None, description="Where it ran. Provenance.")
    rehearsal: bool = Field(default=False, description="True when the stand-in for VASP made it.")

    @property
    def charge(self) -> int:
        """Charge in units of e; raises if the structure carries none."""
        return charge_of(self.structure)

    @classmethod
    def from_label(cls, label: Label) -> Self:
        """Take what levels need from a campaign's label."""
        return cls(
            structure=label.configuration.structure,
            functional=label.fidelity,
            **{name: getattr(label, name) for name in _SAME & set(Label.model_fields)},
        )

    @classmethod
    def from_finished(cls, calculation: FinishedCalculation) -> Self:
        """Take what levels need from a finished run."""
        edges = calculation.band_edges
        return cls(
            functional=calculation.level_of_theory.functional,
            position_rounding=OUTCAR_ROUNDING if _five_decimals(calculation) else 0.0,
            vbm=edges.vbm if edges else None,
            cbm=edges.cbm if edges else None,
            **{
                name: getattr(calculation, name)
                for name in _SAME & set(FinishedCalculation.model_fields)
            },
        )


_SAME = set(LevelCalculation.model_fields) - {"functional"}


def _five_decimals(calculation: FinishedCalculation) -> bool:
    """Tell whether the positions are those of an OUTCAR, to which no other file added decimals."""
    if any(name.startswith("vasprun") for name in calculation.files):
        return False
    steps = calculation.structure.cart_coords / OUTCAR_ROUNDING
    return bool(np.abs(steps - np.rint(steps)).max() < 0.01)


class Correction(Document):
    """Finite-size correction of a charged supercell."""

    scheme: Scheme = Field(description="Kumagai-Oba (eFNV), Freysoldt (FNV) or none.")
    energy: float = Field(description="Correction in eV, to be added to the formation energy.")
    error: float | None = Field(
        default=None,
        description="Estimate of its error in eV, from the scatter of the potential; for eFNV not "
        "less than what the choice of sites near the surface of the defect region is worth.",
    )


class SiteProfile(Document):
    """Site potentials over the distance from the defect, what an eFNV correction is made of."""

    distances: list[float] = Field(description="Distance of each site from the defect in Å.")
    elements: list[str] = Field(description="Element of each site.")
    differences: list[float] = Field(description="Defect minus bulk potential in V, doped's sign.")
    point_charge: list[float | None] = Field(
        description="Potential of the periodic point charges in V, in the sampling region."
    )
    radius: float = Field(description="The sampling region begins at this distance in Å.")
    alignment: float = Field(description="Average of what the point charges leave there, in V.")

    @property
    def sampled(self) -> int:
        """Number of sites in the sampling region."""
        return sum(potential is not None for potential in self.point_charge)


class PlanarAxis(Document):
    """Planar averages along one lattice vector."""

    positions: list[float] = Field(description="Position along the lattice vector in Å.")
    difference: list[float] = Field(description="Defect minus bulk potential in V.")
    long_range: list[float] = Field(description="Model of the periodic charges in V.")
    short_range: list[float] = Field(description="What the model leaves, in V.")
    alignment: float = Field(description="Constant of the alignment in V.")
    sampling: tuple[int, int] = Field(description="First and last point of the sampling region.")


class PlanarProfile(Document):
    """Planar averages of the potential, what an FNV correction is made of."""

    axes: list[PlanarAxis] = Field(description="One per lattice vector.")


class Degeneracy(Document):
    """How often a defect state exists at one site (doped)."""

    spin: int = Field(description="Spin multiplicity 2S+1, relative to the bulk's.")
    orientation: float | None = Field(
        default=None, description="Orientations of the relaxed defect at its site."
    )
    point_group: str | None = Field(default=None, description="Of the relaxed defect, Schoenflies.")
    site_point_group: str | None = Field(default=None, description="Of the site in the bulk.")


class HostStates(Document):
    """Whether carriers sit in perturbed host states instead of the defect (pydefect, doped)."""

    shallow_donor: bool = Field(description="Electrons occupy the conduction band.")
    shallow_acceptor: bool = Field(description="Holes occupy the valence band.")
    cbm_electrons: float = Field(description="Electrons found in the conduction band.")
    vbm_holes: float = Field(description="Holes found in the valence band.")
    localised_states: int = Field(description="Localised one-electron states in the gap, by spin.")


class StateAnalysis(Document):
    """What is computed of one state against the bulk, before states are put together."""

    correction: Correction = Field(description="Finite-size correction.")
    profile: SiteProfile | PlanarProfile | None = Field(
        default=None, description="What the correction was made of."
    )
    degeneracy: Degeneracy | None = Field(default=None, description="Spin and orientations.")
    host_states: HostStates | None = Field(
        default=None, description="Band-edge analysis, where projections are known."
    )
    warnings: list[LevelWarning] = Field(default_factory=list, description="Of this state.")


class StateEnergy(Document):
    """One defect state."""

    defect: str = Field(description="Name of the defect without charge.")
    charge: int = Field(description="Charge in units of e.")
    energy: float = Field(description="Raw supercell energy in eV.")
    raw_difference: float | None = Field(
        default=None, description="Raw energy minus that of the bulk supercell in eV."
    )
    formation_energy: float = Field(
        description="Formation energy in eV at the VBM (zero Fermi level), corrected."
    )
    formation_energies: dict[str, float] = Field(
        default_factory=dict, description="The same in every limit of the chemical potentials."
    )
    correction: Correction = Field(description="Finite-size correction, zero for neutral states.")
    degeneracy: Degeneracy | None = Field(default=None, description="Spin and orientations.")
    host_states: HostStates | None = Field(
        default=None, description="Band-edge analysis, where projections are known."
    )
    magnetization: float | None = Field(
        default=None, description="Total magnetic moment in Bohr magnetons."
    )
    verified: bool = Field(
        description="A calculation at its final structure stands behind it, in a campaign an HSE06 "
        "single point: that, and nothing else."
    )
    converged: bool | None = Field(
        default=None,
        description="The rounds of the campaign met every criterion that is about it; None without "
        "a campaign.",
    )
    potential_energy_error: float | None = Field(
        default=None,
        description="Potential minus HSE06 at the searched structure in eV; none where the state's "
        "structure comes from a neighbouring charge state or a start that the potential lost.",
    )
    energy_mlip: float | None = Field(
        default=None,
        description="Energy of the lowest searched structure on the potential alone in eV.",
    )
    energy_mlip_error: float | None = Field(
        default=None, description="Standard deviation of that energy in eV, calibrated."
    )
    error: float | None = Field(
        default=None, description="Estimate of the error of its energy in eV, as of the levels."
    )
    max_force: float | None = Field(
        default=None, description="Largest force left at the structure used, in eV/Å."
    )
    directory: str | None = Field(default=None, description="Where it was calculated.")
    warnings: list[str] = Field(default_factory=list, description="Codes of its warnings.")


class MetastableState(Document):
    """Another calculation of a state, which lies higher than the one used or did not compete."""

    defect: str = Field(description="Name of the defect without charge.")
    charge: int = Field(description="Charge in units of e.")
    energy: float = Field(description="Raw supercell energy in eV.")
    above: float | None = Field(
        description="Energy above the calculation used, in eV; None where settings differ."
    )
    differs: list[str] = Field(
        default_factory=list,
        description="Why it did not compete: settings in which it differs from the bulk.",
    )
    magnetization: float | None = Field(
        default=None, description="Total magnetic moment in Bohr magnetons."
    )
    directory: str = Field(description="Where it was calculated.")


class StateError(Document):
    """A state that was asked for and has no energy."""

    defect: str = Field(description="Name of the defect without charge.")
    charge: int | None = Field(description="Charge asked for, if one was.")
    directory: str = Field(description="Folder of its calculation.")
    message: str = Field(description="One line: what was found and what is expected.")


class TransitionLevel(Document):
    """A charge transition level."""

    defect: str = Field(description="Name of the defect without charge.")
    charges: tuple[int, int] = Field(description="The two charges, the more positive one first.")
    energy: float = Field(description="Level in eV above the VBM.")
    error: float = Field(
        description=(
            "Estimate of its error in eV: errors of the two corrections, what relaxing the "
            "remaining forces could still gain, by how much an unverified minimum is expected "
            "to be lower and by how much the last round lowered the state (or the potential's "
            "calibrated standard deviation where a state is not verified), in quadrature, per "
            "electron. Not the error of the functional, nor of a ground state that was missed."
        )
    )
    in_gap: bool = Field(description="Between VBM and CBM.")
    verified: bool = Field(
        description="Both states have calculations at their final structures, in a campaign HSE06 "
        "single points: that, and nothing else."
    )
    converged: bool | None = Field(
        default=None, description="Both states are converged; None without a campaign."
    )
    energy_mlip: float | None = Field(
        default=None, description="The same level from the potential alone, in eV above the VBM."
    )
    error_mlip: float | None = Field(
        default=None,
        description="Standard deviation of that level in eV: the potential's, calibrated, and "
        "errors of the two corrections.",
    )


class ChemicalPotentialLimit(Document):
    """One limit of the chemical potentials."""

    name: str = Field(description="Phases that the host is in equilibrium with, or 'given'.")
    chemical_potentials: dict[str, float] = Field(description="Absolute, in eV.")
    relative: dict[str, float] | None = Field(
        default=None, description="Relative to the elemental phases in eV, where they are known."
    )
    chosen: bool = Field(description="`formation_energy` refers to this one.")


class Concentration(Document):
    """Equilibrium concentration of a state."""

    defect: str = Field(description="Name of the defect without charge.")
    charge: int = Field(description="Charge in units of e.")
    concentration: float = Field(description="Concentration in cm^-3.")


class FermiLevel(Document):
    """Self-consistent Fermi level: where defects and carriers are neutral together."""

    limit: str = Field(description="Limit of the chemical potentials.")
    temperature: float = Field(description="Temperature in K.")
    fermi_level: float = Field(description="Fermi level in eV above the VBM.")
    electrons: float = Field(description="Concentration of free electrons in cm^-3.")
    holes: float = Field(description="Concentration of free holes in cm^-3.")
    concentrations: list[Concentration] = Field(description="One per state.")


class StepTime(Document):
    """What a step of the command took."""

    step: str = Field(description="Name of the step.")
    seconds: float = Field(description="Wall time in s.")


class DefectLevelsDocument(Document):
    """Everything levels.json says."""

    host: str = Field(description="Reduced formula of the host.")
    functional: str | None = Field(default=None, description="What the energies come from.")
    vbm: float = Field(description="Valence band maximum in eV, on the calculation's scale.")
    band_gap: float = Field(description="Band gap in eV.")
    dielectric: Matrix3D | None = Field(
        description="Dielectric tensor used in the corrections; None: nothing was corrected."
    )
    chemical_potentials: dict[str, float] | None = Field(
        default=None,
        description="Absolute chemical potentials in eV; None: relative to elemental references 0.",
    )
    limits: list[ChemicalPotentialLimit] = Field(
        default_factory=list, description="All limits of the chemical potentials."
    )
    rehearsal: bool = Field(description="True when the stand-in for VASP made the numbers.")
    states: list[StateEnergy] = Field(description="One record per state.")
    transition_levels: list[TransitionLevel] = Field(description="One record per level.")
    unstable_levels: list[TransitionLevel] = Field(
        default_factory=list,
        description="Levels between neighbouring charges of which one is never the lowest.",
    )
    metastable: list[MetastableState] = Field(
        default_factory=list, description="Calculations of a state that were not the lowest."
    )
    fermi_levels: list[FermiLevel] = Field(
        default_factory=list, description="One per limit, where a density of states is known."
    )
    warnings: list[LevelWarning] = Field(default_factory=list, description="Of the whole result.")
    errors: list[StateError] = Field(
        default_factory=list, description="States that could not be used, with the reason."
    )
    seconds: list[StepTime] = Field(default_factory=list, description="Wall time per step.")


class CorrectionProfile(Document):
    """What the correction of a charged state was made of, for its plot."""

    state: str = Field(description="Name of the state, e.g. v_Cd_-2.")
    correction: Correction = Field(description="The correction.")
    profile: SiteProfile | PlanarProfile = Field(description="What it was made of.")


class LevelsResult(Document):
    """The levels with doped's own object behind them."""

    levels: DefectLevelsDocument = Field(description="Contents of levels.json.")
    thermodynamics: EncodedObject = Field(
        description="doped's DefectThermodynamics, as_dict (contents of thermodynamics.json)."
    )
    profiles: list[CorrectionProfile] = Field(
        default_factory=list, description="One per corrected charged state."
    )
