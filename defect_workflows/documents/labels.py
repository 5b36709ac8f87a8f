"""Labels: what VASP says of a configuration at one fidelity."""

from __future__ import annotations

from pydantic import Field

from defect_workflows.documents.base import Document, Matrix3D, Vector3D
from defect_workflows.documents.defects import ChargedConfiguration
from defect_workflows.fidelity import Fidelity


class KpointMesh(Document):
    """A regular mesh of k-points."""

    divisions: tuple[int, int, int] = Field(description="Divisions along the reciprocal vectors.")
    shift: Vector3D = Field(
        description="Shift from Gamma in units of the mesh's own step, 0 <= shift < 1."
    )


class HubbardTerm(Document):
    """Hubbard correction on an element (DFT+U)."""

    element: str = Field(description="Element symbol.")
    angular_momentum: int = Field(description="LDAUL: 1 p, 2 d, 3 f.")
    u: float = Field(description="LDAUU in eV.")
    j: float = Field(description="LDAUJ in eV.")


class LevelOfTheory(Document):
    """The settings that must be equal for bulk and defects, as the calculation echoed them.

    None stands for a setting that the calculation does not tell.
    """

    functional: str | None = Field(
        description="Meta-GGA, GGA tag or the POTCARs' functional; +HF with exact exchange. None "
        "where the files do not name it."
    )
    exact_exchange: float = Field(description="AEXX, fraction of exact exchange; 0 for semi-local.")
    screening: float = Field(description="HFSCREEN in 1/Å; 0 for semi-local.")
    encut: float = Field(description="Plane-wave cutoff in eV.")
    precision: str = Field(description="PREC.")
    spin_polarized: bool = Field(description="ISPIN = 2.")
    dispersion: int | None = Field(
        description="IVDW; 0 for none, -1 for a correction that the calculation does not name."
    )
    kpoints: list[Vector3D] = Field(description="Irreducible k-points, fractional coordinates.")
    potcars: list[str] = Field(description="TITEL of each POTCAR, in the order of the elements.")
    spin_orbit: bool | None = Field(default=None, description="LSORBIT.")
    real_space_projection: bool | None = Field(default=None, description="LREAL.")
    kpoint_reduction: tuple[int, int, int] | None = Field(
        default=None, description="NKREDX, NKREDY, NKREDZ of the exact exchange; 1 for semi-local."
    )
    kpoint_mesh: KpointMesh | None = Field(
        default=None, description="Mesh that the k-points were generated as."
    )
    hubbard: list[HubbardTerm] | None = Field(
        default=None, description="Hubbard corrections that are not 0, in the order of elements."
    )
    aspherical: bool | None = Field(default=None, description="LASPH.")
    support_grid: bool | None = Field(default=None, description="ADDGRID.")
    fock_precision: str | None = Field(
        default=None, description="PRECFOCK of the exact exchange; None for semi-local."
    )
    model_hybrid: bool | None = Field(
        default=None, description="LMODELHF of the exact exchange; None for semi-local."
    )


class PlanarPotential(Document):
    """Planar averages of the LOCPOT."""

    averages: list[list[float]] = Field(
        description="Planar average along each of the three lattice vectors, in eV."
    )
    content: str = Field(
        description="'hartree+ionic' (LVHAR), 'total' (LVTOT) or 'unknown' (neither was asked for)."
    )


class Label(Document):
    """Raw energy, forces and stress of a configuration at one fidelity."""

    fingerprint: str = Field(description="Fingerprint of configuration, fidelity and settings.")
    configuration: ChargedConfiguration = Field(description="What was calculated.")
    fidelity: Fidelity = Field(description="Level of theory; also the head of the potential.")
    energy: float = Field(
        description="Raw energy of the supercell in eV (sigma -> 0), uncorrected."
    )
    forces: list[Vector3D] = Field(description="Forces in eV/Å, one per atom, in structure order.")
    stress: Matrix3D = Field(description="Stress in eV/Å^3, tension positive (ASE's convention).")
    nelect: float = Field(description="Number of electrons that the calculation had.")
    vbm: float | None = Field(default=None, description="Highest occupied eigenvalue in eV.")
    cbm: float | None = Field(default=None, description="Lowest unoccupied eigenvalue in eV.")
    level_of_theory: LevelOfTheory = Field(description="Settings as echoed by the calculation.")
    corrections: list[str] = Field(
        default_factory=list, description="Settings that custodian changed on the way."
    )
    site_potentials: list[float] | None = Field(
        default=None, description="Average potential at each core in eV, as in the OUTCAR."
    )
    planar_potential: PlanarPotential | None = Field(
        default=None, description="Planar averages of the LOCPOT, where it was written."
    )
    directory: str | None = Field(
        default=None, description="Where it ran, host:path. Provenance, not transport."
    )
    seconds: float = Field(default=0.0, description="Wall time of the calculation in s.")
    rehearsal: bool = Field(description="True when the stand-in for VASP made it.")

    @property
    def charge(self) -> int:
        """Charge of the configuration in units of e."""
        return self.configuration.charge


class RefusedLabel(Document):
    """A calculation that is not a label, and why."""

    fingerprint: str = Field(description="Fingerprint of configuration, fidelity and settings.")
    configuration: ChargedConfiguration = Field(description="What was calculated.")
    fidelity: Fidelity = Field(description="Level of theory.")
    reason: str = Field(description="One line: why it is refused.")
    directory: str | None = Field(
        default=None, description="Where it ran, host:path. None if it was not calculated."
    )
    seconds: float = Field(default=0.0, description="Wall time of the calculation in s.")


class LabelSet(Document):
    """All labels of a campaign so far, and the refused calculations beside them."""

    labels: list[Label] = Field(description="Usable labels, every fidelity.")
    refused: list[RefusedLabel] = Field(description="Excluded calculations with their reasons.")
