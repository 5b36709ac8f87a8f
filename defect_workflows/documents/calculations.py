"""A finished VASP calculation as it was read, before a label or a level is made of it."""

from __future__ import annotations

from pydantic import Field

from defect_workflows.charge import charge_of
from defect_workflows.documents.base import (
    Document,
    EncodedObject,
    Matrix3D,
    StructureField,
    Vector3D,
)
from defect_workflows.documents.labels import LevelOfTheory, PlanarPotential


class Frame(Document):
    """One ionic step of a calculation."""

    step: int = Field(description="Number of the ionic step, from 1.")
    structure: StructureField = Field(
        description="Structure of the step, which carries the charge."
    )
    energy: float = Field(description="Raw energy in eV (sigma -> 0).")
    forces: list[Vector3D] | None = Field(description="Forces in eV/Å, one per atom, if printed.")
    stress: Matrix3D | None = Field(
        default=None, description="Stress in eV/Å^3, tension positive (ASE's convention)."
    )
    scf_converged: bool = Field(description="The electronic minimisation reached EDIFF.")


class BandEdges(Document):
    """Highest occupied and lowest unoccupied eigenvalue, and where they are."""

    vbm: float = Field(description="Highest occupied eigenvalue in eV.")
    cbm: float = Field(description="Lowest unoccupied eigenvalue in eV.")
    vbm_kpoint: Vector3D = Field(description="Its k-point, fractional coordinates.")
    cbm_kpoint: Vector3D = Field(description="Its k-point, fractional coordinates.")
    partial: float = Field(
        default=0.0, description="Largest distance of an occupation from both 0 and 1: 0 to 0.5."
    )


class FinishedCalculation(Document):
    """What the files of one finished VASP calculation say; sites in the order of the files."""

    directory: str = Field(description="Folder that was read. Provenance, not transport.")
    files: list[str] = Field(description="Files that were read, e.g. OUTCAR.gz.")
    structure: StructureField = Field(description="Final structure, which carries the charge.")
    energy: float = Field(description="Raw energy of the last ionic step in eV (sigma -> 0).")
    forces: list[Vector3D] | None = Field(description="Forces of the last step in eV/Å.")
    nelect: float = Field(description="Number of electrons that the calculation had.")
    valences: dict[str, float] = Field(description="ZVAL per POTCAR, by its name, e.g. H1.25.")
    level_of_theory: LevelOfTheory = Field(description="Settings as echoed by the calculation.")
    scf_converged: bool = Field(description="The last electronic minimisation reached EDIFF.")
    ionic_converged: bool | None = Field(
        description="The relaxation reached EDIFFG; None where nothing was relaxed."
    )
    band_edges: BandEdges | None = Field(
        default=None, description="Band edges, where eigenvalues were printed."
    )
    smearing_energy: float | None = Field(
        default=None, description="What smearing does to the energy: TOTEN - energy, in eV."
    )
    magnetization: float | None = Field(
        default=None, description="Total magnetic moment in Bohr magnetons; None without spin."
    )
    nupdown: float | None = Field(
        default=None, description="NUPDOWN where it was set: the moment was constrained."
    )
    site_potentials: list[float] | None = Field(
        default=None, description="Average potential at each core in eV, as in the OUTCAR."
    )
    planar_potential: PlanarPotential | None = Field(
        default=None, description="Planar averages of the LOCPOT, where it lies there."
    )
    projected: EncodedObject | None = Field(
        default=None,
        description="pydefect's BandEdgeOrbitalInfos, where the vasprun.xml has projections.",
    )
    frames: list[Frame] = Field(
        description="Every ionic step that was completely written, with numbers that are some."
    )
    left_out: list[str] = Field(
        default_factory=list, description="One line per ionic step that is no frame: why."
    )
    notes: list[str] = Field(
        default_factory=list, description="What was noticed about the files, one line each."
    )
    unusable: list[str] = Field(
        default_factory=list,
        description="Output files that could not be used, one line each: why.",
    )
    ended: bool = Field(
        default=True,
        description="The run ended by itself; False only where partial runs were asked for.",
    )
    settings: dict[str, str] = Field(
        default_factory=dict, description="Settings as the files echo them, as text."
    )
    seconds: float = Field(description="Time that reading took in s.")
    rehearsal: bool = Field(description="True when the stand-in for VASP made it.")

    @property
    def charge(self) -> int:
        """Charge of the calculation in units of e, from NELECT and ZVAL."""
        return charge_of(self.structure)

    @property
    def ionic_steps(self) -> int:
        """Number of complete ionic steps."""
        return len(self.frames)
