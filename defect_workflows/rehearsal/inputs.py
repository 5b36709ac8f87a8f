"""INCAR, POSCAR, KPOINTS and POTCAR, read as VASP reads them.

pymatgen reads these files too, but importing it costs more than a small single point, and
`mock-vasp` starts hundreds of times in a campaign: only numpy is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defect_workflows.errors import InputError

Array = NDArray[np.float64]

_ELEMENTS = (  # noqa: SIM905
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se "
    "Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy "
    "Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
).split()
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(_ELEMENTS, start=1)}
"""Elements with xTB parameters, H to Rn."""


class Incar(dict[str, str]):
    """INCAR tags (upper case) and their values as written.

    Follows VASP: comments after ``#`` or ``!``, several tags on a line separated by ``;``, lines
    continued with a trailing backslash, the first of two equal tags wins.
    """

    @classmethod
    def from_text(cls, text: str) -> Incar:
        """Parse the text of an INCAR.

        Raises
        ------
        InputError
            A line that is neither a comment nor ``TAG = value``.
        """
        incar = cls()
        text = re.sub(r"\\[ \t]*(?:[#!][^\n]*)?\n", " ", text)
        for line in text.splitlines():
            for statement in re.split(r"[#!]", line, maxsplit=1)[0].split(";"):
                if not statement.strip():
                    continue
                tag, equals, value = statement.partition("=")
                if not equals or not tag.strip():
                    raise InputError(f"INCAR: found {statement.strip()!r}, expected 'TAG = value'")
                incar.setdefault(tag.strip().upper(), value.strip())
        return incar

    def flag(self, tag: str, default: bool) -> bool:
        """Value of a logical tag: ``.TRUE.``, ``T``, ``True``, ``.F.``, ..."""
        match = re.match(r"\.?([TF])", self.get(tag, str(default)), re.IGNORECASE)
        if match is None:
            raise InputError(f"INCAR: {tag} is {self[tag]!r}, expected .TRUE. or .FALSE.")
        return match[1].upper() == "T"

    def integer(self, tag: str, default: int) -> int:
        """Value of an integer tag."""
        return self._convert(tag, int, "an integer", default)

    def number(self, tag: str, default: float) -> float:
        """Value of a real tag; Fortran's ``1d-5`` is understood."""
        return self._convert(tag, lambda v: float(re.sub("[dD]", "E", v)), "a number", default)

    def _convert[T](self, tag: str, convert: Callable[[str], T], kind: str, default: T) -> T:
        if tag not in self:
            return default
        try:
            return convert(self[tag].split()[0])
        except (ValueError, IndexError):
            raise InputError(f"INCAR: {tag} is {self[tag]!r}, expected {kind}") from None


