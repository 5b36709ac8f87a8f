"""In which settings two calculations differ, as far as both tell them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from pymatgen.core import Structure

from defect_workflows.dft.theory import number
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.labels import KpointMesh, LevelOfTheory

CELL_TOLERANCE = 0.01
"""Largest difference of two lattice vectors in Å (doped's own tolerance)."""

# The functional is what distinguishes the fidelities; all else must be equal.
_OF_THE_FIDELITY = {"functional", "exact_exchange", "screening", "kpoint_reduction"}

CODES = {
    "encut": "encut_mismatch",
    "precision": "prec_mismatch",
    "real_space_projection": "lreal_mismatch",
    "functional": "functional_mismatch",
    "exact_exchange": "exact_exchange_mismatch",
    "screening": "screening_mismatch",
    "dispersion": "dispersion_mismatch",
    "potcars": "potcar_mismatch",
    "kpoints": "kpoints_mismatch",
    "kpoint_reduction": "nkred_mismatch",
    "spin_polarized": "spin_mismatch",
    "spin_orbit": "spin_orbit_mismatch",
    "hubbard": "hubbard_mismatch",
    "aspherical": "lasph_mismatch",
    "support_grid": "addgrid_mismatch",
    "fock_precision": "precfock_mismatch",
    "model_hybrid": "lmodelhf_mismatch",
    "smearing": "smearing_mismatch",
    "augmentation": "enaug_mismatch",
    "cell": "cell_mismatch",
}
"""Stable code of the warning per setting."""

_TAGS = {
    "aspherical": "LASPH",
    "support_grid": "ADDGRID",
    "fock_precision": "PRECFOCK",
    "model_hybrid": "LMODELHF",
}

OF_THE_CELL = {"kpoints", "kpoint_reduction", "real_space_projection", "spin_polarized"}
"""Settings that rightly differ between cells of the same level of theory, and between phases."""

ELECTRONIC = {
    "functional", "exact_exchange", "screening", "model_hybrid", "hubbard", "potcars", "spin_orbit",
}  # fmt: skip
"""Settings that change bands and screening of a host; the others are matters of convergence."""

SMEARED_ENERGY = 0.005
"""Smearing that changes an energy by less has no effect, in eV."""

PARTLY_OCCUPIED = 0.1
"""A band with an occupation further from 0 and 1 than this is partly occupied."""

_TETRAHEDRON = {-4, -5, -14, -15}
_ENAUG_IN_USE = {"low", "medium", "high"}
_PSEUDO_HYDROGEN = re.compile(r"H\d*\.\d+")


@dataclass(frozen=True)
class Difference:
    """A setting in which two calculations differ.

    Parameters
    ----------
    setting
        Field of `LevelOfTheory`, or ``cell``.
    one, other
        The two values as text.
    """

    setting: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.name}: {self.one} != {self.other}"

    @property
    def name(self) -> str:
        """Name of the setting for messages."""
        return _TAGS.get(self.setting, self.setting)

    @property
    def text(self) -> str:
        """Both values in words, where the other is the bulk's."""
        return f"{self.name}: found {self.one}, the bulk has {self.other}"

    @property
    def code(self) -> str:
        """Stable code of the warning."""
        return CODES[self.setting]


def differences(
    one: LevelOfTheory,
    other: LevelOfTheory,
    across_fidelities: bool = False,
    same_cell: bool = True,
    skipped: Collection[str] = (),
) -> list[Difference]:
    """Return every setting that differs; what one of the two does not tell is not compared.

    Parameters
    ----------
    one, other
        Two levels of theory.
    across_fidelities
        Leave out what distinguishes the fidelities.
    same_cell
        The k-points are of one cell; those of two cells cannot be compared.
    skipped
        Settings to leave out.
    """
    skipped = {"kpoint_mesh", *skipped} | (_OF_THE_FIDELITY if across_fidelities else set())
    skipped |= set() if same_cell else {"kpoints"}
    found = []
    for name in LevelOfTheory.model_fields:
        if name in skipped:
            continue
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is None or theirs is None:
            continue
        found += _SPECIAL.get(name, _plain)(name, one, other)
    return found


