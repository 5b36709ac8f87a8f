import json
import shutil

import numpy as np
import pytest

from defect_workflows.dft.consistency import check_one_level_of_theory
from defect_workflows.dft.differences import differences
from defect_workflows.dft.read import custodian_corrections, read_single_point
from defect_workflows.errors import CalculationError


@pytest.fixture(scope="module")
def cdte(data_dir):
    """CdTe V_Cd^-2 at HSE06 and its bulk: real VASP calculations."""
    folder = data_dir / "01_cdte_vCd_hse06_gamma"
    return {
        "bulk": read_single_point(folder / "bulk_vasp_gam"),
        "defect": read_single_point(folder / "v_Cd_-2_vasp_gam"),
    }


def test_real_calculations(cdte):
    bulk, defect = cdte["bulk"], cdte["defect"]
    assert defect.charge == -2
    assert bulk.charge == 0
    # raw difference of doped's own test of this calculation
    assert defect.energy - bulk.energy == pytest.approx(7.4475896, abs=1e-3)
    assert defect.forces.shape == (63, 3)
    assert len(defect.site_potentials) == 63
    assert not defect.rehearsal
    assert defect.level_of_theory.exact_exchange == 0.25
    assert defect.level_of_theory.functional == "PE+HF"
    assert defect.level_of_theory.encut == 350
    assert bulk.vbm < bulk.cbm
    assert np.isfinite(defect.stress).all()


def test_one_level_of_theory_is_seen_in_real_calculations(cdte):
    bulk, defect = cdte["bulk"].level_of_theory, cdte["defect"].level_of_theory
    assert differences(bulk, defect) == []
    other = defect.model_copy(update={"encut": 400.0, "potcars": ["PAW_PBE Te_x 01Jan2000"]})
    found = differences(bulk, other)
    assert "encut: 350.0 != 400.0" in map(str, found)
    assert {item.code for item in found} == {"encut_mismatch", "potcar_mismatch"}
    assert check_one_level_of_theory([]) is None


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.98])
@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR"])
def test_a_broken_file_is_no_label(data_dir, tmp_path, name, share):
    import gzip

    source = data_dir / "01_cdte_vCd_hse06_gamma" / "v_Cd_-2_vasp_gam"
    for path in source.iterdir():
        if path.name.startswith(("vasprun.xml", "OUTCAR")):
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rb") as file:
                content = file.read()
            target = path.name.removesuffix(".gz")
            cut = int(len(content) * share) if target == name else len(content)
            (tmp_path / target).write_bytes(content[:cut])
    with pytest.raises(CalculationError):
        read_single_point(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CalculationError, match=r"vasprun.xml is missing"):
        read_single_point(tmp_path)
    shutil.rmtree(tmp_path)


def test_custodian_changes_that_matter_are_told_from_those_that_do_not(tmp_path):
    def action(**settings):
        return {"actions": [{"dict": "INCAR", "action": {"_set": settings}}]}

    runs = [{"corrections": [action(ALGO="All"), action(ENCUT=500, NELM=300)]}]
    (tmp_path / "custodian.json").write_text(json.dumps(runs))
    changes, mattering = custodian_corrections(tmp_path)
    assert changes == ["ALGO=All", "ENCUT=500", "NELM=300"]
    assert mattering == ["ENCUT=500"]
