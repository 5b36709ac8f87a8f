"""vasprun.xml, read step by step: a file that is cut off still gives its complete ionic steps.

pymatgen's `Vasprun` turns numbers that are none into NaN with a warning, opens a file by its name
and keeps densities of states and projections in memory; labels and levels need none of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from lxml import etree

from defect_workflows.dft.projections import window
from defect_workflows.dft.raw import (
    KILOBAR,
    NOT_ECHOED,
    REHEARSAL_MARK,
    Bands,
    Projections,
    Run,
    Species,
    Step,
    element,
    is_relaxation,
    numbers,
)

_HEADER = ("generator", "incar", "kpoints", "parameters", "atominfo")
_LARGE = ("dos", "projected", "dynmat", "eigenvalues_kpoints_opt", "projected_kpoints_opt")
_TAGS = (*_HEADER, *_LARGE, "structure", "calculation", "modeling")
_VASPS_OWN = {"ENCUT": "ENMAX"}


def parse_vasprun(content: bytes, partial: bool = False, projections: bool = False) -> Run:
    """Return what a vasprun.xml says.

    Parameters
    ----------
    content
        Of the file.
    partial
        Accept a file that is cut off; its complete ionic steps count.
    projections
        Also read the weights of atomic orbitals.

    Raises
    ------
    ValueError
        One line: what is missing or no number.
    """
    if content.count(b"<modeling>") > 1:
        raise ValueError(
            "holds several runs, one appended to the other: split it into one file each"
        )
    header: dict[str, Any] = {}
    steps: list[Step] = []
    left_out: list[str] = []
    bands, movable, ended = None, None, False
    weights_of: dict[int, Projections] = {}
    fermi_energy = float("nan")
    try:
        for tag, node in _elements(content):
            if tag in _HEADER:
                header.setdefault(tag, _HEADER_PARSERS[tag](node))
            elif tag == "structure" and node.get("name") == "initialpos":
                movable = _movable(node)
            elif tag == "calculation":
                number = len(steps) + len(left_out) + 1
                step = _step(node, number, _limit(header))
                bands = _bands(node, header) or bands if step else bands
                steps += [step] if step else []
                left_out += [] if step else [f"step {number}: found no energy or structure"]
            elif tag == "dos":
                fermi_energy = float(_values(node).get("efermi", "nan"))
            elif tag == "projected" and projections:
                found = _projections(node, header, fermi_energy)
                weights_of = {len(steps) + len(left_out) + 1: found} if found else {}
            elif tag == "modeling":
                ended = True
    except etree.XMLSyntaxError as error:
        if not partial:
            raise ValueError(f"is cut off or broken ({_one_line(error)})") from None
    if missing := [tag for tag in _HEADER if tag not in header]:
        raise ValueError(f"found no <{missing[0]}>, expected the output of VASP")
    settings = header["parameters"] | header["incar"]
    # what the INCAR asks for and what VASP took are two things
    settings |= {k: header["parameters"][v] for k, v in _VASPS_OWN.items()}
    settings["NELECT"] = header["parameters"]["NELECT"]
    settings = NOT_ECHOED | {"LDAU": "F"} | settings
    if not np.isfinite(numbers(settings["NELECT"])).all():
        raise ValueError(f"NELECT: found {settings['NELECT']}, expected a number")
    kpoints, weights, divisions = header["kpoints"]
    if bands is not None:
        bands.check(settings)
    if not ended and not left_out:
        left_out.append(f"step {len(steps) + 1}: the run ended in it")
    return Run(
        species=header["atominfo"],
        settings=settings,
        kpoints=kpoints,
        weights=weights,
        divisions=divisions,
        steps=steps,
        left_out=left_out,
        bands=bands,
        ended=ended,
        ionic_converged=_relaxed(settings, steps, movable) if is_relaxation(settings) else None,
        rehearsal=header["generator"].get("program", "").strip() == REHEARSAL_MARK,
        magnetization=bands.magnetization() if bands is not None else None,
        projections=weights_of.get(steps[-1].number) if steps else None,
    )


def _elements(content: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the elements that count when they are complete, and forget the large ones."""
    events = etree.iterparse(BytesIO(content), events=("end",), tag=_TAGS, huge_tree=True)
    for _, node in events:
        yield node.tag, node
        if node.tag in (*_LARGE, "calculation"):
            node.clear()


def _limit(header: dict[str, Any]) -> int:
    return int(float(header.get("parameters", {}).get("NELM", 0)))


def _values(node: Any) -> dict[str, str]:
    values: dict[str, str] = {}
    for item in node.iter("i", "v"):
        if item.get("name"):
            # VASP repeats NELM, with another meaning, among the settings of linear response
            values.setdefault(item.get("name").strip(), (item.text or "").strip())
    return values


