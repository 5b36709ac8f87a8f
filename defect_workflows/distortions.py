"""ShakeNBreak's distortions, one reproducible charged structure at a time.

ShakeNBreak generates whole sets: it seeds only the first distortion of a set, its structures carry
no charge, and it prints and warns. Here every structure follows from a defect state, the name of
a distortion and a seed, and carries its charge.

One family is not among ShakeNBreak's: a neighbour of another element that has moved into the
vacancy. In compounds that leaves an antisite beside a vacancy of the neighbour, which can be the
stable one of the two (V_Ga in GaAs: G. A. Baraff, M. Schlüter, Phys. Rev. Lett. 55, 2340 (1985),
https://doi.org/10.1103/PhysRevLett.55.2340).

Reference: I. Mosquera-Lois, S. R. Kavanagh, A. Walsh, D. O. Scanlon, npj Comput. Mater. 9, 25
(2023), https://doi.org/10.1038/s41524-023-00973-1
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Structure

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.documents.defects import DefectState
from defect_workflows.errors import CampaignError
from defect_workflows.moments import moments_of, with_moments

UNPERTURBED = "Unperturbed"
RATTLED = "Rattled"
DIMER = "Dimer"
ANTISITE = "Antisite_"
BOND_DISTORTION = "Bond_Distortion_"

ANTISITE_REACH = 1.2
"""Neighbours of a vacancy up to so many times the shortest distance are put into it."""

SAME_DISTANCE = 0.05
"""Neighbours of one element whose distances differ less, in Å, are taken for copies."""

CONTROL_NEIGHBOURS = 2
"""Neighbours that are distorted around an atom of the pristine supercell, as a control."""


def seed_of(*parts: object) -> int:
    """Return a seed (32 bits) that follows from the parts alone, in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def bond_distortion(distortion: float) -> str:
    """Return ShakeNBreak's name of a bond distortion, e.g. 'Bond_Distortion_-40.0%' for -0.4."""
    return f"{BOND_DISTORTION}{round(distortion * 100, 1) + 0:.1f}%"


def closest_contact(structure: Structure) -> float:
    """Return the shortest interatomic distance in units of the sum of the two covalent radii."""
    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in structure])
    contacts = structure.distance_matrix / np.add.outer(radii, radii)
    np.fill_diagonal(contacts, np.inf)
    return float(contacts.min())


