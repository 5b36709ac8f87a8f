import warnings

import numpy as np
import pytest
from doped.analysis import DefectParser
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_workflows.charge import with_charge
from defect_workflows.errors import CorrectionError
from defect_workflows.levels.corrections import choice_of_sites, correct
from defect_workflows.levels.entries import calculated_entry
from defect_workflows.levels.identify import identify

from .conftest import calculation_from

CDTE = 9.13
YTOS = ((40.7195, 0, 0), (0, 40.7195, 0), (0, 0, 25.2376))


def corrected(state, calculation, bulk, dielectric=CDTE, scheme="eFNV"):
    entry = calculated_entry(state, calculation, bulk)
    return correct(entry, calculation, bulk, dielectric, scheme)


@pytest.mark.parametrize(
    ("scheme", "energy", "error"), [("eFNV", 0.7509, 0.00528), ("FNV", 0.7278, 0.0154)]
)
@pytest.mark.parametrize("shuffled_defect", [0, 1])
@pytest.mark.parametrize("shuffled_bulk", [0, 1])
def test_cdte_vacancy(cdte_cells, scheme, energy, error, shuffled_defect, shuffled_bulk):
    defects, bulks = cdte_cells
    bulk = bulks[shuffled_bulk]
    state, calculation, warnings = identify("v_Cd", defects[shuffled_defect], bulk)
    correction, profile = corrected(state, calculation, bulk, CDTE, scheme)
    assert correction.scheme == scheme
    assert correction.energy == pytest.approx(energy, abs=0.002)
    assert correction.error == pytest.approx(error, rel=0.05)
    assert not warnings
    assert calculation.energy - bulk.energy == pytest.approx(7.4476, abs=0.001)
    if scheme == "eFNV":
        assert len(profile.distances) == 63
        sampled = [
            difference - model
            for difference, model in zip(profile.differences, profile.point_charge, strict=True)
            if model is not None
        ]
        assert len(sampled) == profile.sampled
        # three sites lie on the surface of the region: rounding leaves doped one of them
        assert profile.sampled == 33
        assert min(sampled) < profile.alignment < max(sampled)
        assert correction.energy == pytest.approx(0.750856, abs=1e-5)  # doped's own
    else:
        assert len(profile.axes) == 3


GAN = "03_gan_mgga_pbesol_atomate2/GaN_Mg_defect"


@pytest.mark.parametrize(
    ("bulk", "folders", "dielectric"),
    [
        (
            "01_cdte_vCd_hse06_gamma/bulk_vasp_gam_alt",
            ["01_cdte_vCd_hse06_gamma/v_Cd_-2_choppy_changy_vasp_gam"],
            CDTE,
        ),
        ("02_ytos_pbe/Bulk", ["02_ytos_pbe/F_O_1", "02_ytos_pbe/Int_F_-1"], YTOS),
        (
            f"{GAN}/bulk_relax/outputs",
            [f"{GAN}/relax_Mg_Ga-0_q={charge}/outputs" for charge in (-2, -1, 1)],
            14,
        ),
    ],
)
def test_efnv_is_that_of_doped(data_dir, bulk, folders, dielectric):
    """doped reads the same files with its own parser."""
    perfect = calculation_from(data_dir / bulk)
    for folder in folders:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = DefectParser.from_paths(
                defect_path=str(data_dir / folder),
                bulk_path=str(data_dir / bulk),
                dielectric=dielectric,
                skip_corrections=True,
                parse_projected_eigenvalues=False,
            )
            parser.load_eFNV_data()
            theirs, error = parser.defect_entry.get_kumagai_correction(
                verbose=False, return_correction_error=True
            )
        state, calculation, _ = identify("defect", calculation_from(data_dir / folder), perfect)
        ours, _ = corrected(state, calculation, perfect, dielectric)
        assert ours.energy == pytest.approx(theirs.correction_energy, abs=1e-5), folder
        assert ours.error >= error - 1e-6  # doped's, or more where the choice of sites matters


