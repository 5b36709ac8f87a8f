"""Whether a candidate leads into a known minimum of the hybrid functional, or elsewhere.

Single points at both may fit by chance: a candidate between two minima can have the energy and the
forces, along the way, of one in the bowl of the first. All forces of both points, and the second
derivatives of the potential, say more.
"""

from __future__ import annotations

import numpy as np
import torch
import torch_sim as ts
from torch_sim.models.interface import ModelInterface

from defect_workflows.documents.labels import Label
from defect_workflows.mlip.predict import Potential
from defect_workflows.search.cluster import displacements, farthest
from defect_workflows.search.contenders import WIDEST_BOWL
from defect_workflows.search.copies import copy_within
from defect_workflows.search.relax import FIDELITY, relax

ELSEWHERE = 0.2
"""A relaxation has led elsewhere if it ends with an atom further away than this, in Å: from points
that do lead there it ended up to 0.21 Å away, from others at 0.23 Å or more (benchmarks)."""

MAX_FORCE = 0.02
"""Force tolerance of the relaxation in eV/Å."""

MAX_STEPS = 120


class TwoPointModel(ModelInterface):
    """A torch-sim model of a single system, corrected to have the forces of two single points.

    What it lacks at them is added, interpolated by how far a structure is on the way from one to
    the other: Broyden's update of the second derivatives (Nocedal and Wright, Numerical
    Optimization, Springer 2006, eq. 11.5).

    Parameters
    ----------
    model
        The model to correct.
    start, end
        Cartesian positions in Å of the single points, shape (n, 3), the end's next to the start's.
    missing
        Forces in eV/Å to add at them, two arrays of shape (n, 3).
    """

    def __init__(
        self,
        model: ModelInterface,
        start: np.ndarray,
        end: np.ndarray,
        missing: tuple[np.ndarray, np.ndarray],
    ) -> None:
        super().__init__()
        self.model = model
        self._device = model.device
        self._dtype = model.dtype
        self._compute_forces = True
        self._compute_stress = False
        self.positions, self.way, self.forces, self.change = (
            torch.as_tensor(values, device=self.device, dtype=self.dtype)
            for values in (start, end - start, missing[0], missing[1] - missing[0])
        )

    def forward(self, state: ts.SimState, **kwargs: object) -> dict[str, torch.Tensor]:
        """Return energy in eV, shape (1,), and forces in eV/Å, shape (n, 3)."""
        output = self.model(state)
        moved = state.positions - self.positions
        part = ((moved * self.way).sum() / (self.way**2).sum()).clamp(0.0, 1.0)
        missing = self.forces + part * self.change
        work = ((self.forces + part * self.change / 2) * moved).sum()
        return {"energy": output["energy"] - work, "forces": output["forces"] + missing}


def leads_elsewhere(potential: Potential, high: Label, low: Label) -> bool:
    """Tell whether the potential, corrected at two single points, leads from one past the other.

    It does not where it has no minimum to lead to: that is no answer. Of symmetric copies of the
    other the nearest counts; it does where none is within `WIDEST_BOWL`.

    Parameters
    ----------
    potential
        The committee.
    high, low
        Single points of one state, from and to which it may lead.
    """
    origin = high.configuration.structure
    copy = copy_within(low.configuration.structure, origin, WIDEST_BOWL)
    if copy is None:
        return True
    end = copy.structure
    predictions = potential.predict([origin, end], FIDELITY)
    missing = [
        forces - predicted.forces
        for forces, predicted in zip(
            (np.array(high.forces), copy.vectors(low.forces)), predictions, strict=True
        )
    ]
    start = origin.cart_coords
    (relaxed,) = relax(
        potential,
        [origin],
        max_force=MAX_FORCE,
        max_steps=MAX_STEPS,
        references=[predictions[0].energy],
        largest_displacement=WIDEST_BOWL,
        correct=lambda model: TwoPointModel(
            model, start, start + displacements(origin, end), (missing[0], missing[1])
        ),
    )
    return relaxed.verdict == "minimum" and farthest(relaxed.structure, end) > ELSEWHERE