def _kpoints(node: Any) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int] | None]:
    points, weights = (_array(node, name) for name in ("kpointlist", "weights"))
    if points is None or weights is None:
        raise ValueError("found no list of k-points")
    divisions = None
    generation = node.find("generation")
    if generation is not None and generation.get("param") != "listgenerated":
        words = _values(generation).get("divisions", "").split()
        if len(words) == 3:
            divisions = (int(words[0]), int(words[1]), int(words[2]))
    return points, weights.ravel(), divisions


def _atominfo(node: Any) -> list[Species]:
    rows = node.findall("array[@name='atomtypes']/set/rc")
    cells = [[(cell.text or "").strip() for cell in row] for row in rows]
    if not cells or any(len(row) != 5 for row in cells):
        raise ValueError("found no table of atom types")
    return [
        Species(title, float(valence), int(count), element(title))
        for count, _, _, valence, title in cells
    ]


_HEADER_PARSERS = {
    "generator": _values,
    "incar": _values,
    "kpoints": _kpoints,
    "parameters": _values,
    "atominfo": _atominfo,
}


def _step(node: Any, number: int, limit: int) -> Step | None:
    energies = _energies(node)
    structure = node.find("structure")
    if energies is None or structure is None:
        return None
    free, at_zero = energies["e_fr_energy"], energies["e_0_energy"]
    cycles = node.findall("scstep")
    last = _energies(cycles[-1]) if cycles else None
    if last is not None and np.isfinite(last["e_0_energy"]):
        # some versions of VASP write another energy here: the entropy is that of the last cycle
        at_zero = free + last["e_0_energy"] - last["e_fr_energy"]
    lattice, positions = (_array(structure, name) for name in ("basis", "positions"))
    if lattice is None or positions is None:
        return None
    stress = _array(node, "stress")
    return Step(
        number=number,
        lattice=lattice,
        positions=positions,
        energy=at_zero,
        free_energy=free,
        forces=_array(node, "forces"),
        stress=None if stress is None else -KILOBAR * stress,
        # an energy without any cycle is that of a machine-learned force field
        scf_converged=0 < len(cycles) < limit,
    )


def _energies(node: Any) -> dict[str, float] | None:
    found = node.find("energy")
    if found is None:
        return None
    values = {name: float(numbers(text)[0]) for name, text in _values(found).items() if text}
    if "e_fr_energy" not in values:
        return None
    values.setdefault("e_0_energy", float("nan"))
    return values


def _array(node: Any, name: str) -> np.ndarray | None:
    # `iter` finds the basis within the crystal, `find` with a path is slower
    for array in node.iter("varray"):
        if array.get("name") == name:
            return _table(row.text for row in array)
    return None


def _table(rows: Iterable[str | None]) -> np.ndarray:
    lines = [row or "" for row in rows]
    values = numbers(" ".join(lines))
    if not lines or values.size % len(lines):
        raise ValueError("found a table with rows of different length")
    return values.reshape(len(lines), -1)


def _bands(node: Any, header: dict[str, Any]) -> Bands | None:
    spins = node.findall("eigenvalues/array/set/set")
    if not spins or "kpoints" not in header:
        return None
    kpoints, weights, _ = header["kpoints"]
    tables = [
        [_table(row.text for row in kpoint.findall("r")) for kpoint in spin.findall("set")]
        for spin in spins
    ]
    if {len(spin) for spin in tables} != {len(kpoints)}:
        return None
    values = np.array(tables)
    return Bands(values[..., 0], values[..., 1], kpoints, weights)


def _projections(node: Any, header: dict[str, Any], fermi_energy: float) -> Projections | None:
    bands = _bands(node.getparent(), header)
    if bands is None:
        return None
    first, behind = window(bands)
    # without collinear spin the sets behind the first are magnetizations
    spins = node.findall("array/set/set")[: len(bands.energies)]
    tables = [
        [
            [_table(row.text for row in band.findall("r")) for band in kpoint[first:behind]]
            for kpoint in spin.findall("set")
        ]
        for spin in spins
    ]
    weights = np.array(tables)
    if weights.ndim != 5 or not np.isfinite(weights).all():
        return None
    if not np.isfinite(fermi_energy):
        edges = bands.edges()
        fermi_energy = (edges.vbm + edges.cbm) / 2 if edges else 0.0
    return Projections(first, weights, fermi_energy)


def _movable(node: Any) -> np.ndarray | None:
    for array in node.iter("varray"):
        if array.get("name") == "selective":
            return np.array([[word == "T" for word in (row.text or "").split()] for row in array])
    return None


def _relaxed(
    settings: dict[str, str], steps: list[Step], movable: np.ndarray | None
) -> bool | None:
    """Tell whether EDIFFG was reached: the file has no line that says so."""
    criterion = float(settings.get("EDIFFG", 0.0))
    if criterion < 0 and steps and steps[-1].forces is not None:
        forces = steps[-1].forces if movable is None else steps[-1].forces * movable
        return bool(np.linalg.norm(forces, axis=1).max() <= -criterion)
    return 0 < len(steps) < float(settings.get("NSW", 0))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
