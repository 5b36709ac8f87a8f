"""Trained models back from their bytes, which are read only if they have the recorded hash."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import base64
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch

from defect_workflows.errors import PotentialError
from defect_workflows.mlip.weights import from_bytes

if TYPE_CHECKING:
    from defect_workflows.documents.potential import CommitteeMember

Device = Literal["auto", "cpu", "cuda"]

KEPT = 4
"""Models that a process keeps: those of the present round, of a committee twice the usual size."""


def resolve_device(device: Device) -> torch.device:
    """Return the torch device of a setting; 'auto' takes a GPU when there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise PotentialError("device: found 'cuda', but torch sees no GPU here; expected 'cpu'")
    return torch.device(device)


def load_model(member: CommitteeMember, device: torch.device) -> Any:
    """Load the MACE model of a committee member in double precision.

    Raises
    ------
    PotentialError
        If the bytes do not have the recorded hash, or are no weights with their settings.
    """
    return _model(_content(member), device)


def kept_model(member: CommitteeMember, device: torch.device) -> Any:
    """Return the same, from memory where this process has loaded it before: not to be changed.

    A worker takes dozens of steps with one potential, and loading it would be a fifth of each.

    Raises
    ------
    PotentialError
        As `load_model`.
    """
    return _kept(_content(member), device)


def _content(member: CommitteeMember) -> bytes:
    content = base64.b64decode(member.model)
    found = hashlib.sha256(content).hexdigest()
    if found != member.sha256:
        raise PotentialError(
            f"model of seed {member.seed}: found sha256 {found[:12]}, expected "
            f"{member.sha256[:12]}; refused unread"
        )
    return content


def _model(content: bytes, device: torch.device) -> Any:
    model = from_bytes(content)
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model.to(device).double().eval()


_kept = lru_cache(maxsize=KEPT)(_model)
