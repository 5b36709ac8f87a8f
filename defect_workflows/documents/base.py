"""What every document shares."""

from __future__ import annotations

import json
from typing import Annotated, Any

from monty.json import MontyEncoder, MSONable
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pymatgen.core import Structure


def _to_structure(value: Any) -> Any:
    return Structure.from_dict(value) if isinstance(value, dict) else value


StructureField = Annotated[
    Structure,
    BeforeValidator(_to_structure),
    PlainSerializer(lambda structure: structure.as_dict(), return_type=dict),
]
"""A pymatgen structure that survives a store: a dict there, a Structure here."""


def _to_encoded(value: Any) -> Any:
    return json.loads(json.dumps(value, cls=MontyEncoder)) if isinstance(value, MSONable) else value


EncodedObject = Annotated[dict[str, Any], BeforeValidator(_to_encoded)]
"""An object of another package as its dict: a store hands the object back, a dict here again."""

Vector3D = tuple[float, float, float]
Matrix3D = tuple[Vector3D, Vector3D, Vector3D]


class Document(BaseModel):
    """A document of a stage: unknown fields are refused, structures allowed."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
