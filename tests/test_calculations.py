"""CALCULATIONS.yaml: what is read, and one line for what cannot be."""

import numpy as np
import pytest

from defect_workflows.calculations import Calculations, CompetingPhases, DielectricEntry
from defect_workflows.errors import InputError

PLAIN = """\
bulk: {dir: bulk}
dielectric: 9.13
defects:
  - {name: v_Cd, charge: -2, dir: v_Cd_-2}
"""


@pytest.fixture
def read(tmp_path):
    (tmp_path / "bulk").mkdir()

    def read(text):
        path = tmp_path / "CALCULATIONS.yaml"
        path.write_text(text)
        return Calculations.from_file(path)

    return read


def test_contract(read, tmp_path):
    found = read(PLAIN + "correction: auto\nvbm: null\nband_gap: null\nchemical_potentials: null\n")
    assert found.bulk.dir == tmp_path / "bulk"
    (defect,) = found.defects
    assert (defect.name, defect.charge, defect.dir) == ("v_Cd", -2, tmp_path / "v_Cd_-2")
    assert found.dielectric == 9.13
    assert found.correction == "auto"
    assert found.chemical_potentials is None


@pytest.mark.parametrize(
    "dielectric", ["[9, 9, 12]", "[[9, 0, 0], [0, 9, 0], [0, 0, 12]]", "9", "{dir: bulk}", "bulk"]
)
def test_dielectric(read, tmp_path, dielectric):
    found = read(PLAIN.replace("9.13", dielectric)).dielectric
    if isinstance(found, DielectricEntry):
        assert found.dir == tmp_path / "bulk"
    else:
        assert np.max(found) in (9, 12)


def test_charge_may_be_left_out_or_stand_in_the_name(read):
    assert read(PLAIN.replace("charge: -2, ", "")).defects[0].charge is None
    defect = read(PLAIN.replace("name: v_Cd, charge: -2", "name: v_Cd_-2")).defects[0]
    assert (defect.name, defect.charge) == ("v_Cd", -2)
    defect = read(PLAIN.replace("name: v_Cd", "name: Int_Te_3")).defects[0]
    assert (defect.name, defect.charge) == ("Int_Te_3", -2)


def test_chemical_potentials(read, tmp_path):
    assert read(PLAIN + "chemical_potentials: {Cd: -1.5, Te: -3}\n").chemical_potentials == {
        "Cd": -1.5,
        "Te": -3,
    }
    for key in ("dir", "dirs"):
        found = read(PLAIN + f"chemical_potentials: {{{key}: bulk, limit: Te-rich}}\n")
        assert found.chemical_potentials == CompetingPhases(
            dirs=[tmp_path / "bulk"], limit="Te-rich"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("dielectric: 9.13", "dielectric: -1"), "dielectric: found -1, expected a positive"),
        (("9.13", "[1, 2]"), "dielectric: found [1, 2], expected a number, three numbers"),
        (("9.13", "[[9, 3, 0], [0, 9, 0], [0, 0, 9]]"), "expected a symmetric tensor"),
        (("9.13", ".nan"), "dielectric: found nan"),
        (("9.13", "nowhere"), "dielectric.dir: found no folder"),
        (("9.13", "{folder: bulk}"), "dielectric.folder: unknown key"),
        (("dielectric: 9.13", ""), "dielectric: found none"),
        (("-2,", "0.5,"), "defects.0.charge: found 0.5, expected an integer"),
        (("-2,", "two,"), "defects.0.charge: found 'two', expected an integer"),
        (("-2,", "true,"), "defects.0.charge: found True, expected an integer"),
        (("v_Cd, charge", "v_Cd_-1, charge"), "found name 'v_Cd_-1' with charge -2"),
        (("{dir: bulk}", "{dir: nowhere}"), "bulk.dir: found no folder"),
        (("{dir: bulk}", "{}"), "bulk.dir: missing"),
        (("defects:", "defect:"), "did you mean 'defects'?"),
        (("dielectric", "correction: best\ndielectric"), "correction: found 'best'"),
        (("bulk: {", "vbm: .inf\nbulk: {"), "vbm: found inf"),
        (("bulk: {", "band_gap: -1\nbulk: {"), "band_gap: found -1"),
        (("bulk: {", "chemical_potentials: {Xx: 1}\nbulk: {"), "found 'Xx', expected an element"),
        (("bulk: {", "chemical_potentials: {Cd: a}\nbulk: {"), "found 'a' for Cd"),
        (("bulk: {", "chemical_potentials: {dirs: nowhere}\nbulk: {"), "dirs.0: found no folder"),
        (("bulk: {dir: bulk}", "bulk: ["), "not YAML"),
    ],
)  # fmt: skip
def test_bad_files(read, change, message):
    with pytest.raises(InputError) as error:
        read(PLAIN.replace(*change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "CALCULATIONS.yaml" in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Calculations.from_file(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(InputError, match="expected a mapping with a bulk"):
        Calculations.from_file(tmp_path / "list.yaml")
