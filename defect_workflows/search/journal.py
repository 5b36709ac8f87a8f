"""What a search has relaxed so far, on the disk of one machine: a killed one goes on from there.

As with the checkpoint of a training, a journal that cannot be used or written costs time alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monty.json import MontyEncoder
from pymatgen.core import Structure

from defect_workflows.decoding import check
from defect_workflows.errors import UntrustedDocumentError

if TYPE_CHECKING:
    from defect_workflows.search.relax import Relaxation

logger = logging.getLogger(__name__)

PACKAGES = ("defect-workflows", "mace-torch", "torch", "torch-sim-atomistic")
"""Packages whose versions a journal must share with those that read it."""

STRUCTURES = ("structure", "doubtful")


class Journal:
    """A file with one line of JSON for each relaxation that has ended.

    Parameters
    ----------
    path
        The file; it need not exist.
    name
        Name of the search, a fingerprint: a file that carries another one is begun anew.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        versions = {package: importlib.metadata.version(package) for package in PACKAGES}
        self._identity = {"search": name, **versions}
        self._known = self._read()
        self._begun = bool(self._known)

    def find(self, key: str) -> Relaxation | None:
        """Return the relaxation of this fingerprint; None if it has not ended."""
        from defect_workflows.search.relax import Relaxation

        content = self._known.get(key)
        if content is None:
            return None
        structures = {
            name: None if content[name] is None else Structure.from_dict(content[name])
            for name in STRUCTURES
        }
        return Relaxation(**{**content, **structures})

    def add(self, key: str, relaxation: Relaxation) -> None:
        """Write down a relaxation that has ended."""
        content = {item.name: getattr(relaxation, item.name) for item in fields(relaxation)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a" if self._begun else "w") as lines:
                if not self._begun:
                    lines.write(json.dumps(self._identity))
                # the newline first: what was written before may be cut off
                lines.write("\n" + json.dumps([key, content], cls=MontyEncoder))
            self._begun = True
        except OSError as error:
            logger.warning("journal %s not written (%s)", self.path, error)

    def remove(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            first, *rest = self.path.read_text().splitlines()
            if json.loads(first) != self._identity:
                raise ValueError(f"found that of {first}")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("journal %s ignored (%s)", self.path, str(error).split("\n")[0])
            return {}
        known = {}
        for line in rest:
            try:
                key, content = json.loads(line)
                check(content, str(self.path))  # pymatgen decodes what its sites carry
                known[key] = content
            except ValueError:  # a search was killed while it wrote
                continue
            except UntrustedDocumentError as error:
                logger.warning("a line of journal %s ignored (%s)", self.path, error)
        return known
