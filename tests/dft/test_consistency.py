"""One level of theory: every difference is seen, what is the same is not."""

from pathlib import Path

import pytest

from defect_workflows.dft.consistency import (
    CODES,
    check_one_level_of_theory,
    consistency_warnings,
    differences,
)
from defect_workflows.dft.files import run_files
from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.ingest import FoundRun, labels_of
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
    assert set(CHANGES) | {"cell_mismatch"} == set(CODES.values())


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