def in_charge_state(structure: Structure, charge: int) -> Structure:
    """Return the geometry and the moments of a structure, nothing else, in another charge state."""
    return with_charge(with_moments(_bare(structure), moments_of(structure)), charge)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ShakeNBreak's prints, progress bars and warnings off the terminal."""
    with (
        open(os.devnull, "w") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def rattled(
    structure: Structure, amplitude: float, seed: int, still: Collection[int] = ()
) -> Structure:
    """Return a structure rattled by ShakeNBreak's Monte Carlo, which carries the same charge.

    Parameters
    ----------
    structure
        The structure to rattle, with its charge; it is left as it is.
    amplitude
        Standard deviation of a displacement in Å.
    seed
        Seed of the random displacements.
    still
        Indices of atoms that are not rattled.

    Raises
    ------
    MissingChargeError
        If the structure carries no charge.
    """
    from shakenbreak.distortions import rattle

    active = [index for index in range(len(structure)) if index not in still]
    with _quiet():
        moved = rattle(_bare(structure), stdev=amplitude, active_atoms=active, seed=seed)
    return _in_place_of(structure, moved, charge_of(structure))


@dataclass(frozen=True)
class Distorter:
    """Makes ShakeNBreak's distortions around one site of a supercell.

    Attributes
    ----------
    structure
        Unperturbed supercell.
    charge
        Charge of the structures made, in units of e.
    neighbours
        Number of neighbours to distort, by ShakeNBreak's electron counting.
    site
        Fractional coordinates of the defect, shape (3,).
    site_index
        Index of the defect's atom; None for a vacancy.
    missing
        Element that a vacancy lacks; None for other defects.
    amplitude
        ShakeNBreak's own standard deviation of the rattle in Å: 10 % of the host's bond length.
    """

    structure: Structure
    charge: int
    neighbours: int
    site: tuple[float, float, float]
    site_index: int | None
    missing: str | None
    amplitude: float

    @classmethod
    def from_state(cls, state: DefectState) -> Distorter:
        """Let ShakeNBreak count the electrons of a defect state.

        Raises
        ------
        CampaignError
            If ShakeNBreak cannot count them, or counts for another charge.
        """
        from doped.core import DefectEntry
        from shakenbreak.input import Distortions

        entry = DefectEntry.from_dict(state.entry)
        try:
            with _quiet():
                distortions = Distortions([entry], bond_distortions=[-0.1])
                _, metadata = distortions.apply_distortions(verbose=False)
            (defect,) = metadata["defects"].values()
            neighbours = int(defect["charges"][state.charge]["num_nearest_neighbours"])
        except (KeyError, ValueError, TypeError) as error:
            raise CampaignError(
                f"{state.name}: ShakeNBreak cannot count its electrons "
                f"({type(error).__name__}: {error})"
            ) from error
        vacancy = entry.defect.defect_type.name.lower() == "vacancy"
        return cls(
            structure=state.structure,
            charge=state.charge,
            neighbours=neighbours,
            site=state.site,
            site_index=None if vacancy else _nearest_atom(state.structure, state.site),
            missing=entry.defect.site.specie.symbol if vacancy else None,
            amplitude=float(distortions.stdev),
        )

    @classmethod
    def from_bulk(cls, bulk: Structure) -> Distorter:
        """Distort a pristine supercell around its first atom: the control of a search."""
        shortest = float(np.min(bulk.distance_matrix[np.triu_indices(len(bulk), 1)]))
        x, y, z = (float(value) for value in bulk[0].frac_coords)
        return cls(
            structure=bulk,
            charge=0,
            neighbours=CONTROL_NEIGHBOURS,
            site=(x, y, z),
            site_index=0,
            missing=None,
            amplitude=0.1 * shortest,
        )

    @property
    def vacancy(self) -> bool:
        """Whether no atom stands at the defect's site."""
        return self.site_index is None

    def names(self, distortions: Sequence[float], dimer: bool, antisites: bool) -> list[str]:
        """Return the names of the distortions that ShakeNBreak would make, and of the antisites.

        Bond distortions only where there are neighbours to distort, dimer and antisites only at
        a vacancy.
        """
        bonds = [bond_distortion(value) for value in distortions] if self.neighbours else []
        dimers = [DIMER] if dimer and self.vacancy else []
        return [UNPERTURBED, RATTLED, *bonds, *dimers, *(self.hops if antisites else ())]

    @cached_property
    def hops(self) -> dict[str, int]:
        """Atoms of other elements beside a vacancy that may move into it.

        One of each set of copies, by the names of the distortions: 'Antisite_Te' is the nearest of
        its element, a farther one 'Antisite_Te_2'.
        """
        if self.missing is None:
            return {}
        distances = _distances(self.structure, self.site)
        one_each: dict[str, list[int]] = {}
        for index in map(int, np.argsort(distances, kind="stable")):
            if distances[index] > ANTISITE_REACH * distances.min():
                break
            chosen = one_each.setdefault(self.structure[index].specie.symbol, [])
            if not chosen or distances[index] - distances[chosen[-1]] >= SAME_DISTANCE:
                chosen.append(index)
        one_each.pop(self.missing, None)
        return {
            f"{ANTISITE}{element}" + (f"_{number}" if number > 1 else ""): index
            for element, chosen in one_each.items()
            for number, index in enumerate(chosen, start=1)
        }

    def shape(self, name: str) -> Structure:
        """Return one distorted structure before it is rattled, which carries the charge.

        Parameters
        ----------
        name
            'Unperturbed', 'Rattled' (the same, before its rattle), 'Dimer', a bond distortion
            like 'Bond_Distortion_-40.0%', or one of `hops`.
        """
        return self._shape(name)[0]

    def distorted(self, name: str, seed: int, amplitude: float | None = None) -> Structure:
        """Return one distorted and rattled structure, which carries the charge.

        As in ShakeNBreak the unperturbed structure stays as it is, and so do the defect and the
        neighbours that were distorted.

        Parameters
        ----------
        name
            As for `shape`.
        seed
            Seed of the rattle.
        amplitude
            Standard deviation of the rattle in Å; None for ShakeNBreak's own.
        """
        shape, still = self._shape(name)
        if name == UNPERTURBED:
            return shape
        return rattled(shape, self.amplitude if amplitude is None else amplitude, seed, still)

    def _shape(self, name: str) -> tuple[Structure, set[int]]:
        """Return a distorted structure and the atoms that a rattle must leave."""
        from shakenbreak.distortions import apply_dimer_distortion, distort

        if name in (UNPERTURBED, RATTLED):
            still = set() if self.site_index is None or name == RATTLED else {self.site_index}
            return in_charge_state(self.structure, self.charge), still
        if (index := self.hops.get(name)) is not None:
            moved = self.structure.copy()
            moved.replace(index, moved[index].specie, np.array(self.site))
            return _in_place_of(self.structure, moved, self.charge), {index}
        place: dict[str, Any] = (
            {"frac_coords": np.array(self.site)}
            if self.vacancy
            else {"site_index": self.site_index}
        )
        bare = _bare(self.structure)
        with _quiet():
            result = (
                apply_dimer_distortion(bare, **place)
                if name == DIMER
                else distort(bare, self.neighbours, distortion_factor(name), **place)
            )
        still = {int(atom) for atom, _ in result["distorted_atoms"]}
        if self.site_index is not None:
            still.add(self.site_index)
        return _in_place_of(self.structure, result["distorted_structure"], self.charge), still


def distortion_factor(name: str) -> float:
    """Return what ShakeNBreak multiplies bond lengths with, e.g. 0.6 for a name with -40.0%."""
    return 1.0 + float(name.removeprefix(BOND_DISTORTION).removesuffix("%")) / 100


def _distances(structure: Structure, site: tuple[float, float, float]) -> np.ndarray:
    """Return the distances of all atoms from a site in Å, shape (atoms,)."""
    return structure.lattice.get_all_distances([site], structure.frac_coords)[0]


def _nearest_atom(structure: Structure, site: tuple[float, float, float]) -> int:
    return int(np.argmin(_distances(structure, site)))


def _in_place_of(structure: Structure, moved: Structure, charge: int) -> Structure:
    """Return moved atoms in a charge state, with the moments that they had before they moved."""
    if [site.specie.symbol for site in moved] != [site.specie.symbol for site in structure]:
        raise CampaignError("ShakeNBreak changed the order of the atoms, expected it to stay")
    return with_charge(with_moments(_bare(moved), moments_of(structure)), charge)


def _bare(structure: Structure) -> Structure:
    """Return the structure without charge and oxidation states, as ShakeNBreak takes it."""
    return Structure(
        structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords
    )