@dataclass(frozen=True)
class Poscar:
    """A structure as POSCAR gives it.

    Attributes
    ----------
    comment : str
        First line.
    lattice : array of shape (3, 3)
        Lattice vectors in rows, Å.
    species : list of str
        Element of each block of atoms.
    counts : list of int
        Number of atoms in each block.
    fractional : array of shape (n_atoms, 3)
        Fractional coordinates.
    movable : boolean array of shape (n_atoms, 3), or None
        Selective dynamics: which fractional coordinate may change.
    """

    comment: str
    lattice: Array
    species: list[str]
    counts: list[int]
    fractional: Array
    movable: NDArray[np.bool_] | None = None

    @property
    def symbols(self) -> list[str]:
        """Element of each atom."""
        return [s for s, n in zip(self.species, self.counts, strict=True) for _ in range(n)]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Atomic number of each atom."""
        unknown = sorted(set(self.species) - ATOMIC_NUMBERS.keys())
        if unknown:
            raise InputError(f"POSCAR: element {unknown[0]!r} has no xTB parameters (H to Rn have)")
        return np.array([ATOMIC_NUMBERS[symbol] for symbol in self.symbols])

    @property
    def volume(self) -> float:
        """Volume of the cell, Å^3."""
        return float(abs(np.linalg.det(self.lattice)))

    @classmethod
    def from_text(cls, text: str) -> Poscar:
        """Parse the text of a POSCAR with element symbols (VASP 5 format).

        Raises
        ------
        InputError
            A line that cannot be read, or symbols missing.
        """
        lines = text.splitlines()
        try:
            lattice = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]])
            scale = [float(x) for x in lines[1].split()]
            if len(scale) == 1 and scale[0] < 0:  # minus the volume
                scale = [(-scale[0] / abs(np.linalg.det(lattice))) ** (1 / 3)]
            lattice = lattice * scale
            species = [re.split(r"[/_]", name)[0] for name in lines[5].split()]
            if not species or species[0].isdigit():
                raise InputError("POSCAR line 6: found numbers, expected the element symbols")
            counts = [int(n) for n in lines[6].split()]
            line = 7
            selective = lines[line].strip()[:1].upper() == "S"
            line += selective
            cartesian = lines[line].strip()[:1].upper() in ("C", "K")
            rows = [row.split() for row in lines[line + 1 : line + 1 + sum(counts)]]
            coordinates = np.array([[float(x) for x in row[:3]] for row in rows])
            if coordinates.shape != (sum(counts), 3) or len(species) != len(counts):
                raise InputError(f"POSCAR: {sum(counts)} atoms announced, {len(rows)} found")
            movable = None
            if selective:
                movable = np.array([[f.upper() in ("T", ".TRUE.") for f in r[3:6]] for r in rows])
        except (ValueError, IndexError) as error:
            raise InputError(f"POSCAR: cannot be read ({error})") from None
        if cartesian:
            coordinates = coordinates * scale @ np.linalg.inv(lattice)
        return cls(lines[0].strip(), lattice, species, counts, coordinates, movable)


@dataclass(frozen=True)
class Potential:
    """What the header of one POTCAR says: energies in eV, mass in u."""

    header: str
    titel: str
    element: str
    vrhfin: str
    lexch: str
    mass: float
    valence: float
    enmax: float
    enmin: float


def read_potcar(text: str) -> list[Potential]:
    """Read the headers of a POTCAR.

    Raises
    ------
    InputError
        No dataset, or one without TITEL, ZVAL or ENMAX.
    """
    potentials = []
    for dataset in text.split("End of Dataset"):
        if not dataset.strip():
            continue
        header = dataset.strip().splitlines()[0].strip()

        def value(key: str, dataset: str = dataset, header: str = header) -> str:
            match = re.search(rf"{key}\s*=\s*([^;\n]*)", dataset)
            if match is None:
                raise InputError(f"POTCAR: {header!r} has no {key}")
            return match[1].strip()

        potentials.append(
            Potential(
                header=header,
                titel=value("TITEL"),
                element=re.split(r"[_.]|\d", value("TITEL").split()[1])[0],
                vrhfin=value("VRHFIN"),
                lexch=value("LEXCH"),
                mass=float(value("POMASS").split()[0]),
                valence=float(value("ZVAL").split()[0]),
                enmax=float(value("ENMAX").split()[0]),
                enmin=float(value("ENMIN").split()[0]),
            )
        )
    if not potentials:
        raise InputError("POTCAR: empty, expected one dataset for each element")
    return potentials


def unhonoured_kpoints(text: str | None, incar: Incar) -> str | None:
    """Say which k-points were asked for, or None when it was the Gamma point only."""
    if text is None:
        return f"KSPACING = {incar.number('KSPACING', 0.5):g} (no KPOINTS file)"
    lines = [line.strip() for line in text.splitlines()]
    try:
        number, mode = int(lines[1].split()[0]), lines[2][:1].upper()
        if number == 0 and mode in ("G", "M"):
            mesh = [int(n) for n in lines[3].split()[:3]]
            shift = [float(x) for x in lines[4].split()[:3]] if len(lines) > 4 and lines[4] else []
            is_gamma = mesh == [1, 1, 1] and not any(shift)
            asked = f"{lines[2]} mesh {' '.join(map(str, mesh))}" + (
                f" shifted by {lines[4]}" if any(shift) else ""
            )
        elif number == 0:
            is_gamma, asked = False, f"{lines[2]} {lines[3]}"
        else:
            first = [float(x) for x in lines[3].split()[:3]]
            is_gamma = number == 1 and not any(first)
            asked = f"{number} explicit k-points"
    except (ValueError, IndexError):
        raise InputError("KPOINTS: cannot be read") from None
    return None if is_gamma else asked


@dataclass(frozen=True)
class Inputs:
    """The four input files of a VASP run."""

    incar: Incar
    poscar: Poscar
    potcar: list[Potential]
    kpoints: str | None
    """Text of KPOINTS, None without one."""

    @classmethod
    def from_directory(cls, directory: Path) -> Inputs:
        """Read the input files.

        Raises
        ------
        InputError
            A file is missing or unreadable, or POSCAR and POTCAR disagree.
        """

        def text(name: str) -> str:
            try:
                return (directory / name).read_text()
            except FileNotFoundError:
                raise InputError(f"{name}: not found in the working directory") from None

        poscar = Poscar.from_text(text("POSCAR"))
        potcar = read_potcar(text("POTCAR"))
        elements = [potential.element for potential in potcar]
        if elements != poscar.species:
            raise InputError(
                f"POTCAR: found {' '.join(elements)}, POSCAR expects {' '.join(poscar.species)}"
            )
        kpoints = text("KPOINTS") if (directory / "KPOINTS").is_file() else None
        return cls(Incar.from_text(text("INCAR")), poscar, potcar, kpoints)
