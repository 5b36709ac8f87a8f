"""One level of theory: every difference is seen, what is the same is not."""

from pathlib import Path

import pytest

from defect_workflows.dft.consistency import (
    check_one_level_of_theory,
    consistency_warnings,
    dopant_warnings,
)
from defect_workflows.dft.differences import CODES, differences
from defect_workflows.dft.files import run_files
from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.ingest import FoundRun, labels_of
from defect_workflows.dft.theory import own_correction
from defect_workflows.documents.labels import HubbardTerm, KpointMesh, LevelOfTheory
from defect_workflows.errors import LevelOfTheoryError

MGO = "04_mgo_pbesol_full/Defects/Pre_Calculated_Results"
GAMMA = KpointMesh(divisions=(2, 2, 2), shift=(0, 0, 0))


@pytest.fixture(scope="module")
def bulk(data_dir):
    return read_calculation(data_dir / MGO / "MgO_bulk" / "vasp_std")


@pytest.fixture(scope="module")
def defect(data_dir):
    return read_calculation(data_dir / MGO / "Mg_O_+1" / "vasp_std")


@pytest.fixture
def theory(bulk):
    return bulk.level_of_theory


CHANGES = {
    "encut_mismatch": {"encut": 400.0},
    "prec_mismatch": {"precision": "normal"},
    "lreal_mismatch": {"real_space_projection": False},
    "functional_mismatch": {"functional": "PE"},
    "exact_exchange_mismatch": {"exact_exchange": 0.25},
    "screening_mismatch": {"screening": 0.2},
    "dispersion_mismatch": {"dispersion": 12},
    "potcar_mismatch": {"potcars": ["PAW_PBE Mg_pv 13Apr2007", "PAW_PBE O 08Apr2002"]},
    "kpoints_mismatch": {"kpoint_mesh": KpointMesh(divisions=(2, 2, 2), shift=(0.5, 0.5, 0.5))},
    "nkred_mismatch": {"kpoint_reduction": (2, 2, 2)},
    "spin_mismatch": {"spin_polarized": False},
    "spin_orbit_mismatch": {"spin_orbit": True},
    "hubbard_mismatch": {"hubbard": [HubbardTerm(element="Mg", angular_momentum=2, u=4.0, j=0.0)]},
    "lasph_mismatch": {"aspherical": False},
    "addgrid_mismatch": {"support_grid": True},
}

HYBRID_CHANGES = {
    "precfock_mismatch": {"fock_precision": "normal"},
    "lmodelhf_mismatch": {"model_hybrid": True},
}


def test_real_calculations_agree(bulk, defect):
    assert consistency_warnings("Mg_O_+1", defect, bulk) == []


@pytest.mark.parametrize("code", CHANGES)
def test_every_setting_has_its_code(bulk, defect, code):
    changed = defect.level_of_theory.model_copy(update=CHANGES[code])
    other = defect.model_copy(update={"level_of_theory": changed})
    (warning,) = consistency_warnings("Mg_O_+1", other, bulk)
    assert warning.code == code
    assert warning.message.startswith("Mg_O_+1: ")
    assert "the bulk has" in warning.message


def test_the_cell_is_compared(bulk, defect):
    structure = defect.structure.copy(properties=defect.structure.properties)
    structure.scale_lattice(structure.volume * 1.01)
    other = defect.model_copy(update={"structure": structure})
    assert [item.code for item in consistency_warnings("x", other, bulk)] == ["cell_mismatch"]
    elsewhere = {"cell_mismatch", "smearing_mismatch", "enaug_mismatch", *HYBRID_CHANGES}
    assert set(CHANGES) | elsewhere == set(CODES.values())


