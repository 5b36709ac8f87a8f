"""The self-consistent Fermi level and equilibrium concentrations (doped)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from monty.json import MontyDecoder

from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    Concentration,
    FermiLevel,
    LevelsResult,
)
from defect_workflows.errors import CalculationError

if TYPE_CHECKING:
    from doped.thermodynamics import DefectThermodynamics
    from pymatgen.electronic_structure.dos import FermiDos


def fermi_levels(
    result: LevelsResult,
    limits: Sequence[ChemicalPotentialLimit],
    dos: FermiDos,
    temperature: float,
) -> list[FermiLevel]:
    """Return Fermi level and concentrations of every limit, in equilibrium at a temperature.

    Parameters
    ----------
    result
        Levels with doped's thermodynamics behind them.
    limits
        Limits of the chemical potentials.
    dos
        Density of states of the host.
    temperature
        In K, of the defects and the carriers alike.

    Raises
    ------
    CalculationError
        If doped finds no Fermi level at which defects and carriers are neutral together.
    """
    thermodynamics: DefectThermodynamics = MontyDecoder().process_decoded(result.thermodynamics)
    names = {(state.defect, state.charge) for state in result.levels.states}
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for limit in limits:
            potentials = dict(limit.chemical_potentials)
            try:
                outcome: Any = thermodynamics.get_equilibrium_fermi_level(
                    bulk_dos=dos,
                    temperature=temperature,
                    chempots=potentials,
                    return_concs=True,
                    skip_dos_check=True,
                )
            except ValueError as problem:
                raise CalculationError(
                    f"Fermi level at {limit.name}: found none "
                    f"({' '.join(str(problem).split())[:120]}), expected one near the gap"
                ) from problem
            level, electrons, holes = outcome
            found.append(
                FermiLevel(
                    limit=limit.name,
                    temperature=temperature,
                    fermi_level=float(level),
                    electrons=float(electrons),
                    holes=float(holes),
                    concentrations=_concentrations(
                        thermodynamics, potentials, temperature, level, names
                    ),
                )
            )
    return found


def _concentrations(
    thermodynamics: DefectThermodynamics,
    potentials: dict[str, float],
    temperature: float,
    level: float,
    names: set[tuple[str, int]],
) -> list[Concentration]:
    table: Any = thermodynamics.get_equilibrium_concentrations(
        temperature=temperature,
        chempots=potentials,
        fermi_level=level,
        skip_formatting=True,
    )
    return [
        Concentration(defect=str(defect), charge=int(charge), concentration=float(value))
        for (defect, charge), value in table["Concentration (cm^-3)"].items()
    ]
