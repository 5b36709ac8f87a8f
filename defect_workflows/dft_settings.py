"""What a user says of VASP: the section `dft` of a campaign."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pymatgen.core import Element

from defect_workflows.fidelity import Fidelity
from defect_workflows.incar import HUBBARD, SHARED, check_hubbard, check_incar
from defect_workflows.userfile import Section

PotcarFunctional = Literal["PBE", "PBE_52", "PBE_54", "PBE_64", "LDA", "LDA_52", "LDA_54"]
Divisions = Annotated[int, Field(ge=1)]

LOWEST_ENCUT = 90.0
"""ENMAX in eV of the softest POTCAR there is (Tl)."""


class DftSettings(Section):
    """VASP settings common to both fidelities, and the hybrid's own two."""

    potcar_functional: PotcarFunctional = Field(
        default="PBE_54", description="POTCAR family, pymatgen's name of it."
    )
    potcars: dict[str, str] = Field(
        default={}, description="POTCAR symbol per element, e.g. {Cd: Cd}. Default: doped's choice."
    )
    encut: float = Field(
        default=350.0, ge=LOWEST_ENCUT, le=3000, description="Plane-wave cutoff ENCUT in eV."
    )
    ediff: float = Field(
        default=1e-5, ge=1e-10, le=1e-3, description="Electronic convergence EDIFF in eV."
    )
    kpoints: tuple[Divisions, Divisions, Divisions] = Field(
        default=(1, 1, 1), description="Gamma-centred k-mesh of the supercell."
    )
    spin: bool = Field(default=True, description="Spin-polarised (ISPIN = 2).")
    dispersion: Literal[0, 1, 2, 3, 4, 10, 11, 12, 13, 20, 21, 202, 263] = Field(
        default=0, description="IVDW; 0 for none, 12 for D3(BJ)."
    )
    hybrid_fraction: float = Field(default=0.25, gt=0, le=1, description="AEXX of the hybrid.")
    hybrid_screening: float = Field(
        default=0.208, gt=0, le=1, description="HFSCREEN of the hybrid in 1/Å (0.208: HSE06)."
    )
    incar: dict[str, Any] = Field(
        default={},
        description="Further INCAR settings, both fidelities alike. Values per atom or species are "
        "given by element: {MAGMOM: {Mn: 5}}, for elements whose moments the host file does not "
        "give.",
    )
    pbe_incar: dict[str, Any] = Field(
        default={},
        description="Further INCAR settings of PBE alone. DFT+U stands here, and under hse06_incar "
        "too if the hybrid shall have it: {LDAU: true, LDAUL: {Ni: 2}, LDAUU: {Ni: 6}, "
        "LDAUJ: {Ni: 0}}.",
    )
    hse06_incar: dict[str, Any] = Field(
        default={}, description="Further INCAR settings of HSE06 alone, e.g. {ALGO: All}."
    )
    max_energy_per_atom: float = Field(
        default=5.0,
        gt=0,
        description="A label this far above its pristine or defect reference is refused, eV/atom.",
    )
    max_force: float = Field(
        default=50.0, gt=0, description="A label with a larger force is refused, eV/Å."
    )
    max_refused_share: float = Field(
        default=0.2, ge=0, le=1, description="A larger share of refused labels stops the campaign."
    )

    @field_validator("potcars")
    @classmethod
    def _elements(cls, value: dict[str, str]) -> dict[str, str]:
        for element, symbol in value.items():
            if not Element.is_valid_symbol(element):
                raise ValueError(f"found {element!r}, expected an element symbol")
            if re.split(r"[_.]", symbol)[0] != element:
                raise ValueError(
                    f"found the POTCAR {symbol!r} for {element}, expected one of {element}"
                )
        return value

    @field_validator("incar", "pbe_incar", "hse06_incar")
    @classmethod
    def _free_settings(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        checked = check_incar(value)
        common = info.field_name == "incar"
        misplaced = [tag for tag in checked if tag in (HUBBARD if common else SHARED)]
        if misplaced and common:
            raise ValueError(
                f"found {misplaced[0]}, expected DFT+U under pbe_incar, and under hse06_incar too "
                "if the hybrid shall have it"
            )
        if misplaced:
            raise ValueError(
                f"found {misplaced[0]}, which both fidelities share, expected it under incar"
            )
        return checked

    @model_validator(mode="after")
    def _works(self) -> DftSettings:
        """Check what settings say together."""
        for name, own in (("pbe_incar", self.pbe_incar), ("hse06_incar", self.hse06_incar)):
            if twice := sorted(self.incar.keys() & own.keys()):
                raise ValueError(f"{name}: found {twice[0]} under incar too, expected it once")
            try:
                check_hubbard(own)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            settings = self.incar | own
            for axis, divisions in zip("XYZ", self.kpoints, strict=True):
                reduced = settings.get(f"NKRED{axis}", settings.get("NKRED", 1))
                if divisions % reduced:
                    raise ValueError(
                        f"kpoints: found {divisions} divisions along {axis.lower()} and NKRED "
                        f"{reduced}, expected a multiple"
                    )
            if settings.get("ISMEAR", 0) <= -4 and math.prod(self.kpoints) < 4:
                raise ValueError(
                    f"incar: found ISMEAR {settings['ISMEAR']}, expected 0: the tetrahedron method "
                    "needs 4 k-points"
                )
        if "MAGMOM" in self.incar and not self.spin:
            raise ValueError("spin: found false, expected true beside incar.MAGMOM")
        return self

    def incar_of(self, fidelity: Fidelity) -> dict[str, Any]:
        """Return the user's INCAR settings of a fidelity."""
        return self.incar | (self.pbe_incar if fidelity == "pbe" else self.hse06_incar)

    @property
    def differing(self) -> set[str]:
        """What of `LevelOfTheory` the user asked to be different at the two fidelities."""
        terms = [
            {tag: own.get(tag) for tag in HUBBARD} for own in (self.pbe_incar, self.hse06_incar)
        ]
        return set() if terms[0] == terms[1] else {"hubbard"}