@pytest.mark.parametrize("code", HYBRID_CHANGES)
def test_settings_of_exact_exchange(data_dir, theory, code):
    hybrid = outcar_theory(data_dir / "01_cdte_vCd_hse06_gamma/bulk_vasp_gam")
    assert (hybrid.fock_precision, hybrid.model_hybrid) == ("fast", False)
    changed = hybrid.model_copy(update=HYBRID_CHANGES[code])
    assert [item.code for item in differences(changed, hybrid)] == [code]
    # a semi-local calculation has none of them
    assert (theory.fock_precision, theory.model_hybrid) == (None, None)


def outcar_theory(folder: Path) -> LevelOfTheory:
    return read_calculation(folder, planes=False, projections=False).level_of_theory


def smeared(calculation, method, width, energy=0.0):
    settings = calculation.settings | {"ISMEAR": method, "SIGMA": width}
    return calculation.model_copy(update={"settings": settings, "smearing_energy": energy})


@pytest.mark.parametrize(
    ("mine", "theirs", "found"),
    [
        (("0", "0.05", -0.1), ("0", "0.2"), True),
        (("0", "0.05"), ("1", "0.05", 0.1), True),
        (("0", "0.05"), ("0", "0.2"), False),  # no state is partly occupied
        (("-5", "0.05", 0.1), ("-5", "0.2", 0.1), False),  # tetrahedra have no width
        (("0", "0.0500000", 0.1), ("0", "0.05", 0.1), False),
    ],
)
def test_smearing_counts_where_it_has_an_effect(bulk, defect, mine, theirs, found):
    warnings = consistency_warnings("x", smeared(defect, *mine), smeared(bulk, *theirs))
    assert [item.code for item in warnings] == ["smearing_mismatch"] * found


def test_augmentation_counts_where_it_is_used(bulk, defect):
    def with_enaug(calculation, value, precision):
        theory = calculation.level_of_theory.model_copy(update={"precision": precision})
        settings = calculation.settings | {"ENAUG": value}
        return calculation.model_copy(update={"settings": settings, "level_of_theory": theory})

    for precision, codes in (("accurate", []), ("high", ["enaug_mismatch"])):
        pair = with_enaug(defect, "900", precision), with_enaug(bulk, "600", precision)
        assert [item.code for item in consistency_warnings("x", *pair)] == codes


def test_elements_that_the_bulk_lacks_are_compared_among_defects(bulk, defect):
    def doped(title, u):
        terms = [HubbardTerm(element="Ni", angular_momentum=2, u=u, j=0.0)]
        titles = [*bulk.level_of_theory.potcars, title]
        theory = bulk.level_of_theory.model_copy(update={"potcars": titles, "hubbard": terms})
        return defect.model_copy(update={"level_of_theory": theory})

    first = ("Ni_Mg_0", doped("PAW_PBE Ni 02Aug2007", 6.2))
    same = ("Ni_Mg_+1", doped("PAW_PBE Ni 02Aug2007", 6.2))
    other = ("Ni_Mg_-1", doped("PAW_PBE Ni_pv 06Sep2000", 5.0))
    found = dopant_warnings([first, same, other], bulk)
    assert [(name, item.code) for name, item in found] == [
        ("Ni_Mg_-1", "potcar_mismatch"),
        ("Ni_Mg_-1", "hubbard_mismatch"),
    ]
    assert "Ni_Mg_0 has PAW_PBE Ni 02Aug2007" in found[0][1].message


def test_pseudo_hydrogen_is_not_hydrogen(theory):
    def with_titles(*words):
        return theory.model_copy(update={"potcars": [f"PAW_PBE {word} x" for word in words]})

    surface = with_titles("Ga", "N", "H1.25", "H.75")
    assert differences(with_titles("Ga", "N", "H1.25", "H.75", "H"), surface) == []
    assert differences(with_titles("Ga", "N", "H1.25"), surface) == []
    assert len(differences(with_titles("Ga", "N", "N_h"), with_titles("Ga", "N"))) == 1


