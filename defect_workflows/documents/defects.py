"""Host, defect states and the configurations to label."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator
from pymatgen.core import Structure

from defect_workflows.charge import as_charge, charge_of
from defect_workflows.documents.base import (
    Document,
    EncodedObject,
    Matrix3D,
    StructureField,
)
from defect_workflows.reuse import fingerprint

BULK = "bulk"
"""Name of the pristine supercell where a defect state would stand."""

PRISTINE = f"{BULK}/pristine"
"""Family of the undistorted pristine supercell."""

Kind = Literal["bulk", "rattle", "distortion", "path", "search", "ingested"]
"""How a configuration was made."""


def defect_of(state: str) -> str:
    """Return the defect of a state's name, without the charge: v_Cd of v_Cd_-2; bulk of bulk."""
    return state if state == BULK else state.rsplit("_", 1)[0]


class HostDocument(Document):
    """The host crystal: its supercell and what levels are referred to."""

    name: str = Field(description="Reduced formula of the host, e.g. CdTe.")
    primitive: StructureField = Field(description="Primitive cell of the host.")
    supercell: StructureField = Field(description="Pristine supercell, charge 0.")
    supercell_matrix: list[list[int]] = Field(
        description="Integer matrix that makes the supercell from the primitive cell."
    )
    dielectric: Matrix3D | None = Field(
        description="Dielectric tensor, high-frequency + ionic, relative to the vacuum; None where "
        "charged states stay uncorrected."
    )


class DefectState(Document):
    """A defect in one charge state."""

    name: str = Field(description="doped's name with the charge, e.g. v_Cd_-2.")
    defect: str = Field(description="doped's name of the defect without charge, e.g. v_Cd.")
    charge: int = Field(description="Charge in units of e.")
    structure: StructureField = Field(
        description="Unrelaxed defect supercell, which carries the charge."
    )
    site: tuple[float, float, float] = Field(
        description="Fractional coordinates of the defect in the supercell."
    )
    entry: EncodedObject = Field(description="doped's DefectEntry of the unrelaxed state, as_dict.")

    @field_validator("charge", mode="before")
    @classmethod
    def _integer(cls, value: Any) -> int:
        return as_charge(value)


class Origin(Document):
    """Where a configuration comes from."""

    state: str = Field(description="Defect state it was made for, or 'bulk'.")
    family: str = Field(
        description=(
            "Start geometry, independent of the charge, e.g. 'v_Cd/Bond_Distortion_-40.0%'. "
            "Held-out data are split by family, so that paired geometries stay together."
        )
    )
    kind: Kind = Field(description="How it was made.")
    round: int = Field(default=0, description="Round of the campaign that made it.")

    @property
    def defect(self) -> str:
        """Defect of the state, without the charge, or 'bulk'."""
        return defect_of(self.state)


class ChargedConfiguration(Document):
    """A structure with a charge and an origin."""

    id: str = Field(description="Fingerprint of structure and charge.")
    structure: StructureField = Field(description="Structure, which carries the charge.")
    origin: Origin = Field(description="Where it comes from.")

    @classmethod
    def of(cls, structure: Structure, origin: Origin) -> Self:
        """Make a configuration; its id follows from structure and charge."""
        return cls(id=fingerprint(structure), structure=structure, origin=origin)

    @property
    def charge(self) -> int:
        """Charge in units of e; raises if the structure carries none."""
        return charge_of(self.structure)


class DefectSet(Document):
    """The host with every defect state of a campaign."""

    host: HostDocument = Field(description="Host crystal and its supercell.")
    pristine: ChargedConfiguration = Field(description="The pristine supercell, to be labelled.")
    states: list[DefectState] = Field(description="Defect states.")


class ConfigurationSet(Document):
    """Configurations on their way to a single point."""

    configurations: list[ChargedConfiguration] = Field(description="What to label.")