def cell_difference(one: Structure, other: Structure) -> list[Difference]:
    """Return the difference of two cells, if their lattice vectors are not the same."""
    deviation = np.abs(one.lattice.matrix - other.lattice.matrix).max()
    if deviation <= CELL_TOLERANCE:
        return []
    mine, theirs = (
        "a, b, c = " + ", ".join(f"{length:.3f}" for length in cell.lattice.abc) + " Å"
        for cell in (one, other)
    )
    return [Difference("cell", mine, f"{theirs} (up to {deviation:.3f} Å)")]


def state_differences(
    calculation: FinishedCalculation, bulk: FinishedCalculation
) -> list[Difference]:
    """Return everything in which the calculation of a state must not differ from its bulk."""
    return [
        *differences(calculation.level_of_theory, bulk.level_of_theory),
        *_smearing(calculation, bulk),
        *_augmentation(calculation, bulk),
        *cell_difference(calculation.structure, bulk.structure),
    ]


def phase_differences(
    calculation: FinishedCalculation, bulk: FinishedCalculation
) -> list[Difference]:
    """Return everything in which a competing phase, or a run of the host, differs from the bulk.

    Cell, k-points, smearing and spin are a phase's own.
    """
    return differences(
        calculation.level_of_theory, bulk.level_of_theory, skipped=OF_THE_CELL
    ) + _augmentation(calculation, bulk)


def partly_occupied(calculation: FinishedCalculation) -> bool:
    """Tell whether states are partly occupied, so that the smearing changes the energy."""
    edges = calculation.band_edges
    return abs(calculation.smearing_energy or 0.0) > SMEARED_ENERGY or (
        edges is not None and edges.partial > PARTLY_OCCUPIED
    )


