"""A folder with one good file and one that cannot be used."""

import gzip
import re

import pytest
from dft_files import content, put, unpacked

from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.read import read_single_point
from defect_workflows.errors import CalculationError

SILICON = "08_si_ccd_atomate2/Si_config_coord/relax_q2/outputs"


@pytest.fixture(scope="module")
def files(data_dir):
    """OUTCAR and vasprun.xml of a small relaxation."""
    return tuple(unpacked(data_dir / SILICON / name) for name in ("OUTCAR.gz", "vasprun.xml.gz"))


def broken(data, way):
    return {
        "empty": b"",
        "cut off": data[: len(data) // 2],
        "garbage": bytes(range(256)) * 40,
        "half compressed": gzip.compress(data)[:-200],
        "without a header": data[len(data) // 2 :],
    }[way]


WAYS = ["empty", "cut off", "garbage", "half compressed", "without a header"]


@pytest.mark.parametrize("way", WAYS)
def test_a_good_vasprun_is_enough(files, tmp_path, way):
    outcar, vasprun = files
    alone = read_calculation(put(tmp_path / "alone", vasprun=vasprun))
    found = read_calculation(put(tmp_path / "both", OUTCAR=broken(outcar, way), vasprun=vasprun))
    assert content(found) | {"unusable": []} == content(alone)
    assert found.files == ["vasprun.xml"]
    (line,) = found.unusable
    assert "OUTCAR: " in line


@pytest.mark.parametrize("way", WAYS)
def test_a_good_outcar_is_enough(files, tmp_path, way):
    outcar, vasprun = files
    alone = read_calculation(put(tmp_path / "alone", OUTCAR=outcar))
    directory = put(tmp_path / "both", OUTCAR=outcar, vasprun=broken(vasprun, way))
    found = read_calculation(directory)
    assert content(found) | {"unusable": []} == content(alone)
    assert found.files == ["OUTCAR"]
    (line,) = found.unusable
    assert "vasprun.xml: " in line
    with pytest.raises(CalculationError, match=re.escape(line)):
        read_single_point(directory)  # what a campaign calculates has both


def test_two_unusable_files(files, tmp_path):
    outcar, vasprun = (broken(data, "cut off") for data in files)
    with pytest.raises(CalculationError, match="OUTCAR: is cut off"):
        read_calculation(put(tmp_path, OUTCAR=outcar, vasprun=vasprun))
    put(tmp_path, OUTCAR=b"no VASP")
    with pytest.raises(CalculationError, match=r"vasprun.xml: is cut off .*; .*OUTCAR: found no"):
        read_calculation(tmp_path)


def test_one_of_two_copies_is_broken(files, tmp_path):
    outcar, _ = files
    put(tmp_path, OUTCAR=outcar)
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(outcar)[:-200])
    found = read_calculation(tmp_path)
    assert found.files == ["OUTCAR"]
    assert len(found.unusable) == 1
    (tmp_path / "OUTCAR").write_bytes(b"")
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(outcar))
    found = read_calculation(tmp_path)
    assert (found.files, len(found.unusable)) == (["OUTCAR.gz"], 1)


def test_a_vasprun_of_two_runs(files, tmp_path):
    outcar, vasprun = files
    with pytest.raises(CalculationError, match="holds several runs"):
        read_calculation(put(tmp_path, vasprun=vasprun + vasprun))
    with pytest.raises(CalculationError, match="holds several runs"):
        read_calculation(tmp_path, partial=True)
    found = read_calculation(put(tmp_path, OUTCAR=outcar))
    assert found.files == ["OUTCAR"]


def test_impossible_occupations(files, tmp_path):
    _, vasprun = files
    damaged = vasprun.replace(b"  1.0000 </r>", b"  4.0000 </r>")
    assert damaged != vasprun
    with pytest.raises(CalculationError, match="occupations: found 4 of a full state"):
        read_calculation(put(tmp_path, vasprun=damaged))
