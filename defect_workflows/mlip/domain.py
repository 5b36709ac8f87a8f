"""How far a structure is from what the potential was trained on, in the features of its atoms.

The members of a committee learned from the same labels and are often wrong together. How far an
atom is from the nearest atom of its element that was trained on, in the invariant features that the
model makes energies of, tells more of the errors (Janet et al., Chem. Sci. 10, 7913 (2019);
benchmarks).
"""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from mace.modules.utils import extract_invariant

from defect_workflows.documents.potential import TrainedAtoms
from defect_workflows.fidelity import Fidelity

FLATTEST = 1e-3
"""Features that vary less than this share of the one that varies most count as if they did."""

ORDER = 8
"""The distances of the atoms make that of a structure as a norm of this order: nearly the largest,
but smooth, so that structures can be relaxed on it."""

NEAREST = 1e-3
"""Distances below this are not told apart."""


def invariants(model: Any, node_features: torch.Tensor) -> torch.Tensor:
    """Return the features of atoms that do not change with the orientation of the structure.

    Parameters
    ----------
    model
        MACE model that they are of.
    node_features
        Its ``node_feats``, shape (atoms, all features of all layers).

    Returns
    -------
    tensor, shape (atoms, features)
    """
    hidden = model.products[0].linear.irreps_out
    return extract_invariant(
        node_features.double(),
        num_layers=int(model.num_interactions),
        num_features=hidden.count("0e"),
        l_max=hidden.lmax,
    )


def trained_atoms(
    fidelity: Fidelity, structures: Iterable[tuple[np.ndarray, np.ndarray]]
) -> list[TrainedAtoms]:
    """Return the record of the atoms that a head was trained on, one per element.

    Parameters
    ----------
    fidelity
        The head.
    structures
        Atomic numbers, shape (n,), and features, shape (n, features), of each structure.
    """
    pairs = list(structures)
    numbers = np.concatenate([pair[0] for pair in pairs])
    features = np.vstack([pair[1] for pair in pairs])
    records = []
    for number in sorted(set(numbers.tolist())):
        mine = features[numbers == number]
        spread = mine.std(axis=0)
        scale = np.maximum(spread, FLATTEST * max(float(spread.max()), np.finfo(float).tiny))
        records.append(
            TrainedAtoms(
                fidelity=fidelity,
                element=chemical_symbols[number],
                scale=scale.tolist(),
                features=base64.b64encode((mine / scale).astype("<f4").tobytes()).decode(),
            )
        )
    return records


class Domain:
    """What the heads of a potential were trained on, atom by atom."""

    def __init__(self, records: Sequence[TrainedAtoms], device: torch.device | None = None) -> None:
        self._atoms: dict[tuple[str, int], tuple[torch.Tensor, torch.Tensor]] = {}
        for record in records:
            flat = np.frombuffer(base64.b64decode(record.features), dtype="<f4").astype(float)
            features = torch.tensor(flat.reshape(-1, len(record.scale)), device=device)
            scale = torch.tensor(record.scale, device=device, dtype=features.dtype)
            self._atoms[record.fidelity, atomic_numbers[record.element]] = scale, features

    def squared_distances(
        self, head: str, numbers: torch.Tensor, features: torch.Tensor, systems: torch.Tensor
    ) -> torch.Tensor:
        """Return squares of the distances of structures from what was trained on.

        Of each atom to the nearest one of its element and head, each feature in units of its
        standard deviation there; infinite if there is none. `ORDER` makes one of all atoms.

        Parameters
        ----------
        head
            The head.
        numbers
            Atomic numbers of all atoms, shape (n,).
        features
            Their features, shape (n, features).
        systems
            Index of the structure of each atom, shape (n,).

        Returns
        -------
        tensor, shape (structures,)
            Differentiable by the features.
        """
        squares = torch.full_like(features[:, 0], torch.inf)
        for number in set(numbers.tolist()):
            if (head, number) in self._atoms:
                scale, known = self._atoms[head, number]
                mine = numbers == number
                scaled = features[mine] / scale
                with torch.no_grad():
                    nearest = torch.cdist(scaled, known).argmin(dim=1)
                squares = squares.masked_scatter(mine, ((scaled - known[nearest]) ** 2).sum(dim=1))
        structures = int(systems.max()) + 1
        powers = torch.zeros(structures, device=squares.device, dtype=squares.dtype).index_add(
            0, systems, (squares + NEAREST**2) ** (ORDER / 2)
        )
        return powers ** (2 / ORDER)
