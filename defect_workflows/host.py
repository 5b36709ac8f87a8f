"""The host's structure file: read as it stands, or refused in one line. Nothing is guessed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from monty.io import zopen
from pymatgen.core import Element, Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.registry import get_structure_format

from defect_workflows.errors import InputError
from defect_workflows.moments import collinear_moments, with_moments
from defect_workflows.vacuum import vacuum_geometry

SHORTEST_CONTACT = 0.5
"""Atoms closer than this share of the sum of their covalent radii are on top of each other."""

DENSE = 0.6
"""Under pressure some metals become semiconductors: below this share of the ambient volume."""

_MOLAR = 1.66054
"""Å^3 per atom for 1 cm^3/mol."""

# What pymatgen says of files that it reads as they are.
_HARMLESS = re.compile(
    r"fractional coordinates rounded to ideal values|Skipping relative stoichiometry check|"
    r"Spacegroup from .* used|1-line symmetry op P1|Keys changed to match new magCIF|"
    r"Cannot determine chemical composition from CIF|"  # of symbols like O2-, for a check
    r"selective dynamics|Pauling electronegativity",
    re.IGNORECASE,
)


def read_host(path: Path) -> Structure:
    """Read the host of a campaign: elements, positions and magnetic moments, nothing else.

    What a file has besides (selective dynamics, velocities, oxidation states, labels) says nothing
    of what is calculated and is left out.

    Returns
    -------
    Structure
        With the site property ``magmom`` if the host has a magnetic order.

    Raises
    ------
    InputError
        If the file is missing or unreadable, leaves something to be guessed, or holds no ordered,
        neutral crystal that may have a band gap.
    """
    if not path.is_file():
        raise InputError(f"{path}: host: no such file, expected a structure file")
    try:
        structure = _read(path)
        _check_sites(structure)
        _check_charge(structure)
        if (geometry := vacuum_geometry(structure)) is not None:
            raise _RefusedError(
                f"found vacuum (a {geometry}), expected a crystal in three directions"
            )
        _check_not_metal(structure)
        moments = collinear_moments(structure)
    except _RefusedError as error:
        raise InputError(f"{path}: host: {error}") from None
    except Exception as error:  # pymatgen raises whatever its parsers raise
        raise InputError(
            f"{path}: host: not a structure that pymatgen reads "
            f"({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        ) from None
    plain = Structure(
        structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords
    )
    return with_moments(plain, moments)


class _RefusedError(ValueError):
    """What is wrong with a host."""


def _read(path: Path) -> Structure:
    kind = get_structure_format(filename=str(path)).name
    if kind == "poscar":
        _check_poscar(_text(path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        structure = _of_cif(_text(path)) if kind in ("cif", "mcif") else Structure.from_file(path)
    if not structure.is_ordered:
        site = next(site for site in structure if not site.is_ordered)
        raise _RefusedError(
            f"found partial occupancies ({site.species}), expected an ordered structure"
        )
    for warning in caught:
        if not issubclass(warning.category, UserWarning):
            continue
        lines = str(warning.message).removeprefix("Issues encountered while parsing CIF: ")
        for line in filter(str.strip, lines.splitlines()):
            if not _HARMLESS.search(line):
                raise _RefusedError(
                    f"found what pymatgen can only guess ({' '.join(line.split())[:150]}), "
                    "expected a file that says it"
                )
    return structure


def _text(path: Path) -> str:
    with zopen(path, mode="rt", encoding="utf-8", errors="replace") as file:
        return str(file.read())


def _of_cif(text: str) -> Structure:
    """Read the only structure of a CIF; blocks without atoms tell of the publication."""
    blocks = [
        block
        for block in re.split(r"^(?=data_)", text, flags=re.MULTILINE | re.IGNORECASE)
        if re.search(r"^\s*_atom_site[_.]fract_x", block, re.MULTILINE | re.IGNORECASE)
    ]
    if not blocks:
        raise ValueError("no _atom_site_fract_x")
    if len(blocks) != 1:
        raise _RefusedError(f"found {len(blocks)} structures, expected one")
    parser = CifParser.from_str(blocks[0])
    (content,) = parser.as_dict().values()
    # pymatgen takes what is unknown for 1
    if unknown := {"?", "."} & set(content.get("_atom_site_occupancy", [])):
        raise _RefusedError(f"found occupancy {unknown.pop()}, expected an ordered structure")
    (structure,) = parser.parse_structures(primitive=False)
    return structure


def _check_poscar(text: str) -> None:
    """Refuse what VASP may know from a POTCAR, and what pymatgen would fill in or leave out."""
    lines = [line.split("!")[0].split("#")[0] for line in text.splitlines()]
    if len(lines) < 7:
        raise _RefusedError(f"found {len(lines)} lines, expected a POSCAR")
    if len(lines[1].split()) == 3:
        raise _RefusedError("found three scaling factors (line 2), expected one")
    words = lines[5].split()
    if words and words[0].isdigit():
        raise _RefusedError(
            f"found no elements ({' '.join(words)} atoms in line 6), expected the line with their "
            "names before it"
        )
    names: list[str] = []
    counts: list[str] = []
    for line in lines[5:]:
        row = line.split()
        if counts and not (row and row[0].isdigit() and len(counts) < len(names)):
            break
        (counts if row and row[0].isdigit() else names).extend(row)
    if len(names) != len(counts):
        raise _RefusedError(
            f"found {len(names)} elements ({' '.join(names)[:60]}) and {len(counts)} numbers of "
            "atoms, expected one for each"
        )


def _check_sites(structure: Structure) -> None:
    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in structure])
    first, second, _, distances = structure.get_neighbor_list(
        2 * SHORTEST_CONTACT * float(radii.max()), exclude_self=True
    )
    if not len(distances):
        return
    contacts = distances / (radii[first] + radii[second])
    worst = int(np.argmin(contacts))
    if contacts[worst] < SHORTEST_CONTACT:
        i, j = sorted((int(first[worst]), int(second[worst])))
        raise _RefusedError(
            f"found atoms {i + 1} ({structure[i].specie.symbol}) and {j + 1} "
            f"({structure[j].specie.symbol}) {distances[worst]:.2f} Å apart, expected a crystal "
            "without atoms on top of each other (in Å)"
        )


def _check_charge(structure: Structure) -> None:
    charges = {
        "charge": structure.charge,
        'properties["charge"]': structure.properties.get("charge") or 0,
    }
    for where, charge in charges.items():
        if abs(charge) > 1e-3:
            raise _RefusedError(
                f"found {where} {charge:+g} (given, or the sum of the oxidation states), expected "
                "a neutral host: defects are what carries charge"
            )


def _check_not_metal(structure: Structure) -> None:
    """Refuse what is a metal beyond doubt; whatever else has no gap shows at its calculation."""
    if len(structure.composition.elements) > 1:
        return
    element = Element(structure[0].specie.symbol)
    metallic = (
        element.is_alkali
        or element.is_alkaline
        or element.is_transition_metal
        or element.is_rare_earth
        or element.symbol in ("Al", "Ga", "In", "Tl", "Pb", "Zn", "Cd", "Hg")
    )
    ambient = _MOLAR * float(element.molar_volume or 0.0)
    if metallic and structure.volume / len(structure) > DENSE * ambient:
        raise _RefusedError(
            f"found the metal {element.symbol}, expected a host with a band gap (no_band_gap)"
        )
