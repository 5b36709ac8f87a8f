"""What the files that users write have in common: unknown keys are refused, errors are one line."""

from __future__ import annotations

import difflib
import re
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pymatgen.core import Element

from defect_workflows.documents.base import Matrix3D
from defect_workflows.errors import InputError, short
from defect_workflows.terminal import printable

MOST_BYTES = 1_000_000
"""Size of a file that a user wrote, at most."""

MOST_VALUES = 200_000
"""Values that such a file may have once all its references are followed."""


class Section(BaseModel):
    """A part of a file that a user writes: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")

    def as_dict(self) -> dict[str, Any]:
        """Return what monty makes the section of again.

        Makers hold sections, and what FireWorks does to a maker turns bare pydantic into text.
        """
        kind = type(self)
        plain = self.model_dump(mode="json")
        return {"@module": kind.__module__, "@class": kind.__name__, **plain}


def read_file[S: Section](path: Path, kind: type[S], what: str) -> S:
    """Read and validate a YAML file.

    Parameters
    ----------
    path
        The file.
    kind
        The section that the file is.
    what
        What the file is called in errors, e.g. 'a campaign file'.

    Raises
    ------
    InputError
        One line that names file, key, what was found and what is expected.
    """
    raw = _parsed(path, what)
    if not isinstance(raw, dict):
        required = next(name for name, field in kind.model_fields.items() if field.is_required())
        raise InputError(
            f"{path}: found {type(raw).__name__}, expected a mapping with a {required}"
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error, kind)}") from None


def _parsed(path: Path, what: str) -> Any:
    """Return what a YAML file holds, if it is of a size and depth that a user would write."""
    try:
        with path.open("rb") as file:  # not its size: a pipe or a device has none
            content = file.read(MOST_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: cannot be read ({reason}), expected {what}") from None
    if len(content) > MOST_BYTES:
        raise InputError(
            f"{path}: found more than {MOST_BYTES / 1e6:g} MB, expected {what} of less"
        )
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, path, {}) > MOST_VALUES:
            raise InputError(
                f"{path}: found references (*) that make more than {MOST_VALUES} values, "
                f"expected {what} with fewer"
            )
        return loader.construct_document(node)
    except RecursionError:
        raise InputError(f"{path}: found values nested too deeply, expected {what}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    except ValueError as error:  # a date that is none
        raise InputError(f"{path}: found a value that YAML cannot read ({error})") from None


def _values(node: yaml.Node, path: Path, counted: dict[int, int]) -> int:
    """Count the values below a node, and check keys and characters.

    What is referred to again counts again, without being looked at again.
    """
    if id(node) in counted:
        if not counted[id(node)]:
            raise InputError(f"{path}: {_line(node)}: found a value that refers to itself")
        return counted[id(node)]
    counted[id(node)] = 0  # until all below is counted
    total = 1
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in keys:
                    raise InputError(
                        f"{path}: {_line(key)}: {short(key.value)}: found a second time, expected "
                        "each key once"
                    )
                keys.add((key.tag, key.value))
            total += _values(key, path, counted) + _values(value, path, counted)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_values(item, path, counted) for item in node.value)
    elif printable(node.value) != node.value:
        raise InputError(
            f"{path}: {_line(node)}: found {short(node.value)}, expected no control characters"
        )
    counted[id(node)] = total
    return total


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def dielectric_tensor(value: float | tuple[float, ...] | Matrix3D) -> Matrix3D:
    """Return the 3x3 tensor of a number, three numbers or a tensor."""
    array = np.asarray(value, dtype=float)
    tensor = array if array.ndim == 2 else np.eye(3) * array
    return typing.cast(Matrix3D, tuple(tuple(float(x) for x in row) for row in tensor))


def check_dielectric(value: float | tuple[float, ...] | Matrix3D) -> None:
    """Check that a dielectric constant or tensor can be one.

    Raises
    ------
    ValueError
        If it is not symmetric and at least that of the vacuum along every axis.
    """
    tensor = np.array(dielectric_tensor(value))
    if not np.isfinite(tensor).all():
        raise ValueError("expected finite numbers")
    if not np.allclose(tensor, tensor.T, atol=1e-3 * np.abs(tensor).max()):
        raise ValueError("expected a symmetric tensor")
    smallest = np.linalg.eigvalsh(tensor).min()
    if smallest <= 0:
        raise ValueError("expected a positive definite tensor")
    if smallest < 1 - 1e-6:
        raise ValueError("expected at least 1, that of the vacuum, along every axis")


def check_potentials(value: dict[Any, Any], expected: str = "an element symbol") -> dict[Any, Any]:
    """Return chemical potentials if they are finite numbers by element.

    Raises
    ------
    ValueError
        Names the element or the value.
    """
    for symbol, energy in value.items():
        if not Element.is_valid_symbol(str(symbol)):
            raise ValueError(f"found {symbol!r}, expected {expected}")
        number = isinstance(energy, int | float) and not isinstance(energy, bool)
        if not number or not np.isfinite(energy):
            raise ValueError(f"found {energy!r} for {symbol}, expected a number in eV")
    return value


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            if section := _section_of(argument):
                return section
    return None


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first validation problem as one line with the nearest valid key."""
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    location = [part for part in problem["loc"] if not _is_alternative(part)]
    key = ".".join(str(part)[:80] for part in location)
    if problem["type"] == "extra_forbidden":
        section: type[BaseModel] = model
        for part in location[:-1]:
            if isinstance(part, str) and part in section.model_fields:
                section = _section_of(section.model_fields[part].annotation) or section
        names = list(section.model_fields)
        near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
        return f"{key}: unknown key, {hint}"
    if problem["type"] == "missing":
        return f"{key}: missing, expected a value"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f"found {short(problem['input'])}, "
    text = message if "found" in message else found + message
    return f"{key}: {text}" if key else text


def _is_alternative(part: int | str) -> bool:
    """Tell whether a part of a location is pydantic's name of an alternative, not a user's key."""
    return isinstance(part, str) and bool(re.fullmatch(r"float|.*\[.*|[A-Z]\w{2,}", part))
