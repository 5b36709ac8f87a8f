"""What calculations of the host say besides energies: dielectric tensor, density of states."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monty.os.path import zpath
from pymatgen.io.vasp import Outcar, Vasprun

from defect_workflows.dft.finished import matrix
from defect_workflows.documents.base import Matrix3D
from defect_workflows.errors import CalculationError
from defect_workflows.userfile import check_dielectric

if TYPE_CHECKING:
    from pymatgen.electronic_structure.dos import FermiDos

NO_SCREENING = 1e-4
"""A smaller ionic part of the dielectric tensor is none."""


def read_dielectric(directory: Path) -> tuple[Matrix3D, bool]:
    """Read the dielectric tensor of a DFPT or finite-field calculation.

    Returns
    -------
    Matrix3D
        High-frequency + ionic part, relative to the vacuum.
    bool
        Whether it has an ionic part that is not zero.

    Raises
    ------
    CalculationError
        If there is no tensor.
    """
    outcar = Path(zpath(str(directory / "OUTCAR")))
    vasprun = Path(zpath(str(directory / "vasprun.xml")))
    electronic = ionic = None
    try:
        if outcar.is_file():
            found = Outcar(outcar)
            found.read_lepsilon()
            electronic = found.data.get(
                "dielectric_tensor", getattr(found, "dielectric_tensor", None)
            )
            found.read_lepsilon_ionic()
            ionic = getattr(found, "dielectric_ionic_tensor", None)
        elif vasprun.is_file():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run = Vasprun(vasprun, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
            electronic, ionic = run.epsilon_static, run.epsilon_ionic
    # what pymatgen's parsers raise on a broken file varies
    except (SyntaxError, ValueError, LookupError, AttributeError, TypeError, OSError) as problem:
        raise CalculationError(
            f"{directory}: broken or cut off ({type(problem).__name__}), expected DFPT output"
        ) from None
    # pymatgen reads zeros where there is none
    found_parts = [np.array(part or [], dtype=float) for part in (electronic, ionic)]
    parts = [part for part in found_parts if part.shape == (3, 3)]
    total = sum(parts, np.zeros((3, 3)))
    try:
        check_dielectric(matrix(total))
    except ValueError:
        raise CalculationError(
            f"{directory}: found no dielectric tensor, expected one (LEPSILON)"
        ) from None
    return matrix(total), len(parts) == 2 and bool(np.abs(parts[1]).max() > NO_SCREENING)


def read_dos(directory: Path) -> tuple[FermiDos, float, float]:
    """Read the density of states of the host.

    Returns
    -------
    FermiDos
        The density of states.
    float, float
        VBM and band gap of the same calculation in eV.

    Raises
    ------
    CalculationError
        If there is no vasprun.xml with one.
    """
    from doped.thermodynamics import get_fermi_dos

    path = Path(zpath(str(directory / "vasprun.xml")))
    if not path.is_file():
        raise CalculationError(f"{directory}: found no vasprun.xml, expected a density of states")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(path, parse_dos=True, parse_potcar_file=False)
            properties: Any = run.eigenvalue_band_properties
            gap, _, vbm, _ = properties
            return get_fermi_dos(run), float(vbm), float(gap)
    except Exception as problem:  # doped and pymatgen raise whatever comes up
        raise CalculationError(
            f"{path}: found no density of states ({type(problem).__name__}), expected one"
        ) from None
