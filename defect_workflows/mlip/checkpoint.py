"""A training's state on the disk of one machine: it saves time, and its absence costs nothing else.

A checkpoint that cannot be used (none there, truncated, of another training or version) or cannot
be written is no error: one line in the log, and the training begins anew, or goes on without.
"""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import importlib.metadata
import logging
import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds of work that a killed training may lose, rounded up to whole epochs."""

PACKAGES = ("defect-workflows", "mace-torch", "torch")
"""Packages whose versions a checkpoint must share with those that read it."""


@dataclass
class Checkpoint:
    """A file with the state of one training.

    Attributes
    ----------
    path
        The file.
    name
        Name of the training, a fingerprint: a file that carries another one is not used.
    interval
        Seconds between two writings.
    """

    path: Path
    name: str
    interval: float = INTERVAL
    _written: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved, tensors on the CPU; None if there is none to use."""
        try:
            # weights_only: what lies in a folder that others may write to is never executed
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["identity"] != self._identity():
                raise ValueError(f"found that of {content['identity']}")
            return content["state"]
        except FileNotFoundError:
            return None
        except (
            OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError
        ) as error:  # fmt: skip
            reason = str(error).split("\n")[0]
            logger.warning("checkpoint %s ignored (%s)", self.path, reason)
            return None

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state if it is time to; the file is the old one or the new one, never a part.

        Parameters
        ----------
        state
            Returns tensors, numbers and text, in lists and dicts.
        """
        if time.monotonic() - self._written < self.interval:
            return
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"identity": self._identity(), "state": state()}, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            with suppress(OSError):
                partial.unlink()
            logger.warning("checkpoint %s not written (%s)", self.path, str(error).split("\n")[0])
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, and what trainings that were killed while writing left of it."""
        with suppress(OSError):
            for file in [self.path, *self.path.parent.glob(f"{self.path.name}.*.partial")]:
                file.unlink(missing_ok=True)

    def _identity(self) -> dict[str, str]:
        versions = {package: importlib.metadata.version(package) for package in PACKAGES}
        return {"training": self.name, **versions}
