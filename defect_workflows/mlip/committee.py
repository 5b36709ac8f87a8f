"""The committee as a model of torch-sim, to relax on: its mean, or what energies hardly exceed."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch_sim as ts
from mace.calculators.mace_torchsim import MaceTorchSimModel
from torch_sim.models.interface import ModelInterface

from defect_workflows.errors import PotentialError
from defect_workflows.mlip.domain import Domain, invariants


class Doubt(torch.nn.Module):
    """A MACE model whose "energy" is the standard deviation of its energy, with forces to match.

    sigma^2 = floor^2 + (slope x distance)^2, the distance from what was trained on.

    Parameters
    ----------
    model
        The MACE model whose features measure the distance.
    domain
        What it was trained on.
    slope, floor
        In eV.
    """

    def __init__(self, model: Any, domain: Domain, slope: float, floor: float) -> None:
        super().__init__()
        self.model = model
        self.domain = domain
        self.slope, self.floor = slope, floor
        self.heads, self.r_max, self.atomic_numbers = model.heads, model.r_max, model.atomic_numbers

    def forward(
        self, data: dict[str, torch.Tensor], **options: object
    ) -> dict[str, torch.Tensor | None]:
        """Return sigmas in eV, shape (systems,), and minus their derivatives in eV/Å."""
        # training=True keeps the graph from positions to features
        output = self.model(data, compute_force=False, training=True)
        squares = self.domain.squared_distances(
            self.heads[int(data["head"][0])],
            self.model.atomic_numbers[data["node_attrs"].argmax(dim=1)],
            invariants(self.model, output["node_feats"]),
            data["batch"],
        )
        sigmas = (self.floor**2 + self.slope**2 * squares).sqrt()
        (gradient,) = torch.autograd.grad(sigmas.sum(), data["positions"])
        return {"energy": sigmas, "forces": -gradient}


class CommitteeModel(ModelInterface):
    """Mean of MACE models in torch-sim, with the zero of energy of each system added.

    Parameters
    ----------
    models
        The models.
    zero
        Returns the energy in eV to add for a charge and atomic numbers.
    doubt
        Model of the standard deviation, see `Doubt`.
    caution
        How many standard deviations are added: a hole of the potential is none then.
    """

    def __init__(
        self,
        models: Sequence[MaceTorchSimModel],
        zero: Callable[[int, list[int]], float],
        doubt: MaceTorchSimModel | None = None,
        caution: float = 0.0,
    ) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        self.zero = zero
        self.doubt = doubt
        self.caution = caution
        self._device = models[0].device
        self._dtype = torch.float64  # of positions and sums, whatever the precision of the models
        self._compute_forces = True
        self._compute_stress = False
        self._memory_scales_with: Literal["n_atoms_x_density"] = "n_atoms_x_density"

    def forward(self, state: ts.SimState, **kwargs: object) -> dict[str, torch.Tensor]:
        """Return energies in eV, shape (systems,), and forces in eV/Å, shape (atoms, 3).

        Raises
        ------
        PotentialError
            If the state carries no charge, or one that was not trained on.
        """
        charges = getattr(state, "charge", None)
        if charges is None:
            raise PotentialError("torch-sim state: found no charge, expected one per system")
        cells = state.atomic_numbers.split(torch.bincount(state.system_idx).tolist())
        zeros = [
            self.zero(round(charge), cell.tolist())
            for charge, cell in zip(charges.tolist(), cells, strict=True)
        ]
        outputs = [model(state) for model in self.models]
        energy, forces = (
            torch.stack([output[key].double() for output in outputs]).mean(dim=0)
            for key in ("energy", "forces")
        )
        energy = energy + torch.tensor(zeros, device=energy.device, dtype=energy.dtype)
        if self.doubt is not None and self.caution:
            sigma = self.doubt(state)
            energy = energy + self.caution * sigma["energy"]
            forces = forces + self.caution * sigma["forces"]
        return {"energy": energy, "forces": forces}
