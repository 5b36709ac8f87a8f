"""Inputs for mock-vasp in a temporary directory, and a way to run it there."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from pymatgen.core import SETTINGS, Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar, Potcar

from defect_workflows.rehearsal.potcars import write_potcars

MOCK_VASP = [sys.executable, "-m", "defect_workflows.rehearsal.mock_vasp"]


class InputWriter(Protocol):
    def __call__(
        self, directory: Path, structure: Structure, charge: int = 0, **incar: Any
    ) -> Path: ...


@pytest.fixture(scope="session")
def potcar_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("potcars")
    for functional in ("PBE", "PBE_54", "PBE_64"):
        write_potcars(directory, ["Cd", "Te", "Mg", "O"], functional)
    return directory


@pytest.fixture
def pymatgen_potcars(potcar_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pymatgen's setting PMG_VASP_PSP_DIR, which it reads from the environment at import."""
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(potcar_dir))
    return potcar_dir


@pytest.fixture
def cdte() -> Structure:
    """Eight atoms of CdTe, none at its ideal place."""
    lattice = Lattice.cubic(6.54)
    host = Structure.from_spacegroup("F-43m", lattice, ["Cd", "Te"], [[0, 0, 0], [0.25] * 3])
    shifts = np.random.default_rng(1).normal(scale=0.1, size=(8, 3))
    return Structure(lattice, host.species, host.cart_coords + shifts, coords_are_cartesian=True)


@pytest.fixture
def vacancy(cdte: Structure) -> Structure:
    """The same without its first Cd."""
    defect = cdte.copy()
    defect.remove_sites([0])
    return defect


@pytest.fixture
def write_inputs(pymatgen_potcars: Path) -> InputWriter:
    def write(directory: Path, structure: Structure, charge: int = 0, **incar: Any) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        poscar = Poscar(structure)
        poscar.write_file(directory / "POSCAR", significant_figures=16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            potcar = Potcar(poscar.site_symbols, functional="PBE")
        potcar.write_file(directory / "POTCAR")
        valence = sum(p.ZVAL * n for p, n in zip(potcar, poscar.natoms, strict=True))
        tags = {"ISMEAR": 0, "SIGMA": 0.05, "NELECT": valence - charge, "LWAVE": False} | incar
        Incar(tags).write_file(directory / "INCAR")
        Kpoints.gamma_automatic((1, 1, 1)).write_file(directory / "KPOINTS")
        return directory

    return write


def run_mock_vasp(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        MOCK_VASP,
        cwd=directory,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
