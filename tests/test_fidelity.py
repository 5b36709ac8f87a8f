"""Names of levels of theory."""

import pytest

from defect_workflows.campaign import DftSettings
from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.inputs import incar_settings
from defect_workflows.documents.labels import LevelOfTheory
from defect_workflows.errors import UnknownFidelityError
from defect_workflows.fidelity import (
    CAMPAIGN_FIDELITIES,
    FIDELITIES,
    fidelity_of,
    head_index,
    is_standard,
)


def theory(functional: str, exchange: float = 0.0, screening: float = 0.0) -> LevelOfTheory:
    return LevelOfTheory(
        functional=functional,
        exact_exchange=exchange,
        screening=screening,
        encut=400,
        precision="accurate",
        spin_polarized=True,
        dispersion=0,
        kpoints=[],
        potcars=[],
    )


@pytest.mark.parametrize(
    ("level", "expected", "standard"),
    [
        (theory("CA"), "lda", True),
        (theory("PE"), "pbe", True),
        (theory("PS"), "pbesol", True),
        (theory("R2SCAN"), "r2scan", True),
        (theory("PE+HF", 0.25), "pbe0", True),
        (theory("PE+HF", 0.25, 0.2), "hse06", True),
        (theory("PE+HF", 0.25, 0.208), "hse06", True),
        (theory("PE+HF", 0.345, 0.2), "hse06", False),
        (theory("PE+HF", 0.3), "pbe0", False),
    ],
)
def test_functionals(level, expected, standard):
    assert fidelity_of(level) == expected
    assert is_standard(level) is standard


def test_every_fidelity_is_reached():
    levels = [theory(name) for name in ("CA", "PE", "PS", "R2SCAN")]
    levels += [theory("PE+HF", 0.25), theory("PE+HF", 0.25, 0.2)]
    assert tuple(fidelity_of(level) for level in levels) == FIDELITIES


@pytest.mark.parametrize("functional", ["RP", "PS+HF", "SCAN", "BF+VDW"])
def test_other_functionals_have_none(functional):
    with pytest.raises(UnknownFidelityError, match=f"found {functional[:2]}"):
        fidelity_of(theory(functional, 0.25, 0.2))


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("01_cdte_vCd_hse06_gamma/bulk_vasp_gam", "hse06"),
        ("02_ytos_pbe/Int_F_-1", "pbe"),
        ("03_gan_mgga_pbesol_atomate2/GaN_Mg_defect/bulk_relax/outputs", "pbesol"),
        ("05_cdte_hse_soc/v_Cd_example_data/CdTe_bulk/vasp_gam", "hse06"),
        ("10_hosts/Si_dielectric/outputs", "pbe"),
    ],
)
def test_real_calculations(data_dir, folder, expected):
    found = read_calculation(data_dir / folder, planes=False, projections=False)
    assert fidelity_of(found.level_of_theory) == expected


def test_a_campaign_calculates_two_of_them():
    assert set(CAMPAIGN_FIDELITIES) < set(FIDELITIES)
    for fidelity in CAMPAIGN_FIDELITIES:
        assert incar_settings(DftSettings(), fidelity)["GGA"] == "PE"
    with pytest.raises(UnknownFidelityError, match="expected one of the heads pbe, hse06"):
        incar_settings(DftSettings(), "pbesol")
    with pytest.raises(UnknownFidelityError):
        head_index("lda", ["pbe", "hse06"])
