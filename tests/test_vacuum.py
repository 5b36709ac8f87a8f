"""What has vacuum in its cell, and what only has gaps and pores."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.vasp import Poscar

from defect_workflows.vacuum import vacuum_geometry

SKEWED = [[1, 0, 1], [0, 1, 1], [0, 0, 1]]
"""Another cell of the same lattice, in which no vacuum lies along a lattice vector."""

SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
GRAPHITE = Structure(
    Lattice.hexagonal(2.46, 6.7),
    ["C"] * 4,
    [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
)
GRAPHENE = Structure(Lattice.hexagonal(2.46, 15), ["C"] * 2, [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]])
CAESIUM = Structure(Lattice.cubic(6.14), ["Cs"] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]])
ZEOLITE_A = Structure.from_spacegroup(
    "Pm-3m",
    Lattice.cubic(11.919),
    ["Si", "O", "O", "O"],
    [[0, 0.1823, 0.3684], [0, 0.2122, 0.5], [0.1103, 0.1103, 0.3384], [0, 0.2967, 0.2967]],
)
WIRE = Structure(
    Lattice.tetragonal(12, 5), ["Se"] * 3, [[0.5, 0.5, 0], [0.6, 0.55, 0.33], [0.45, 0.6, 0.66]]
)
OXYGEN = Structure(Lattice.cubic(9), ["O"] * 2, [[0, 0, 0.94], [0, 0, 0.06]])


@pytest.mark.parametrize("crystal", [GRAPHITE, CAESIUM, ZEOLITE_A, SILICON])
def test_layers_and_pores_are_no_vacuum(crystal: Structure) -> None:
    assert vacuum_geometry(crystal) is None
    assert vacuum_geometry(crystal * [2, 2, 1]) is None


@pytest.mark.parametrize(
    "name", ["Sb2Se3_bulk_supercell_POSCAR", "YTOS_bulk_supercell_POSCAR", "Sb2Si2Te6_POSCAR"]
)
@pytest.mark.filterwarnings("ignore")
def test_real_hosts_are_crystals(data_dir: Path, name: str) -> None:
    host = Poscar.from_file(data_dir / "10_hosts" / name).structure

    assert vacuum_geometry(host) is None


@pytest.mark.parametrize(
    ("structure", "geometry"),
    [(GRAPHENE, "slab"), (WIRE, "wire"), (OXYGEN, "molecule")],
)
def test_vacuum_is_found_in_any_cell(structure: Structure, geometry: str) -> None:
    assert vacuum_geometry(structure) == geometry
    assert vacuum_geometry(structure * [2, 1, 2]) == geometry
    assert vacuum_geometry(structure.make_supercell(SKEWED, in_place=False)) == geometry


@pytest.mark.parametrize("plane", [(1, 0, 0), (1, 1, 1), (2, 1, 1)])
def test_slab_of_any_plane(plane: tuple[int, int, int]) -> None:
    slab = SlabGenerator(SILICON, plane, 10, 8).get_slab()

    assert vacuum_geometry(slab) == "slab"


def test_an_atom_in_a_box_is_a_molecule() -> None:
    assert vacuum_geometry(Structure(Lattice.cubic(10), ["Ar"], [[0, 0, 0]])) == "molecule"