def test_drift_stays_and_is_within_the_error(vacancy):
    """A cell that drifted by 0.05 Å: what doped finds in it, no note, within the error."""
    state, calculation, bulk = vacancy
    expected, _ = corrected(state, calculation, bulk)
    for way in np.array([[1, 0, 0], [0, -1, 0], [0.6, 0.6, 0.5]]):
        structure = calculation.structure.copy()
        structure.translate_sites(range(len(structure)), 0.05 * way, frac_coords=False)
        drifted = calculation.model_copy(update={"structure": structure, "defect_site": None})
        found, back, notes = identify("v_Cd", drifted, bulk)
        assert not notes
        assert np.allclose(back.structure.frac_coords, structure.frac_coords)
        correction, _ = corrected(found, back, bulk)
        assert correction.energy != pytest.approx(expected.energy, abs=1e-3)
        assert correction.energy == pytest.approx(expected.energy, abs=expected.error)


@pytest.mark.parametrize("folder", ["F03_glued_lattice/spaced", "F11_pseudo_hydrogen/"])
def test_positions_of_five_decimals(cases_dir, folder):
    """Where an OUTCAR leaves open whether a site is in the region it counts half."""
    names = ("v_split", "bulk_split") if folder.endswith("/") else ("_v", "_bulk")
    calculation, bulk = (calculation_from(cases_dir / f"{folder}{name}") for name in names)
    state, calculation, _ = identify("x", calculation, bulk)
    assert corrected(state, calculation, bulk)[0].energy == pytest.approx(0.750856, abs=1e-3)


def test_worth_of_the_choice_of_sites():
    """The mean of 4 and 2 with or without 1 and 9, which are near the surface."""
    outside = np.array([-1.0, -0.05, 0.05, 0.2, 3.0])
    values = np.array([np.nan, 9.0, 1.0, 4.0, 2.0])
    mean = np.mean([1.0, 4.0, 2.0])
    assert choice_of_sites(values, outside, mean) == pytest.approx(5 - mean)
    outside[1:3] *= 10
    assert choice_of_sites(values, outside, 7 / 3) == pytest.approx(0)


