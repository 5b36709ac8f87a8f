"""What is known before training: E0 per element and an offset per charge, for each head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from defect_workflows.documents.potential import AtomEnergy, Baseline
from defect_workflows.errors import PotentialError
from defect_workflows.fidelity import Fidelity
from defect_workflows.mlip.dataset import elements_of, heads_of, sampled

if TYPE_CHECKING:
    from defect_workflows.documents.labels import Label

NEAR_MINIMUM = 0.5
"""Force in eV/Å below which labels count equally in a fit, above it by the inverse square."""

RANK_TOLERANCE = 1e-7
"""Relative singular value below which compositions count as proportional."""


@dataclass(frozen=True)
class Reference:
    """E0s (eV, shape (heads, elements)) and offsets (eV per supercell) of all heads."""

    heads: list[Fidelity]
    elements: list[str]
    atom_energies: np.ndarray
    offsets: dict[tuple[Fidelity, int], float]

    def energy(self, label: Label, fidelity: Fidelity | None = None) -> float:
        """Return E0s plus charge offset of a label in eV, at its own or another fidelity."""
        head = fidelity or label.fidelity
        atoms = _amounts([label], self.elements)[0] @ self.atom_energies[self.heads.index(head)]
        return float(atoms) + self.offsets[head, label.charge]

    def documents(self) -> tuple[list[AtomEnergy], list[Baseline]]:
        """Return the records that a PotentialDocument keeps."""
        energies = [
            AtomEnergy(fidelity=head, element=element, energy=float(self.atom_energies[i, j]))
            for i, head in enumerate(self.heads)
            for j, element in enumerate(self.elements)
        ]
        return energies, [
            Baseline(fidelity=head, charge=charge, offset=offset)
            for (head, charge), offset in sorted(self.offsets.items())
        ]


def fit_reference(labels: Sequence[Label]) -> Reference:
    """Fit E0s on neutral labels, then the offset of every other charge.

    The first head's E0s are the least-squares solution of smallest norm. A further head has few
    labels, of few compositions, so its E0s are the first head's plus the smallest correction
    that fits: the same solution for the difference of the two fidelities on the same
    configurations, where the energy of the distortion mostly cancels. An offset is the mean
    of what E0s leave over at its charge, for a further head again as a difference. Labels count
    by the inverse of their mean squared force: the energy above the minimum goes with it, and
    distortions of ten eV would put the zero eV away from the minima that matter. Labels of
    searches do not count, so that later rounds keep the zero of energy that the model they start
    from has learned.

    Raises
    ------
    PotentialError
        If a head has no neutral label.
    """
    labels = [label for label in labels if sampled(label)]
    heads, elements = heads_of(labels), elements_of(labels)
    lower: dict[str, Label] = {}
    reference = Reference(heads, elements, np.zeros((len(heads), len(elements))), {})
    for index, head in enumerate(heads):
        own = [label for label in labels if label.fidelity == head]
        neutral = [label for label in own if label.charge == 0]
        if not neutral:
            raise PotentialError(f"labels: found no neutral one at {head}, expected some for E0s")
        start = reference.atom_energies[0] if index else np.zeros(len(elements))
        amounts = _amounts(neutral, elements)
        known = np.array([_known(label, reference, lower) for label in neutral])
        energies = np.array([label.energy for label in neutral])
        scale = np.sqrt(_weights(neutral))
        change = np.linalg.lstsq(
            scale[:, None] * amounts, scale * (energies - known), rcond=RANK_TOLERANCE
        )[0]
        reference.atom_energies[index] = start + change
        for charge in sorted({label.charge for label in own}):
            # E0s are the neutral zero: what they leave over there is for the model to learn
            if charge == 0:
                reference.offsets[head, 0] = 0.0
                continue
            there = [label for label in own if label.charge == charge]
            left = [label.energy - _known(label, reference, lower) for label in there]
            inherited = reference.offsets.get((heads[0], charge), 0.0) if index else 0.0
            mean = np.average(left - _amounts(there, elements) @ change, weights=_weights(there))
            reference.offsets[head, charge] = inherited + float(mean)
        if not index:
            lower = {label.configuration.id: label for label in own}
    return reference


def _known(label: Label, reference: Reference, lower: dict[str, Label]) -> float:
    """Return what the first head knows of a label's energy in eV: its own label, or its zero."""
    if not lower:
        return 0.0
    if (twin := lower.get(label.configuration.id)) is not None:
        return twin.energy
    first = reference.heads[0]
    if (first, label.charge) not in reference.offsets:
        return float(_amounts([label], reference.elements)[0] @ reference.atom_energies[0])
    return reference.energy(label, first)


def _weights(labels: Sequence[Label]) -> np.ndarray:
    """Return the weight of each label in a fit, in Å^2/eV^2, shape (labels,)."""
    squares = np.array([np.mean(np.square(label.forces)) for label in labels])
    return 1.0 / (NEAR_MINIMUM**2 + squares)


def _amounts(labels: Sequence[Label], elements: Sequence[str]) -> np.ndarray:
    """Return the number of atoms of each element, shape (labels, elements)."""
    counts = [
        Counter(site.specie.symbol for site in label.configuration.structure) for label in labels
    ]
    return np.array([[n[element] for element in elements] for n in counts], dtype=float)
