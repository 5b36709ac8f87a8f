"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import DefectRequest, DefectSettings, SupercellSettings
from defect_workflows.defects.generate import generate
from defect_workflows.documents.defects import DefectSet
from defect_workflows.host import read_host
from defect_workflows.rehearsal.environment import rehearsal_environment

pytest_plugins = ("services", "campaigns")

REPOSITORY = Path(__file__).parents[1]

# documents of the tests' own jobs
os.environ["DEFECT_WORKFLOWS_TRUSTED_PACKAGES"] = '["toy_jobs"]'


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real VASP calculations, read in place; without them a test skips, in CI it fails."""
    default = REPOSITORY.parent / "shared" / "data"
    path = Path(os.environ.get("DEFECT_WORKFLOWS_TEST_DATA", default))
    if not path.is_dir():
        reason = f"{path}: no reference data (set DEFECT_WORKFLOWS_TEST_DATA)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def cases_dir(data_dir: Path) -> Path:
    """Small inputs that were read wrongly, with the right values."""
    return data_dir.parent / "cases"


@pytest.fixture(scope="session")
def rehearsal_variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which the stand-in runs instead of VASP."""
    return rehearsal_environment(tmp_path_factory.mktemp("rehearsal"), "PBE_54")


@pytest.fixture
def rehearsal(
    rehearsal_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """The stand-in runs instead of VASP in this test."""
    for name, value in rehearsal_variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return monkeypatch


@pytest.fixture(scope="session")
def magnetic_defects(cases_dir: Path) -> DefectSet:
    """Vacancy and substitution in antiferromagnetic NiO, 32 atoms."""
    return generate(
        read_host(cases_dir / "F16_magnetic_order/nio_afm.mcif"),
        SupercellSettings(matrix=[1, 2, 2], min_atoms=8),
        DefectSettings(
            include=[
                DefectRequest(name="v_O", charges=[0, 1]),
                DefectRequest(name="Mn_Ni", charges=[0]),
            ]
        ),
        None,
    )


@pytest.fixture
def mgo() -> Structure:
    """MgO, 16 atoms: 2x2x2 primitive cells."""
    lattice = Lattice([[0, 2.105, 2.105], [2.105, 0, 2.105], [2.105, 2.105, 0]])
    return Structure(lattice, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).make_supercell(
        [2, 2, 2], in_place=False
    )