@given(
    values=st.lists(st.floats(-2, 2), min_size=2, max_size=8),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_no_choice_of_sites_is_worth_more(values, seed):
    random = np.random.default_rng(seed)
    outside = random.uniform(-0.1, 0.2, len(values))
    outside[0] = 0.2
    values = np.array(values)
    mean = values[outside > 0].mean()
    worth = choice_of_sites(values, outside, mean)
    taken = (outside > 0.1) | ((random.random(len(values)) < 0.5) & (np.abs(outside) <= 0.1))
    assert abs(values[taken].mean() - mean) <= worth + 1e-12


def test_auto_takes_what_is_there(vacancy):
    state, calculation, bulk = vacancy
    assert corrected(state, calculation, bulk, scheme="auto")[0].scheme == "eFNV"
    poor = calculation.model_copy(update={"site_potentials": None})
    correction, _ = corrected(state, poor, bulk, scheme="auto")
    assert (correction.scheme, correction.energy) == ("FNV", pytest.approx(0.7278, abs=0.002))
    poorer = poor.model_copy(update={"planar_potential": None})
    with pytest.raises(CorrectionError, match="neither site potentials"):
        corrected(state, poorer, bulk, scheme="auto")


def test_anisotropic_host(data_dir):
    folder = data_dir / "02_ytos_pbe"
    bulk = calculation_from(folder / "Bulk")
    state, fluorine, _ = identify("F_O", calculation_from(folder / "F_O_1"), bulk)
    efnv, _ = corrected(state, fluorine, bulk, YTOS, "eFNV")
    assert efnv.energy == pytest.approx(0.1270, abs=1e-3)
    fnv, _ = corrected(state, fluorine, bulk, YTOS, "FNV")
    assert fnv.energy == pytest.approx(0.1167, abs=1e-3)
    # doped's `get_ediff`, from which the reference figures come, contains the correction
    assert fluorine.energy - bulk.energy + efnv.energy == pytest.approx(0.0418, abs=1e-3)
    state, interstitial, _ = identify("F_i", calculation_from(folder / "Int_F_-1"), bulk)
    efnv, _ = corrected(state, interstitial, bulk, YTOS, "eFNV")
    assert efnv.energy == pytest.approx(-0.0036, abs=1e-3)
    assert interstitial.energy - bulk.energy + efnv.energy == pytest.approx(0.7479, abs=1e-3)


def test_site_is_found_when_only_the_ideal_one_is_known(data_dir):
    """The campaign knows the unrelaxed site: the atom of the added element next to it counts."""
    folder = data_dir / "02_ytos_pbe"
    bulk = calculation_from(folder / "Bulk")
    state, calculation, _ = identify("F_O", calculation_from(folder / "F_O_1"), bulk)
    expected = corrected(state, calculation, bulk, YTOS)
    unknown = calculation.model_copy(update={"defect_site": None})
    moved = state.model_copy(update={"site": tuple(np.array(state.site) + 0.02)})
    assert corrected(moved, unknown, bulk, YTOS) == expected


def test_neutral_and_uncorrected(vacancy):
    state, calculation, bulk = vacancy
    none, profile = corrected(state, calculation, bulk, scheme="none")
    assert (none.scheme, none.energy, none.error) == ("none", 0, None)
    assert profile is None
    neutral = state.model_copy(update={"charge": 0})
    structure = with_charge(calculation.structure, 0)
    calculation = calculation.model_copy(update={"structure": structure})
    assert corrected(neutral, calculation, bulk)[0].energy == 0


@pytest.mark.parametrize(
    ("scheme", "change", "message"),
    [
        ("eFNV", {"site_potentials": None}, "site potentials: found none, expected 63"),
        ("eFNV", {"site_potentials": [1.0, 2.0]}, "site potentials: found 2, expected 63"),
        ("eFNV", {"site_potentials": [float("nan")] * 63}, "expected finite numbers"),
        ("FNV", {"planar_potential": None}, "found no planar averages"),
    ],
)
def test_failure_is_an_error(vacancy, scheme, change, message):
    state, calculation, bulk = vacancy
    with pytest.raises(CorrectionError, match=message):
        corrected(state, calculation.model_copy(update=change), bulk, scheme=scheme)


def test_different_potentials_are_not_compared(vacancy):
    state, calculation, bulk = vacancy
    planes = calculation.planar_potential
    for change, message in (
        ({"content": "total"}, r"LOCPOT holds total.*LVHAR"),
        ({"averages": [[0.0]] * 3}, "grid"),
    ):
        other = calculation.model_copy(
            update={"planar_potential": planes.model_copy(update=change)}
        )
        with pytest.raises(CorrectionError, match=message):
            corrected(state, other, bulk, scheme="FNV")


@pytest.mark.parametrize(
    ("charge", "strain", "message"),
    [(-1, 0.0, "charge -1, expected -2"), (-2, 0.01, "expected the same cell")],
)
def test_wrong_calculation(vacancy, charge, strain, message):
    state, calculation, bulk = vacancy
    structure = calculation.structure.copy()
    structure.apply_strain(strain)
    structure.properties = {"charge": charge}
    with pytest.raises(CorrectionError, match=message):
        corrected(state, calculation.model_copy(update={"structure": structure}), bulk)


def test_no_dielectric(vacancy):
    with pytest.raises(CorrectionError, match="found no dielectric tensor"):
        corrected(*vacancy, dielectric=None)


def test_package_failure_is_our_error(vacancy):
    """pydefect refuses a singular tensor: that must not pass as a number or a warning."""
    with pytest.raises(CorrectionError, match="v_Cd_-2: eFNV correction"):
        corrected(*vacancy, dielectric=0.0)
