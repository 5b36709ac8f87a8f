"""VASP input sets of single points: one level of theory for both fidelities."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, cast

from atomate2.vasp.sets.base import VaspInputGenerator
from doped.vasp import default_potcar_dict
from pymatgen.core import Structure
from pymatgen.io.vasp import Kpoints

from defect_workflows.campaign import DftSettings
from defect_workflows.charge import charge_of, with_charge
from defect_workflows.errors import SettingError
from defect_workflows.fidelity import CAMPAIGN_FIDELITIES, Fidelity, head_index
from defect_workflows.moments import moments_of

# Of a defect supercell: no symmetry, no smearing that outlives the gap, core potentials written.
_COMMON_INCAR: dict[str, Any] = {
    "ALGO": "Normal",
    "GGA": "PE",
    "IBRION": -1,
    "ICORELEVEL": 0,
    "ISIF": 2,
    "ISMEAR": 0,
    "ISYM": 0,
    "LASPH": True,
    "LCHARG": False,
    "LREAL": "Auto",
    "NELM": 100,
    "NSW": 0,
    "PREC": "Accurate",
    "SIGMA": 0.05,
}


def incar_settings(
    settings: DftSettings, fidelity: Fidelity, potentials: bool = False
) -> dict[str, Any]:
    """Return the INCAR of a single point at a fidelity, NELECT and species settings excepted.

    Parameters
    ----------
    settings
        The campaign's DFT settings.
    fidelity
        Level of theory.
    potentials
        Also write the electrostatic LOCPOT (LVHAR), which the FNV correction reads.
    """
    head_index(fidelity, CAMPAIGN_FIDELITIES)
    incar = _COMMON_INCAR | {
        "ENCUT": settings.encut,
        "EDIFF": settings.ediff,
        "ISPIN": 2 if settings.spin else 1,
        "LVHAR": potentials,
        "LWAVE": fidelity == "pbe",
    }
    if settings.dispersion:
        incar["IVDW"] = settings.dispersion
    if fidelity == "hse06":
        incar |= {
            "LHFCALC": True,
            "AEXX": settings.hybrid_fraction,
            "HFSCREEN": settings.hybrid_screening,
            "PRECFOCK": "Fast",
        }
    return incar | settings.incar_of(fidelity)


@dataclass
class SinglePointSet(VaspInputGenerator):
    """Input set of a charged single point: its charge is NELECT, its moments are MAGMOM."""

    auto_ismear: bool = False
    inherit_incar: bool = False
    auto_metal_kpoints: bool = False
    sort_structure: bool = False
    use_structure_charge: bool = True
    config_dict: dict = field(default_factory=lambda: {"INCAR": {}, "KPOINTS": {}, "POTCAR": {}})

    @property
    def incar_updates(self) -> dict[str, Any]:
        """MAGMOM of a structure with a magnetic order; elements given by the user go before it.

        pymatgen itself writes moments only where MAGMOM is set, with defaults of its own.
        """
        if self.structure is None or (moments := moments_of(self.structure)) is None:
            return {}
        given = self.config_dict["INCAR"].get("MAGMOM", {})
        sites = zip(self.structure, moments, strict=True)
        return {"MAGMOM": [float(given.get(site.specie.symbol, own)) for site, own in sites]}

    @classmethod
    def from_settings(
        cls, settings: DftSettings, fidelity: Fidelity, potentials: bool = False
    ) -> SinglePointSet:
        """Make the input set of a fidelity from a campaign's DFT settings."""
        return cls(
            config_dict={
                "INCAR": incar_settings(settings, fidelity, potentials),
                "KPOINTS": {},
                "POTCAR": default_potcar_dict | settings.potcars,
                "POTCAR_FUNCTIONAL": settings.potcar_functional,
            },
            user_kpoints_settings=cast(dict, Kpoints.gamma_automatic(settings.kpoints)),
            user_potcar_functional=settings.potcar_functional,
        )


def potcar_symbol(settings: DftSettings, element: str) -> str:
    """Return the POTCAR symbol of an element: the campaign's, else doped's choice.

    Raises
    ------
    SettingError
        If neither has one.
    """
    symbols = default_potcar_dict | settings.potcars
    if element not in symbols:
        raise SettingError(
            f"dft.potcars: found none for {element}, which doped has no POTCAR for, expected one"
        )
    return symbols[element]


def vasp_order(structure: Structure) -> list[int]:
    """Return the site order of the POSCAR: species together, else as they are."""

    def key(index: int) -> tuple[float, str]:
        element = structure[index].specie
        # of noble gases it is not a number, which cannot be sorted; some elements share theirs
        return math.inf if math.isnan(element.X) else element.X, element.symbol

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is none
        return sorted(range(len(structure)), key=key)


def reordered(structure: Structure, order: list[int]) -> Structure:
    """Return a charged structure with its sites in another order."""
    return with_charge(Structure.from_sites([structure[i] for i in order]), charge_of(structure))
