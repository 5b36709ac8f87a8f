"""A model as its weights and the settings that build it: a file that nothing is executed from.

MACE's own model files are pickles, which run what their maker put there. Here the architecture is
plain data, checked before a model is built from it, and the weights are read with torch's
restricted unpickler.
"""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import copy
import io
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
from e3nn import o3
from mace import modules
from mace.tools.scripts_utils import extract_config_mace_model
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from defect_workflows.errors import PotentialError
from defect_workflows.mlip.dataset import default_dtype

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
E0 = "atomic_energies_fn.atomic_energies"
"""The weights that are in double precision whatever the model is in."""


def _one_of(table: dict[str, Any]) -> AfterValidator:
    def known(name: str) -> str:
        if name not in table:
            raise ValueError(f"expected one of {', '.join(table)}")
        return name

    return AfterValidator(known)


def _irreps(text: str) -> str:
    return str(o3.Irreps(text))


Interaction = Annotated[str, _one_of(modules.interaction_classes)]
Irreps = Annotated[str, Field(max_length=200), AfterValidator(_irreps)]
Size = Annotated[int, Field(ge=1, le=4096)]


class Embedding(BaseModel):
    """How a number per configuration or atom is embedded, in MACE's terms."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["categorical", "continuous"]
    per: Literal["graph", "node"]
    emb_dim: Size
    num_classes: Size | None = None
    offset: int | None = None
    in_dim: Size | None = None


class ModelSettings(BaseModel):
    """What `mace.modules.ScaleShiftMACE` is built with, names instead of classes."""

    model_config = ConfigDict(extra="forbid")

    precision: Literal["float32", "float64"]
    heads: list[str] = Field(min_length=1)
    atomic_numbers: list[Annotated[int, Field(ge=1, le=118)]] = Field(min_length=1)
    r_max: float = Field(gt=0, le=100)
    num_bessel: Size
    num_polynomial_cutoff: Size
    max_ell: int = Field(ge=0, le=20)
    num_interactions: int = Field(ge=1, le=20)
    interaction_cls: Interaction
    interaction_cls_first: Interaction
    readout_cls: Annotated[str, _one_of(modules.readout_classes)]
    gate: Annotated[str, _one_of(modules.gate_dict)]
    hidden_irreps: Irreps
    MLP_irreps: Irreps
    edge_irreps: Irreps | None
    correlation: int = Field(ge=1, le=10)
    radial_MLP: list[Size]
    radial_type: Literal["bessel", "gaussian", "chebyshev"]
    distance_transform: Literal["Agnesi", "Soft"] | None
    avg_num_neighbors: list[Annotated[float, Field(gt=0)]]
    embedding_specs: dict[str, Embedding] | None
    pair_repulsion: bool
    apply_cutoff: bool
    use_reduced_cg: bool
    use_so3: bool
    use_agnostic_product: bool
    use_last_readout_only: bool
    use_embedding_readout: bool
    use_edge_irreps_first: bool

    @classmethod
    def of(cls, model: Any) -> ModelSettings:
        """Return the settings of a model without cuequivariance's kernels.

        Raises
        ------
        PotentialError
            If it has parts that have no name here.
        """
        if type(model) is not modules.ScaleShiftMACE:
            raise PotentialError(f"model: found {type(model).__name__}, expected ScaleShiftMACE")
        parts: Any = model.interactions
        numbers: Any = model.atomic_numbers
        found = extract_config_mace_model(model)
        irreps = ("hidden_irreps", "MLP_irreps", "edge_irreps")
        tables: dict[str, dict[str, Any]] = {
            "interaction_cls": modules.interaction_classes,
            "interaction_cls_first": modules.interaction_classes,
            "readout_cls": modules.readout_classes,
            "gate": modules.gate_dict,
        }
        changed: dict[str, Any] = {
            "precision": str(model.r_max.dtype).removeprefix("torch."),
            "heads": list(model.heads),
            "atomic_numbers": numbers.tolist(),
            "radial_MLP": list(found["radial_MLP"]),
            "avg_num_neighbors": [float(part.avg_num_neighbors) for part in parts],
            "embedding_specs": (
                model.embedding_specs if hasattr(model, "joint_embedding") else None
            ),
            **{name: None if found[name] is None else str(found[name]) for name in irreps},
            **{name: _name(table, found[name], name) for name, table in tables.items()},
        }
        kept = {name: found[name] for name in cls.model_fields if name in found}
        return cls.model_validate({**kept, **changed})

    def build(self) -> modules.ScaleShiftMACE:
        """Return an untrained model, on the CPU."""
        sizes = len(self.heads), len(self.atomic_numbers)
        architecture = self.model_dump(exclude={"precision", "avg_num_neighbors"})
        if self.embedding_specs is not None:
            architecture["embedding_specs"] = {
                name: spec.model_dump(exclude_none=True)
                for name, spec in self.embedding_specs.items()
            }
        architecture |= {
            "interaction_cls": modules.interaction_classes[self.interaction_cls],
            "interaction_cls_first": modules.interaction_classes[self.interaction_cls_first],
            "readout_cls": modules.readout_classes[self.readout_cls],
            "gate": modules.gate_dict[self.gate],
            "hidden_irreps": o3.Irreps(self.hidden_irreps),
            "MLP_irreps": o3.Irreps(self.MLP_irreps),
            "edge_irreps": None if self.edge_irreps is None else o3.Irreps(self.edge_irreps),
        }
        # forked: a model that is loaded changes no random number that is drawn later
        with default_dtype(PRECISIONS[self.precision]), torch.random.fork_rng(devices=[]):
            model = modules.ScaleShiftMACE(
                **architecture,
                num_elements=sizes[1],
                avg_num_neighbors=1.0,
                atomic_energies=torch.zeros(sizes).numpy(),
                atomic_inter_scale=[1.0] * sizes[0],  # type: ignore[arg-type]  # one per head
                atomic_inter_shift=[0.0] * sizes[0],  # type: ignore[arg-type]
            )
        for part, number in zip(model.interactions, self.avg_num_neighbors, strict=True):
            setattr(part, "avg_num_neighbors", number)  # noqa: B010  # torch types it as a module
        return model


def to_bytes(model: Any) -> bytes:
    """Return the file of a model on the CPU, without cuequivariance's kernels.

    Raises
    ------
    PotentialError
        If the model that the file gives back differs in anything that has an effect.
    """
    settings = ModelSettings.of(model).model_dump(mode="json")
    buffer = io.BytesIO()
    torch.save({"settings": settings, "weights": dict(model.state_dict())}, buffer)
    content = buffer.getvalue()
    _same(from_bytes(content), model)
    return content


def from_bytes(content: bytes) -> modules.ScaleShiftMACE:
    """Return the model of a file, on the CPU, in the precision that it was saved in.

    Raises
    ------
    PotentialError
        If the file holds anything but weights and settings that fit each other.
    """
    try:
        # importing mace makes torch unpickle everything unless it is told here
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        settings = ModelSettings.model_validate(found["settings"])
        weights = found["weights"]
        model = copy.deepcopy(_built(settings.model_dump_json()))
        model.load_state_dict(weights)
        model.atomic_energies_fn.atomic_energies = weights[E0]  # copying would round them
    except Exception as error:  # whatever a file that is none makes torch, pydantic or MACE raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise PotentialError(
            f"model file: found {reason}; expected weights and settings of this version, as "
            "trained: train again"
        ) from None
    return model


@lru_cache(maxsize=2)
def _built(settings: str) -> modules.ScaleShiftMACE:
    """Return the untrained model of settings; members of a committee share them, building lasts."""
    return ModelSettings.model_validate_json(settings).build()


def _name(table: dict[str, Any], found: Any, key: str) -> str:
    """Return the name that a part has in one of MACE's tables."""
    for name, part in table.items():
        if part is found:
            return name
    raise PotentialError(f"model: {key}: found {found}, expected one of {', '.join(table)}")


def _same(rebuilt: torch.nn.Module, model: torch.nn.Module) -> None:
    """Check that two models have the same parts with the same numbers, constants included."""
    one, other = (dict(each.named_modules()) for each in (rebuilt, model))
    differing = one.keys() ^ other.keys()
    for name in one.keys() & other.keys():
        if _numbers(one[name]) != _numbers(other[name]):
            differing.add(name)
    states = rebuilt.state_dict(), model.state_dict()
    for name in states[0].keys() | states[1].keys():
        if any(name not in state for state in states) or not torch.equal(
            *(state[name] for state in states)
        ):
            differing.add(name)
    if differing:
        raise PotentialError(
            f"model: found {', '.join(sorted(differing)[:5])} of its own, expected what MACE "
            "builds from its settings"
        )


def _numbers(module: torch.nn.Module) -> dict[str, Any]:
    """Return the plain constants of a part, which no state holds, as avg_num_neighbors."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str) and name != "training"
    }
