"""What a user with finished VASP runs writes: `CALCULATIONS.yaml` and its validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from defect_workflows.charge import as_charge, signed_charge
from defect_workflows.documents.base import Matrix3D
from defect_workflows.errors import InputError, InvalidChargeError
from defect_workflows.userfile import Section, check_dielectric, check_potentials, read_file


class BulkEntry(Section):
    """The pristine supercell."""

    dir: Path = Field(description="Folder of the calculation: OUTCAR and/or vasprun.xml, LOCPOT.")
    dos: Path | None = Field(
        default=None,
        description="Folder with the vasprun.xml of a density of states of the host, for the "
        "self-consistent Fermi level. Default: none is computed.",
    )


class DielectricEntry(Section):
    """A dielectric tensor that is read from a calculation."""

    dir: Path = Field(
        description="Folder of a DFPT (or finite-field) calculation; ionic part included."
    )


class CompetingPhases(Section):
    """Chemical potentials from calculations of competing phases."""

    dirs: list[Path] = Field(
        min_length=1,
        description="Folders of the calculations, or one folder that holds them at any depth.",
    )
    limit: str | None = Field(
        default=None,
        description="Limit used, by its name (MgO-O2) or as O-rich, O-poor. Default: the first.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_folder(cls, value: Any) -> Any:
        if isinstance(value, dict) and "dir" in value and "dirs" not in value:
            value = {**value, "dirs": value["dir"]}
            del value["dir"]
        if isinstance(value, dict) and isinstance(value.get("dirs"), str):
            value = {**value, "dirs": [value["dirs"]]}
        return value


class DefectCalculation(Section):
    """One finished calculation of a defect; several of one state are compared."""

    name: str = Field(
        min_length=1,
        description="Name of the defect, e.g. v_Cd; its charge may stand at the end: v_Cd_-2.",
    )
    charge: int | None = Field(
        default=None, description="Charge in units of e. Default: that of the calculation."
    )
    dir: Path = Field(description="Folder of the calculation: OUTCAR and/or vasprun.xml, LOCPOT.")
    _named_charge: bool = PrivateAttr(default=False)

    @field_validator("charge", mode="before")
    @classmethod
    def _integer(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            return as_charge(value)
        except InvalidChargeError as error:
            raise ValueError(str(error).removeprefix("charge: ")) from None

    @model_validator(mode="after")
    def _charge_in_name(self) -> Self:
        """Take a charge off the name's end, where it certainly is one: v_Cd_-2."""
        if found := signed_charge(self.name):
            name, named = found
            if self.charge is not None and named != self.charge:
                raise ValueError(
                    f"found name {self.name!r} with charge {self.charge:+d}, expected the same"
                )
            self.name, self.charge = name, named
            self._named_charge = True
        return self

    @property
    def charge_in_name(self) -> bool:
        """Whether the name certainly had the charge, which was taken off."""
        return self._named_charge


def state_name(defect: str, charge: int) -> str:
    """Return the name of a state as doped writes it: v_Cd_-2, v_Cd_0."""
    return f"{defect}_{charge:+d}" if charge else f"{defect}_0"


class Calculations(Section):
    """Finished VASP calculations, from which levels are made."""

    bulk: BulkEntry
    dielectric: float | tuple[float, float, float] | Matrix3D | DielectricEntry | None = Field(
        default=None,
        description="Dielectric constant or tensor, high-frequency + ionic, in the Cartesian axes "
        "of the supercell: number, three numbers, 3x3, or {dir: ...} of a DFPT calculation.",
    )
    correction: Literal["auto", "eFNV", "FNV", "none"] = Field(
        default="auto", description="Finite-size correction; auto: eFNV where possible, else FNV."
    )
    vbm: float | None = Field(
        default=None, allow_inf_nan=False, description="VBM in eV. Default: from the bulk."
    )
    band_gap: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Gap in eV. Default: from the bulk."
    )
    chemical_potentials: dict[str, float] | CompetingPhases | None = Field(
        default=None,
        description="{element: eV}, absolute, of the same functional; or {dirs: [...]} of "
        "competing phases. Default: elemental references 0.",
    )
    temperature: float = Field(
        default=300.0, gt=0, description="Temperature of the self-consistent Fermi level in K."
    )
    defects: list[DefectCalculation] = Field(min_length=1)

    @field_validator("bulk", mode="before")
    @classmethod
    def _bulk_folder(cls, value: Any) -> Any:
        return {"dir": value} if isinstance(value, str) else value

    @field_validator("dielectric", mode="before")
    @classmethod
    def _dielectric_folder(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("expected a number, three numbers, 3x3 or {dir: ...}")
        if isinstance(value, str):
            return {"dir": value}
        if isinstance(value, list) and (
            len(value) != 3 or len({isinstance(row, list) for row in value}) != 1
        ):
            raise ValueError("expected a number, three numbers, 3x3 or {dir: ...}")
        return value

    @field_validator("dielectric", mode="after")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, DielectricEntry):
            check_dielectric(value)
        return value

    @field_validator("chemical_potentials", mode="before")
    @classmethod
    def _potentials(cls, value: Any) -> Any:
        """Tell apart what pydantic would only report as two alternatives that both failed."""
        if not isinstance(value, dict):
            return value
        if {"dir", "dirs", "limit"} & set(value):
            return CompetingPhases.model_validate(value)
        return check_potentials(value, "an element symbol or dirs")

    @model_validator(mode="after")
    def _dielectric_needed(self) -> Self:
        charged = any(defect.charge != 0 for defect in self.defects)
        if self.dielectric is None and self.correction != "none" and charged:
            raise ValueError(
                "dielectric: found none, expected the tensor that the corrections need "
                "(or correction: none)"
            )
        return self

    @classmethod
    def from_file(cls, path: Path | str) -> Calculations:
        """Read and validate a file; relative folders are relative to it.

        Raises
        ------
        InputError
            One line that names file, key, what was found and what is expected.
        """
        path = Path(path)
        found = read_file(path, cls, "a file of calculations")
        root = path.parent
        found.bulk.dir = root / found.bulk.dir
        if found.bulk.dos is not None:
            found.bulk.dos = root / found.bulk.dos
        if isinstance(found.dielectric, DielectricEntry):
            found.dielectric.dir = root / found.dielectric.dir
        if isinstance(found.chemical_potentials, CompetingPhases):
            found.chemical_potentials.dirs = [root / one for one in found.chemical_potentials.dirs]
        for defect in found.defects:
            defect.dir = root / defect.dir
        for key, folder in found.needed_folders().items():
            if not folder.is_dir():
                raise InputError(f"{path}: {key}: found no folder {folder}, expected one")
        return found

    def needed_folders(self) -> dict[str, Path]:
        """Return the folders without which there is no result at all, by key."""
        needed = {"bulk.dir": self.bulk.dir}
        if self.bulk.dos is not None:
            needed["bulk.dos"] = self.bulk.dos
        if isinstance(self.dielectric, DielectricEntry):
            needed["dielectric.dir"] = self.dielectric.dir
        if isinstance(self.chemical_potentials, CompetingPhases):
            needed |= {
                f"chemical_potentials.dirs.{index}": folder
                for index, folder in enumerate(self.chemical_potentials.dirs)
            }
        return needed
