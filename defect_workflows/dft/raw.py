"""What the output files say, whichever of them is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pymatgen.core import Element, Lattice, Structure

from defect_workflows.charge import charge_from_nelect
from defect_workflows.documents.calculations import BandEdges
from defect_workflows.documents.labels import KpointMesh

KILOBAR = 0.1 / 160.21766208  # eV/Å^3
REHEARSAL_MARK = "mock-vasp"
OCCUPIED = 0.4
"""A state counts as occupied from here on: beyond the tails of the smearing, and below the half
filling that degenerate defect states have up to rounding."""
_SAME_POINT = 1e-4

NOT_ECHOED = {"METAGGA": "--", "IVDW": "0", "LVDW": "F", "LUSE_VDW": "F", "ADDGRID": "F"}
"""Settings that VASP tells only where it repeats the INCAR, and its defaults: where the INCAR is
not repeated (OUTCARs of VASP 5), a setting that is not there is unknown."""

ELECTRONS_TOLERANCE = 0.05
"""Electrons of a run may differ from NELECT by this much: that of the integration."""


@dataclass(frozen=True)
class Species:
    """Atoms of one POTCAR, neighbours in the files.

    Parameters
    ----------
    title
        TITEL of the POTCAR.
    valence
        ZVAL.
    count
        Number of atoms.
    symbol
        Element.
    """

    title: str
    valence: float
    count: int
    symbol: str


@dataclass
class Step:
    """One ionic step that was written to its end.

    Parameters
    ----------
    number
        From 1.
    lattice, positions
        Vectors in Å and fractional coordinates.
    energy, free_energy
        Sigma -> 0, and with the entropy of the smearing (TOTEN), in eV.
    forces, stress
        In eV/Å and eV/Å^3 (tension positive), where they were printed.
    scf_converged
        The electronic minimisation reached EDIFF.
    problem
        Why the numbers of this step are none; empty where they are good.
    """

    number: int
    lattice: np.ndarray
    positions: np.ndarray
    energy: float
    free_energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    scf_converged: bool
    problem: str = ""

    def __post_init__(self) -> None:
        """Look for numbers that are none."""
        for name in ("energy", "free_energy", "lattice", "positions", "forces", "stress"):
            value = getattr(self, name)
            if not self.problem and value is not None and not np.isfinite(value).all():
                self.problem = f"{name.replace('_', ' ')} not finite: found NaN or *****"


@dataclass
class Bands:
    """Eigenvalues in eV and occupations (0 to 1), (spin, k-point, band)."""

    energies: np.ndarray
    occupations: np.ndarray
    kpoints: np.ndarray
    weights: np.ndarray

    def check(self, settings: dict[str, str]) -> None:
        """Raise ValueError where a number is none, or no occupation can be like that."""
        if not (np.isfinite(self.energies).all() and np.isfinite(self.occupations).all()):
            raise ValueError("eigenvalues not finite: found NaN or *****")
        beyond = _beyond_filling(float(settings.get("ISMEAR", 1)))
        lowest, highest = self.occupations.min(), self.occupations.max()
        if lowest < -beyond or highest > 1 + beyond:
            found = lowest if lowest < -beyond else highest
            raise ValueError(
                f"occupations: found {found:g} of a full state, expected 0 to 1: a damaged file"
            )

    def edges(self) -> BandEdges | None:
        """Return the band edges, None where one of them is missing."""
        occupied = self.occupations >= OCCUPIED
        if not occupied.any() or occupied.all():
            return None
        below = np.where(occupied, self.energies, -np.inf)
        above = np.where(occupied, np.inf, self.energies)
        highest = np.unravel_index(below.argmax(), below.shape)
        lowest = np.unravel_index(above.argmin(), above.shape)
        return BandEdges(
            vbm=below[highest],
            cbm=above[lowest],
            vbm_kpoint=tuple(self.kpoints[highest[1]]),
            cbm_kpoint=tuple(self.kpoints[lowest[1]]),
            partial=max(0.0, np.minimum(self.occupations, 1 - self.occupations).max()),
        )

    def magnetization(self) -> float | None:
        """Return the difference of spin up and down in Bohr magnetons, None without spin."""
        if len(self.occupations) != 2:
            return None
        per_kpoint = self.occupations.sum(axis=2)
        return float((per_kpoint[0] - per_kpoint[1]) @ self.weights / self.weights.sum())


@dataclass
class Projections:
    """Weights of atomic orbitals in the states near the band edges.

    Parameters
    ----------
    first
        Number of the first band, from 0.
    weights
        (spin, k-point, band, atom, orbital).
    fermi_energy
        In eV.
    """

    first: int
    weights: np.ndarray
    fermi_energy: float


@dataclass
class Run:
    """What an output file says.

    Parameters
    ----------
    species
        In the order of the files.
    settings
        Settings as VASP echoed them, as text.
    kpoints, weights
        Irreducible k-points in fractional coordinates, and their weights.
    divisions
        Of the mesh they were generated as.
    steps
        Ionic steps that were written to their end.
    left_out
        One line for each that was not.
    bands
        Of the last step.
    ended
        The run ended by itself.
    ionic_converged
        The relaxation reached EDIFFG; None where nothing was relaxed.
    rehearsal
        The stand-in for VASP made it.
    magnetization
        In Bohr magnetons.
    site_potentials
        Of the last step, in eV.
    projections
        Of the last step, where they were asked for.
    """

    species: list[Species]
    settings: dict[str, str]
    kpoints: np.ndarray
    weights: np.ndarray
    divisions: tuple[int, int, int] | None
    steps: list[Step]
    bands: Bands | None
    ended: bool
    ionic_converged: bool | None
    rehearsal: bool
    left_out: list[str] = field(default_factory=list)
    magnetization: float | None = None
    site_potentials: list[float] | None = None
    projections: Projections | None = None

    @cached_property
    def symbols(self) -> list[str]:
        """Element of each atom."""
        return [kind.symbol for kind in self.species for _ in range(kind.count)]

    @property
    def nelect(self) -> float:
        """Number of electrons."""
        return float(self.settings["NELECT"])

    @property
    def charge(self) -> int:
        """Charge in units of e: two POTCARs of one element may have different ZVAL."""
        kinds = {f"{index} {kind.title}": kind for index, kind in enumerate(self.species, 1)}
        return charge_from_nelect(
            self.nelect,
            {name: kind.count for name, kind in kinds.items()},
            {name: kind.valence for name, kind in kinds.items()},
        )

    def structure(self, step: Step) -> Structure:
        """Return the structure of a step, without its charge."""
        return Structure(Lattice(step.lattice), self.symbols, step.positions)

    def mesh(self) -> KpointMesh | None:
        """Return the mesh of k-points, None where they are not one."""
        if self.divisions is None or not len(self.kpoints):
            return None
        shifts = self.kpoints * np.array(self.divisions)
        # all points of a mesh are the same fraction of a step away from Gamma's
        differences = shifts - shifts[0]
        if np.abs(differences - np.round(differences)).max() > _SAME_POINT * max(self.divisions):
            return None
        shift = np.round(shifts[0], 3) % 1.0
        x, y, z = (float(value) for value in shift)
        return KpointMesh(divisions=self.divisions, shift=(x, y, z))


def _beyond_filling(smearing: float) -> float:
    """Return by how much a state's occupation may lie below 0 or above 1, by its ISMEAR.

    Methfessel and Paxton's function overshoots by up to 0.1, Bloechl's corrections of the
    tetrahedron method by more on a coarse mesh.
    """
    if smearing >= 1:
        return 0.1
    return 0.25 if smearing <= -4 else 1e-3


def is_relaxation(settings: dict[str, str]) -> bool:
    """Tell by its settings whether a run relaxes the ions."""
    steps, algorithm = (float(settings.get(name, -1)) for name in ("NSW", "IBRION"))
    return steps >= 1 and algorithm in (1, 2, 3)


def element(title: str) -> str:
    """Return the element of a POTCAR by its TITEL, e.g. of 'PAW_PBE Sm_3 07Sep2006'."""
    words = title.split()
    match = re.match(r"[A-Z][a-z]?", words[1]) if len(words) > 1 else None
    if match is None or not Element.is_valid_symbol(match[0]):
        raise ValueError(f"TITEL: found {title!r}, expected a POTCAR's")
    return match[0]


def spin_channels(settings: dict[str, str]) -> int:
    """Return 2 with spin up and down, 1 without spin, 0 where spin has no axis."""
    if settings.get("LNONCOLLINEAR", "F").strip()[:1] == "T":
        return 0
    return int(float(settings.get("ISPIN", 1)))


def numbers(text: str, width: int = 0) -> np.ndarray:
    """Return the numbers of a text; what is none, such as *****, becomes NaN.

    A number that fills its column touches the one before it (``0.000000000-13.086768000``): the
    columns of a Fortran format are told apart by their decimals.

    Parameters
    ----------
    text
        Whatever stands there.
    width
        Of a column, to tell apart columns that are all ``*``.
    """
    words = text.split()
    try:
        return np.array(words, dtype=float)
    except ValueError:
        return np.array([value for word in words for value in _columns(word, width)])


def _columns(word: str, width: int) -> list[float]:
    try:
        return [float(word)]
    except ValueError:
        pass
    if set(word) == {"*"}:
        return [float("nan")] * max(1, len(word) // width if width else 1)
    *_, decimals = re.findall(r"\.(\d+)", word) or [""]
    column = rf"-?\d+\.\d{{{len(decimals)}}}"
    if not decimals or not re.fullmatch(rf"(?:{column}|\*+)+", word):
        return [float("nan")]
    found = re.findall(rf"{column}|\*+", word)
    return [value for item in found for value in _columns(item, width)]
