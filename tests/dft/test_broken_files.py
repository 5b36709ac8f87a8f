"""Files broken at random: a typed error or the whole file's numbers, never anything else."""

import gzip
import random

import pytest
from dft_files import content, put, unpacked

from defect_workflows.dft.finished import read_calculation
from defect_workflows.errors import CalculationError

SILICON = "08_si_ccd_atomate2/Si_config_coord/relax_q2/outputs"
CASES = [
    ("OUTCAR", SILICON, 70),
    ("vasprun", "04_mgo_pbesol_full/Bulk_relax", 70),
    ("vasprun", SILICON, 10),
    ("OUTCAR", "10_hosts/Si_dielectric/outputs", 50),
]  # 200 in all, most of them on small files


def attempt(directory, **options):
    """Read, and return None where that is refused in one line."""
    reason = ""
    try:
        return read_calculation(directory, **options)
    except CalculationError as error:
        reason = str(error)
    assert reason
    assert "\n" not in reason
    return None


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1].split('/')[-2]}")
def case(request, data_dir, tmp_path):
    """Name, content, whole calculation and number of cases."""
    name, folder, count = request.param
    file = name.replace("vasprun", "vasprun.xml")
    data = unpacked(data_dir / folder / f"{file}.gz")
    return name, data, read_calculation(put(tmp_path / "whole", **{name: data})), count


def test_cut_off_anywhere(case, tmp_path):
    name, data, whole, count = case
    numbers = random.Random(1)
    expected = content(whole)
    for _ in range(count):
        cut = numbers.randrange(len(data))
        directory = put(tmp_path / "cut", **{name: data[:cut]})
        found = attempt(directory)
        assert found is None or content(found) == expected, cut
        partial = attempt(directory, partial=True)
        if partial is not None:
            frames = partial.model_dump()["frames"]
            assert frames == expected["frames"][: len(frames)], cut


def test_compressed_and_cut_off_or_changed_anywhere(case, tmp_path):
    name, data, whole, count = case
    numbers = random.Random(2)
    packed = gzip.compress(data, 1, mtime=0)
    for _ in range(count):
        place = numbers.randrange(len(packed))
        changed = bytearray(packed)
        changed[place] ^= 1 << numbers.randrange(8)
        for broken in (packed[:place], bytes(changed)):
            found = attempt(put(tmp_path / "packed", **{name: broken}))
            assert found is None or content(found) == content(whole), place


def test_changed_anywhere(case, tmp_path):
    """A changed digit cannot be seen in a text; all else must be a typed error or finite."""
    name, data, whole, count = case
    numbers = random.Random(3)
    fills = [b"*********", b"      NaN", b"     -nan", bytes(9), b" " * 9, b"\n" * 9]
    seen = 0
    for _ in range(count):
        place = numbers.randrange(len(data))
        fill = numbers.choice([*fills, bytes([numbers.randrange(256)])])
        broken = data[:place] + fill + data[place + len(fill) :]
        directory = put(tmp_path / "changed", **{name: broken})
        for partial in (False, True):
            found = attempt(directory, partial=partial)
            seen += found is None
            if found is not None and not partial:
                for frame in found.frames:
                    assert abs(frame.energy) < 1e6
                assert found.charge == whole.charge
    assert seen, "nothing was refused: the test breaks nothing"
