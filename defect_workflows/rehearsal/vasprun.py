"""vasprun.xml, written as the run goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from .engine import SinglePoint
from .inputs import Array, Inputs
from .outcar import KBAR
from .parameters import Parameters

# tags that VASP writes as reals even when INCAR has "520"
_REAL_TAGS = frozenset(
    (  # noqa: SIM905
        "ENCUT NELECT EDIFF EDIFFG SIGMA POTIM AEXX HFSCREEN NUPDOWN SYMPREC AMIX BMIX AMIN "
        "AMIX_MAG BMIX_MAG TIME KSPACING EMIN EMAX ENAUG"
    ).split()
)
_GROUPS = {
    "general": "SYSTEM",
    "electronic": "PREC ENMAX EDIFF IALGO NBANDS NELECT",
    "electronic smearing": "ISMEAR SIGMA",
    "electronic projectors": "LREAL LMAXMIX",
    "electronic startup": "ISTART ICHARG",
    "electronic spin": "ISPIN LNONCOLLINEAR NUPDOWN LSORBIT",
    "electronic exchange-correlation": "LASPH METAGGA GGA LHFCALC PRECFOCK AEXX HFSCREEN",
    "electronic convergence": "NELM NELMDL NELMIN",
    "electronic mixer": "AMIX BMIX",
    "grids": "NGX NGY NGZ NGXF NGYF NGZF ADDGRID",
    "ionic": "NSW IBRION ISIF EDIFFG POTIM",
    "symmetry": "ISYM SYMPREC",
    "dos": "LORBIT NEDOS",
    "writing": "LWAVE LCHARG LVTOT LVHAR LELF",
    "miscellaneous": "LDAU LEPSILON LCHIMAG",
    "vdW DFT": "LUSE_VDW IVDW",
}


def _item(tag: str, value: Any) -> str:
    if isinstance(value, bool):
        return f'<i type="logical" name="{tag}"> {"T" if value else "F"}  </i>'
    if isinstance(value, int):
        return f'<i type="int" name="{tag}">{value:6d}</i>'
    if isinstance(value, float):
        return f'<i name="{tag}">{value:16.8f}</i>'
    return f'<i type="string" name="{tag}">{escape(value)}</i>'


def _incar_item(tag: str, text: str) -> str:
    """Item of the <incar> block, its type guessed from how the value is written."""
    if re.fullmatch(r"\.?(T|F|TRUE|FALSE)\.?", text, re.IGNORECASE):
        return _item(tag, text.strip(".").upper().startswith("T"))
    if re.fullmatch(r"[+-]?\d+", text) and tag not in _REAL_TAGS:
        return _item(tag, int(text))
    number = r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?"
    if re.fullmatch(number, text):
        return _item(tag, float(re.sub("[dD]", "E", text)))
    if re.fullmatch(rf"((\d+\*)?{number}\s*)+", text):
        return f'<v name="{tag}">{" ".join(_expanded(text))}</v>'
    return _item(tag, text)


def _expanded(text: str) -> Iterable[str]:
    """Numbers of a list, `3*0.5` written out."""
    for part in text.split():
        count, _, value = part.rpartition("*")
        yield from [value] * int(count or 1)


def _rows(array: Array, decimals: int = 8) -> list[str]:
    return ["<v>" + "".join(f"{x:17.{decimals}f}" for x in row) + " </v>" for row in array]


class Vasprun:
    """Writes vasprun.xml; each method appends one element and flushes it."""

    def __init__(self, path: Path, program: str, inputs: Inputs, parameters: Parameters) -> None:
        self._file = path.open("w", encoding="ISO-8859-1", errors="xmlcharrefreplace")
        self._inputs, self._parameters = inputs, parameters
        self._write(
            '<?xml version="1.0" encoding="ISO-8859-1"?>',
            "<modeling>",
            "<generator>",
            _item("program", "mock-vasp"),
            _item("version", "6.4.3"),
            _item("subversion", program),
            _item("platform", "rehearsal"),
            _item("date", time.strftime("%Y %m %d")),
            _item("time", time.strftime("%H:%M:%S")),
            "</generator>",
            "<incar>",
            *(_incar_item(tag, text) for tag, text in inputs.incar.items()),
            "</incar>",
        )

    def setup(self, n_bands: int, grid: tuple[int, int, int]) -> None:
        """K-points, parameters, atoms and starting structure."""
        nx, ny, nz = grid
        values = self._parameters.values | {
            "ENMAX": self._parameters["ENCUT"],
            "NBANDS": n_bands,
            "NGX": nx,
            "NGY": ny,
            "NGZ": nz,
            "NGXF": nx,
            "NGYF": ny,
            "NGZF": nz,
        }
        self._write(
            "<kpoints>",
            '<generation param="Gamma">',
            '<v type="int" name="divisions"> 1 1 1 </v>',
            '<v name="usershift"> 0.0 0.0 0.0 </v>',
            '<v name="genvec1"> 1.0 0.0 0.0 </v>',
            '<v name="genvec2"> 0.0 1.0 0.0 </v>',
            '<v name="genvec3"> 0.0 0.0 1.0 </v>',
            '<v name="shift"> 0.0 0.0 0.0 </v>',
            "</generation>",
            '<varray name="kpointlist" >',
            "<v> 0.00000000 0.00000000 0.00000000 </v>",
            "</varray>",
            '<varray name="weights" >',
            "<v> 1.00000000 </v>",
            "</varray>",
            "</kpoints>",
            "<parameters>",
        )
        for group, tags in _GROUPS.items():
            items = [_item(tag, values[tag]) for tag in tags.split()]
            self._write(f'<separator name="{group}" >', *items, "</separator>")
        self._write("</parameters>", *self._atominfo())
        self._structure("initialpos", self._inputs.poscar.fractional)

    def _atominfo(self) -> list[str]:
        poscar = self._inputs.poscar
        blocks = list(zip(poscar.counts, self._inputs.potcar, strict=True))
        return [
            "<atominfo>",
            f"<atoms>{sum(poscar.counts):8d} </atoms>",
            f"<types>{len(poscar.counts):8d} </types>",
            '<array name="atoms" >',
            '<dimension dim="1">ion</dimension>',
            '<field type="string">element</field>',
            '<field type="int">atomtype</field>',
            "<set>",
            *(
                f"<rc><c>{potential.element:2s}</c><c>{kind:4d}</c></rc>"
                for kind, (count, potential) in enumerate(blocks, start=1)
                for _ in range(count)
            ),
            "</set>",
            "</array>",
            '<array name="atomtypes" >',
            '<dimension dim="1">type</dimension>',
            '<field type="int">atomspertype</field>',
            '<field type="string">element</field>',
            "<field>mass</field>",
            "<field>valence</field>",
            '<field type="string">pseudopotential</field>',
            "<set>",
            *(
                f"<rc><c>{count:4d}</c><c>{potential.element:2s}</c><c>{potential.mass:16.8f}</c>"
                f"<c>{potential.valence:16.8f}</c><c>{escape(potential.header):40s}</c></rc>"
                for count, potential in blocks
            ),
            "</set>",
            "</array>",
            "</atominfo>",
        ]

    def _structure(self, name: str | None, fractional: Array) -> None:
        poscar = self._inputs.poscar
        reciprocal = np.linalg.inv(poscar.lattice).T
        self._write(
            f'<structure name="{name}" >' if name else "<structure>",
            "<crystal>",
            '<varray name="basis" >',
            *_rows(poscar.lattice),
            "</varray>",
            f'<i name="volume">{poscar.volume:16.8f} </i>',
            '<varray name="rec_basis" >',
            *_rows(reciprocal),
            "</varray>",
            "</crystal>",
            '<varray name="positions" >',
            *_rows(fractional % 1),
            "</varray>",
        )
        if name and poscar.movable is not None:
            flags = [" ".join("T" if flag else "F" for flag in row) for row in poscar.movable]
            self._write(
                '<varray type="logical" name="selective" >',
                *(f"<v> {row} </v>" for row in flags),
                "</varray>",
            )
        self._write("</structure>")

    def ionic_step(self, fractional: Array, point: SinglePoint, seconds: float, last: bool) -> None:
        """One <calculation>; the last one carries eigenvalues and density of states."""
        self._write("<calculation>")
        for cycle in point.cycles:
            self._write("<scstep>", *_energies(cycle.energy), "</scstep>")
        self._structure(None, fractional)
        stress = -point.virial / self._inputs.poscar.volume * KBAR
        self._write(
            '<varray name="forces" >',
            *_rows(point.forces),
            "</varray>",
            '<varray name="stress" >',
            *_rows(stress),
            "</varray>",
            *_energies(point.energy),
            f'<time name="totalsc">{seconds:8.2f}{seconds:8.2f}</time>',
        )
        if last:
            self._write(*self._eigenvalues(point), *self._dos(point))
        self._write("</calculation>")

    def _eigenvalues(self, point: SinglePoint) -> list[str]:
        rows = [
            f"<r>{energy:10.4f}{occupation / 2:10.4f} </r>"
            for energy, occupation in zip(point.eigenvalues, point.occupations, strict=True)
        ]
        spins: list[str] = []
        for spin in range(1, self._parameters["ISPIN"] + 1):
            spins += [f'<set comment="spin {spin}">', '<set comment="kpoint 1">']
            spins += [*rows, "</set>", "</set>"]
        return [
            "<eigenvalues>",
            "<array>",
            '<dimension dim="1">band</dimension>',
            '<dimension dim="2">kpoint</dimension>',
            '<dimension dim="3">spin</dimension>',
            "<field>eigene</field>",
            "<field>occ</field>",
            "<set>",
            *spins,
            "</set>",
            "</array>",
            "</eigenvalues>",
        ]

    def _dos(self, point: SinglePoint) -> list[str]:
        """Total density of states: the orbitals broadened by Gaussians of width SIGMA."""
        width = max(self._parameters["SIGMA"], 0.05)
        energies = np.linspace(
            point.eigenvalues.min() - 1, point.eigenvalues.max() + 1, self._parameters["NEDOS"]
        )
        distances = (energies[:, None] - point.eigenvalues) / width
        density = np.exp(-(distances**2) / 2).sum(axis=1) / (width * np.sqrt(2 * np.pi))
        density *= 2 / self._parameters["ISPIN"]
        integral = np.cumsum(density) * (energies[1] - energies[0])
        rows = [
            f"<r>{e:12.4f}{d:12.4f}{i:12.4f} </r>"
            for e, d, i in zip(energies, density, integral, strict=True)
        ]
        spins: list[str] = []
        for spin in range(1, self._parameters["ISPIN"] + 1):
            spins += [f'<set comment="spin {spin}">', *rows, "</set>"]
        return [
            "<dos>",
            f'<i name="efermi">{point.fermi_energy:16.8f} </i>',
            "<total>",
            "<array>",
            '<dimension dim="1">gridpoints</dimension>',
            '<dimension dim="2">spin</dimension>',
            "<field>energy</field>",
            "<field>total</field>",
            "<field>integrated</field>",
            "<set>",
            *spins,
            "</set>",
            "</array>",
            "</total>",
            "</dos>",
        ]

    def finish(self, fractional: Array) -> None:
        """Final structure and the end of the document."""
        self._structure("finalpos", fractional)
        self._write("</modeling>")
        self._file.close()

    def _write(self, *lines: str) -> None:
        self._file.write("\n".join(lines) + "\n")
        self._file.flush()


def _energies(energy: float) -> list[str]:
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    return ["<energy>", *(f'<i name="{name}">{energy:16.8f} </i>' for name in names), "</energy>"]
