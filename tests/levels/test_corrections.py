import numpy as np
import pytest

from defect_workflows.errors import CorrectionError
from defect_workflows.levels.corrections import correct

from .conftest import label_from_directory, state_of

CDTE = 9.13
YTOS = ((40.7195, 0, 0), (0, 40.7195, 0), (0, 0, 25.2376))


@pytest.mark.parametrize(
    ("scheme", "energy", "error"), [("eFNV", 0.7509, 0.00528), ("FNV", 0.7278, 0.0154)]
)
@pytest.mark.parametrize("shuffled_defect", [0, 1])
@pytest.mark.parametrize("shuffled_bulk", [0, 1])
def test_cdte_vacancy(cdte_cells, scheme, energy, error, shuffled_defect, shuffled_bulk):
    defects, bulks = cdte_cells
    label, bulk = defects[shuffled_defect], bulks[shuffled_bulk]
    correction = correct(state_of("v_Cd_-2", label, bulk), label, bulk, CDTE, scheme)
    assert correction.scheme == scheme
    assert correction.energy == pytest.approx(energy, abs=0.002)
    assert correction.error == pytest.approx(error, rel=0.05)


def test_anisotropic_host(data_dir):
    folder = data_dir / "02_ytos_pbe"
    bulk = label_from_directory(folder / "Bulk", 0)
    fluorine = label_from_directory(folder / "F_O_1", 1)
    state = state_of("F_O_+1", fluorine, bulk)
    assert correct(state, fluorine, bulk, YTOS, "eFNV").energy == pytest.approx(0.1270, abs=1e-3)
    assert correct(state, fluorine, bulk, YTOS, "FNV").energy == pytest.approx(0.1167, abs=1e-3)
    interstitial = label_from_directory(folder / "Int_F_-1", -1, "Relaxed_CONTCAR")
    state = state_of("F_i_-1", interstitial, bulk)
    energy = correct(state, interstitial, bulk, YTOS, "eFNV").energy
    assert energy == pytest.approx(-0.0036, abs=1e-3)


def test_site_is_found_when_only_the_ideal_one_is_known(data_dir):
    """The campaign knows the unrelaxed site: the atom of the added element next to it counts."""
    folder = data_dir / "02_ytos_pbe"
    bulk = label_from_directory(folder / "Bulk", 0)
    label = label_from_directory(folder / "F_O_1", 1)
    state = state_of("F_O_+1", label, bulk)
    moved = state.model_copy(update={"site": tuple(np.array(state.site) + 0.02)})
    expected = correct(state, label, bulk, YTOS, "eFNV")
    assert correct(moved, label, bulk, YTOS, "eFNV") == expected


def test_neutral_and_uncorrected(vacancy):
    state, label, bulk = vacancy
    none = correct(state, label, bulk, CDTE, "none")
    assert (none.scheme, none.energy, none.error) == ("none", 0, None)
    neutral = state.model_copy(update={"charge": 0})
    structure = label.configuration.structure.copy()
    structure.properties = {"charge": 0}
    configuration = label.configuration.model_copy(update={"structure": structure})
    label = label.model_copy(update={"configuration": configuration})
    assert correct(neutral, label, bulk, CDTE, "eFNV").energy == 0


@pytest.mark.parametrize(
    ("scheme", "change", "message"),
    [
        ("eFNV", {"site_potentials": None}, "site potentials: found none, expected 63"),
        ("eFNV", {"site_potentials": [1.0, 2.0]}, "site potentials: found 2, expected 63"),
        ("eFNV", {"site_potentials": [float("nan")] * 63}, "expected finite numbers"),
        ("FNV", {"planar_potential": None}, "found no planar averages"),
        ("eFNV", {"fidelity": "pbe"}, "found a calculation at pbe, expected the bulk's hse06"),
    ],
)
def test_failure_is_an_error(vacancy, scheme, change, message):
    state, label, bulk = vacancy
    with pytest.raises(CorrectionError, match=message):
        correct(state, label.model_copy(update=change), bulk, CDTE, scheme)


def test_different_potentials_are_not_compared(vacancy):
    state, label, bulk = vacancy
    total = label.planar_potential.model_copy(update={"content": "total"})
    with pytest.raises(CorrectionError, match=r"LOCPOT holds total.*LVHAR"):
        correct(state, label.model_copy(update={"planar_potential": total}), bulk, CDTE, "FNV")
    short = label.planar_potential.model_copy(update={"averages": [[0.0]] * 3})
    with pytest.raises(CorrectionError, match="grid"):
        correct(state, label.model_copy(update={"planar_potential": short}), bulk, CDTE, "FNV")


@pytest.mark.parametrize(
    ("charge", "strain", "message"),
    [(-1, 0.0, "charge -1, expected -2"), (-2, 0.01, "expected the same cell")],
)
def test_wrong_calculation(vacancy, charge, strain, message):
    state, label, bulk = vacancy
    structure = label.configuration.structure.copy()
    structure.apply_strain(strain)
    structure.properties = {"charge": charge}
    configuration = label.configuration.model_copy(update={"structure": structure})
    with pytest.raises(CorrectionError, match=message):
        correct(
            state, label.model_copy(update={"configuration": configuration}), bulk, CDTE, "eFNV"
        )


def test_package_failure_is_our_error(vacancy):
    """pydefect refuses a singular tensor: that must not pass as a number or a warning."""
    state, label, bulk = vacancy
    with pytest.raises(CorrectionError, match="v_Cd_-2: eFNV correction"):
        correct(state, label, bulk, 0.0, "eFNV")
