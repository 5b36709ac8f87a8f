"""One level of theory a fidelity: what must be equal, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from pymatgen.core import Structure

from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.labels import KpointMesh, Label, LevelOfTheory
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import LevelOfTheoryError

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
    "cell": "cell_mismatch",
}
"""Stable code of the warning per setting."""


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
        return f"{self.setting}: {self.one} != {self.other}"

    @property
    def code(self) -> str:
        """Stable code of the warning."""
        return CODES[self.setting]


def differences(
    one: LevelOfTheory,
    other: LevelOfTheory,
    across_fidelities: bool = False,
    same_cell: bool = True,
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
    """
    skipped = {"kpoint_mesh"} | (_OF_THE_FIDELITY if across_fidelities else set())
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


def consistency_warnings(
    name: str, calculation: FinishedCalculation, bulk: FinishedCalculation
) -> list[LevelWarning]:
    """Return one warning per setting in which a calculation differs from its bulk.

    Parameters
    ----------
    name
        Name of the state, for the messages.
    calculation, bulk
        The two calculations; each message has the bulk's value last.
    """
    found = differences(calculation.level_of_theory, bulk.level_of_theory)
    found += cell_difference(calculation.structure, bulk.structure)
    return [
        LevelWarning(
            code=item.code,
            message=f"{name}: {item.setting}: found {item.one}, the bulk has {item.other}",
        )
        for item in found
    ]


def check_one_level_of_theory(
    labels: Sequence[Label], differing: Collection[str] = frozenset()
) -> None:
    """Check that labels of a fidelity agree, and fidelities but for the functional.

    Parameters
    ----------
    labels
        The labels.
    differing
        Further settings in which the user asked the fidelities to differ (`DftSettings.differing`).

    Raises
    ------
    LevelOfTheoryError
        Names the setting and the two values; or if labels of a rehearsal are among real ones.
    """
    first: dict[str, Label] = {}
    for label in labels:
        for fidelity, reference in first.items():
            cells = cell_difference(
                reference.configuration.structure, label.configuration.structure
            )
            across = fidelity != label.fidelity
            found: list[object] = [
                item
                for item in differences(
                    reference.level_of_theory,
                    label.level_of_theory,
                    across_fidelities=across,
                    same_cell=not cells,
                )
                if not (across and item.setting in differing)
            ]
            if reference.rehearsal != label.rehearsal:
                found.append("one of them is a rehearsal's")
            if found:
                raise LevelOfTheoryError(
                    f"{label.configuration.origin.state} at {label.fidelity} against "
                    f"{reference.configuration.origin.state} at {fidelity}: "
                    f"{'; '.join(map(str, found))}"
                )
        first.setdefault(label.fidelity, label)


def _plain(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    mine, theirs = getattr(one, name), getattr(other, name)
    return [Difference(name, str(mine), str(theirs))] if mine != theirs else []


def _potcars(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    """Compare per element, since a defect may lack one of them or bring one."""
    mine, theirs = (
        {title.split()[1].split("_")[0]: title for title in theory.potcars}
        for theory in (one, other)
    )
    return _per_element(name, mine, theirs)


def _hubbard(name: str, one: LevelOfTheory, other: LevelOfTheory) -> list[Difference]:
    """Compare per element that both have, whether corrected or not."""
    mine, theirs = (
        {term.element: term for term in theory.hubbard or []} for theory in (one, other)
    )
    shared = _elements(one) & _elements(other)
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


def _elements(theory: LevelOfTheory) -> set[str]:
    return {title.split()[1].split("_")[0] for title in theory.potcars}


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