@pytest.mark.parametrize(
    ("settings", "charge", "found"),
    [
        ({"LMONO": "T", "EPSILON": "9.13"}, -2, "LMONO = T, EPSILON = 9.13"),
        ({"LMONO": "T"}, 0, None),
        ({"IDIPOL": "4"}, 0, "IDIPOL = 4"),
        ({"IDIPOL": "0", "LDIPOL": "F", "LMONO": "F"}, 1, None),
        ({"LDIPOL": "T"}, 1, "LDIPOL = T"),
        ({"EFIELD": "0.01"}, 1, "EFIELD = 0.01"),
    ],
)
def test_corrections_that_vasp_made(settings, charge, found):
    assert own_correction(settings, charge) == found


def test_settings_of_real_data_that_differ(data_dir):
    folder = data_dir / "05_cdte_hse_soc"
    gamma = read_calculation(folder / "v_Cd_example_data" / "CdTe_bulk" / "vasp_gam")
    noncollinear = read_calculation(folder / "Int_Te_3_1" / "vasp_ncl")
    codes = {item.code for item in consistency_warnings("Te_i", noncollinear, gamma)}
    assert codes == {"spin_orbit_mismatch", "kpoints_mismatch"}
    explicit = read_calculation(folder / "Te_Cd_+1" / "vasp_ncl")
    assert explicit.level_of_theory.kpoint_mesh is None  # the same mesh, as a list of points
    assert consistency_warnings("Te_Cd", explicit, noncollinear) == []


def kpoints(theory: LevelOfTheory, mesh: KpointMesh | None, *points) -> LevelOfTheory:
    return theory.model_copy(update={"kpoint_mesh": mesh, "kpoints": list(points)})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # a bulk with symmetry has fewer points of the same mesh
        ((GAMMA, (0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0), (0.5, 0.5, 0.5)), (GAMMA,), True),
        ((None, (0, 0, 0), (0.5, 0, 0), (0.5, 0.5, 0), (0.5, 0.5, 0.5)), (GAMMA,), True),
        ((None, (0, 0, 0), (0.25, 0, 0)), (GAMMA,), False),
        ((None, (0.25, 0.25, 0.25)), (None, (-0.25, -0.25, 0.75)), True),  # k and -k
        ((None, (0.25, 0.25, 0.25)), (None, (0, 0, 0)), False),
        ((None, (0, 0, 0)), (KpointMesh(divisions=(1, 1, 1), shift=(0, 0, 0)),), True),
        ((None, (0, 0, 0)), (KpointMesh(divisions=(5, 5, 5), shift=(0, 0, 0)),), False),
    ],
)
def test_kpoints(theory, one, other, same):
    mine, theirs = kpoints(theory, *one), kpoints(theory, *other)
    for pair in ((mine, theirs), (theirs, mine)):
        assert (differences(*pair) == []) is same
    assert differences(mine, theirs, same_cell=False) == []


def test_what_is_not_told_is_not_compared(theory):
    silent = theory.model_copy(update={"spin_orbit": None, "hubbard": None})
    assert differences(silent, theory) == []
    unnamed = theory.model_copy(update={"dispersion": -1})
    named = theory.model_copy(update={"dispersion": 12})
    assert differences(unnamed, named) == []
    assert [item.code for item in differences(unnamed, theory)] == ["dispersion_mismatch"]


def test_a_foreign_element_is_no_difference(theory):
    """A dopant brings its POTCAR and its Hubbard correction."""
    doped = theory.model_copy(
        update={
            "potcars": [*theory.potcars, "PAW_PBE Ni 02Aug2007"],
            "hubbard": [HubbardTerm(element="Ni", angular_momentum=2, u=6.2, j=0.0)],
        }
    )
    assert differences(doped, theory) == []


def test_rehearsal_and_real_labels_do_not_mix(bulk):
    directory = Path(bulk.directory)
    run = FoundRun(directory, run_files(directory), "MgO")
    ((_, label),), _ = labels_of(run, bulk)
    check_one_level_of_theory([label, label])
    with pytest.raises(LevelOfTheoryError, match="a rehearsal's"):
        check_one_level_of_theory([label, label.model_copy(update={"rehearsal": True})])
