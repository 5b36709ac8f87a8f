"""Runs of the host beside the supercell: a tensor comes in its axes, or not at all."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar
from scipy.spatial.transform import Rotation

from defect_workflows.charge import with_charge
from defect_workflows.dft import host
from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.host import read_dielectric, read_dos, rotation
from defect_workflows.errors import CalculationError

SILICON = "10_hosts/Si_dielectric/outputs"
WURTZITE = Structure(
    Lattice.hexagonal(3.19, 5.19),
    ["Ga", "Ga", "N", "N"],
    [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.377], [2 / 3, 1 / 3, 0.877]],
)
PEROVSKITE = Structure(  # a cubic cell all but for 1 %
    Lattice.tetragonal(3.99, 4.03),
    ["Ba", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.515], [0.5, 0.5, 0.975], [0.5, 0, 0.487], [0, 0.5, 0.487]],
)
LOW_SYMMETRY = Structure(
    Lattice.monoclinic(5.1, 5.2, 5.3, 99.2),
    ["Zr", "O", "O"],
    [[0.1, 0.2, 0.3], [0.4, 0.35, 0.8], [0.75, 0.6, 0.2]],
)


@pytest.fixture(scope="module")
def silicon(data_dir):
    """Silicon's DFPT run, as if it were the bulk."""
    return read_calculation(data_dir / SILICON)


@pytest.mark.parametrize(
    ("crystal", "tensor"),
    [
        (WURTZITE, np.diag([9.0, 9.0, 10.4])),
        (PEROVSKITE, np.diag([2200.0, 2200.0, 60.0])),
        (LOW_SYMMETRY, np.array([[20.0, 1.0, 2.0], [1.0, 18.0, -1.0], [2.0, -1.0, 16.0]])),
    ],
)
@pytest.mark.parametrize(
    "cell", [np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]]
)
def test_tensor_of_any_cell_in_any_axes(crystal, tensor, cell):
    """The crystal is turned, strained a little and set in another cell: its tensor is known."""
    turn = Rotation.from_euler("xyz", [35, -20, 70], degrees=True).as_matrix()
    turned = Structure(
        Lattice(crystal.lattice.matrix @ turn * 1.01), crystal.species, crystal.frac_coords + 0.1
    ).make_supercell(cell, in_place=False)

    back = rotation(turned, crystal * [2, 2, 2])

    assert back.T @ (turn.T @ tensor @ turn) @ back == pytest.approx(tensor, abs=1e-6)


def test_axes_in_another_order(data_dir):
    """Sb2Se3 in the setting of a database, with its ribbons along c instead of a."""
    names = ("Sb2Se3_Pnma_prim_POSCAR", "Sb2Se3_bulk_supercell_POSCAR")
    small, large = (Poscar.from_file(data_dir / "10_hosts" / name).structure for name in names)
    assert np.allclose(rotation(small, large), np.eye(3), atol=1e-6)
    other = small.make_supercell([[0, 1, 0], [0, 0, 1], [1, 0, 0]], in_place=False)
    # the new cell is written along x, y and z again
    written = Structure(
        Lattice.from_parameters(*other.lattice.parameters), other.species, other.frac_coords
    )
    turn = rotation(written, large)
    assert turn.T @ np.diag([128.18, 15.0, 85.64]) @ turn == pytest.approx(
        np.diag([85.64, 128.18, 15.0]), abs=1e-6
    )


def test_another_polymorph_is_another_host():
    zincblende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(4.5), ["Ga", "N"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    with pytest.raises(ValueError, match="another structure of GaN"):
        rotation(zincblende, WURTZITE)


def test_dielectric_of_a_dfpt_folder(data_dir, silicon):
    found = read_dielectric(data_dir / SILICON, silicon)
    assert np.allclose(found.tensor, 11.4154 * np.eye(3), atol=1e-3)
    assert not found.ionic  # silicon has no polar phonons
    assert found.differences == []


def test_dielectric_is_turned(data_dir, silicon, monkeypatch):
    """A tensor along z of the primitive cell's run lies along x of the supercell."""
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    dfpt = silicon.model_copy(
        update={"frames": [silicon.frames[0].model_copy(update={"structure": WURTZITE})]}
    )
    lattice = Lattice(WURTZITE.lattice.matrix @ turn)
    large = Structure(lattice, WURTZITE.species, WURTZITE.frac_coords) * [3, 3, 2]
    bulk = silicon.model_copy(update={"structure": with_charge(large, 0)})
    tensor = ((9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, 0.0, 10.4))
    monkeypatch.setattr(host, "_read_tensor", lambda directory: (tensor, True))
    monkeypatch.setattr(host, "read_calculation", lambda directory, **options: dfpt)

    found = read_dielectric(data_dir / SILICON, bulk)

    assert np.allclose(found.tensor, np.diag([10.4, 9.0, 9.0]), atol=1e-6)


@pytest.mark.parametrize("read", [read_dielectric, read_dos])
def test_another_host_is_refused(data_dir, read):
    bulk = read_calculation(
        data_dir / "04_mgo_pbesol_full/CompetingPhases/MgO_Fm-3m_EaH_0/vasp_std"
    )
    with pytest.raises(CalculationError, match=r"found .* of Si, expected .* MgO") as error:
        read(data_dir / SILICON, bulk)
    assert "\n" not in str(error.value)