def _plain(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    mine, theirs = getattr(one, name), getattr(other, name)
    return [Difference(name, str(mine), str(theirs))] if mine != theirs else []


def _potcars(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    """Compare per element, since a defect may lack one of them or bring one.

    Of several POTCARs of an element a defect may lack some; pseudo-hydrogens are elements apart.
    """
    mine, theirs = _titles(one), _titles(other)
    return [
        Difference(name, " and ".join(sorted(mine[key])), " and ".join(sorted(theirs[key])))
        for key in sorted(mine.keys() & theirs.keys())
        if mine[key] - theirs[key]
    ]


def _titles(theory: LevelOfTheory) -> dict[str, set[str]]:
    """Return the POTCARs of each element."""
    titles: dict[str, set[str]] = {}
    for title in theory.potcars:
        titles.setdefault(_element(title), set()).add(title)
    return titles


def _element(title: str) -> str:
    word = title.split()[1]
    return word if _PSEUDO_HYDROGEN.fullmatch(word) else word.split("_")[0]


def of_element(theory: LevelOfTheory, element: str) -> LevelOfTheory:
    """Return a level of theory with POTCARs and Hubbard corrections of one element only."""
    terms = None
    if theory.hubbard is not None:
        terms = [term for term in theory.hubbard if term.element == element]
    titles = [title for title in theory.potcars if _element(title) == element]
    return theory.model_copy(update={"potcars": titles, "hubbard": terms})


def _smearing(one: FinishedCalculation, other: FinishedCalculation) -> list[Difference]:
    """Compare where it changes an energy: where states are partly occupied."""
    if not (partly_occupied(one) or partly_occupied(other)):
        return []
    mine, theirs = (_smearing_text(calculation.settings) for calculation in (one, other))
    if mine is None or theirs is None or mine == theirs:
        return []
    return [Difference("smearing", mine, theirs)]


def _smearing_text(settings: dict[str, str]) -> str | None:
    if not settings.get("ISMEAR") or not settings.get("SIGMA"):
        return None
    method = int(number(settings, "ISMEAR", 0))
    # an OUTCAR has two decimals
    width = "" if method in _TETRAHEDRON else f" SIGMA {number(settings, 'SIGMA', 0):.2f} eV"
    return f"ISMEAR {method}{width}"


def _augmentation(one: FinishedCalculation, other: FinishedCalculation) -> list[Difference]:
    """Compare ENAUG where PREC uses it; its default is that of the POTCARs."""
    theories = one.level_of_theory, other.level_of_theory
    mine, theirs = (number(run.settings, "ENAUG", 0.0) for run in (one, other))
    if (
        not mine
        or not theirs
        or abs(mine - theirs) < 0.1
        or any(theory.precision not in _ENAUG_IN_USE for theory in theories)
        or set(theories[0].potcars) != set(theories[1].potcars)
    ):
        return []
    return [Difference("augmentation", f"ENAUG {mine:g} eV", f"{theirs:g} eV")]


def _hubbard(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    """Compare per element that both have, whether corrected or not."""
    mine, theirs = (
        {term.element: term for term in theory.hubbard or []} for theory in (one, other)
    )
    shared = elements(one) & elements(other)
    texts = [
        {
            element: f"{element} U {terms[element].u:g} J {terms[element].j:g} eV"
            if element in terms
            else f"{element} no U"
            for element in shared
        }
        for terms in (mine, theirs)
    ]
    return _per_element(name, *texts)


def elements(theory: LevelOfTheory) -> set[str]:
    """Return the elements of a level of theory, pseudo-hydrogens apart."""
    return set(_titles(theory))


def _per_element(name: str, mine: dict[str, str], theirs: dict[str, str]) -> list[Difference]:
    return [
        Difference(name, mine[element], theirs[element])
        for element in sorted(mine.keys() & theirs.keys())
        if mine[element] != theirs[element]
    ]


def _dispersion(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    """Compare; -1 is any correction."""
    mine, theirs = one.dispersion, other.dispersion
    if -1 in (mine, theirs):
        return [] if mine and theirs else _plain(name, one, other)
    return _plain(name, one, other)


def _kpoints(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    """Compare meshes; where one is not known, the points that the mesh would have.

    Irreducible points of bulk and defect differ by symmetry and are compared only where neither
    mesh is known.
    """
    mesh, other_mesh = one.kpoint_mesh, other.kpoint_mesh
    if mesh is not None and other_mesh is not None:
        same = mesh == other_mesh
    elif mesh is not None:
        same = _is_of(other.kpoints, mesh)
    elif other_mesh is not None:
        same = _is_of(one.kpoints, other_mesh)
    else:
        same = _points(one.kpoints) == _points(other.kpoints)
    return [] if same else [Difference(name, _mesh_text(one), _mesh_text(other))]


def _is_of(points: Sequence[Any], mesh: KpointMesh) -> bool:
    """Tell whether explicit points may be those of a mesh: of it, and enough with symmetry."""
    whole = _points(
        [
            [(i + shift) / n for i, shift, n in zip(index, mesh.shift, mesh.divisions, strict=True)]
            for index in product(*(range(n) for n in mesh.divisions))
        ]
    )
    mine = _points(points)
    # 48 is the order of the largest point group
    return mine <= whole and len(mine) * 48 >= len(whole)


def _points(points: Sequence[Any]) -> set[tuple[float, ...]]:
    """Return points within the first cell, k and -k as one."""
    folded = set()
    for point in points:
        pair = [tuple(np.round(np.mod(np.round(sign * np.array(point), 4), 1.0), 4) % 1.0)
                for sign in (1, -1)]  # fmt: skip
        folded.add(min(pair))
    return folded


def _mesh_text(theory: LevelOfTheory) -> str:
    mesh = theory.kpoint_mesh
    if mesh is None:
        points = [" ".join(f"{x:g}" for x in point) for point in theory.kpoints[:3]]
        more = ", ..." if len(theory.kpoints) > 3 else ""
        return f"{len(theory.kpoints)} explicit points ({', '.join(points)}{more})"
    text = "x".join(str(n) for n in mesh.divisions)
    return f"{text} shifted by {mesh.shift}" if any(mesh.shift) else f"{text} from Gamma"


_SPECIAL: dict[str, Callable[[str, LevelOfTheory, LevelOfTheory], list[Difference]]] = {
    "potcars": _potcars,
    "hubbard": _hubbard,
    "dispersion": _dispersion,
    "kpoints": _kpoints,
}
