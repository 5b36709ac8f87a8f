"""A potential with known minima, with the interface of the trained one.

Every atom is bound to its place by a spring of its own. In charge state 0 the first atom has two
places along x, at +WELL and -WELL, the first of them lower by 2 TILT; in others it has one, and
in the pristine supercell (the largest of several structures) too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch_sim as ts
from pymatgen.core import Structure
from torch_sim.models.interface import ModelInterface

from defect_workflows.charge import to_atoms
from defect_workflows.mlip.predict import Prediction

WELL = 0.8
BARRIER = 0.5
TILT = 0.05


def springs(atoms: int) -> torch.Tensor:
    """Spring constants in eV/Å^2, shape (atoms, 1)."""
    return torch.linspace(2.0, 12.0, atoms, dtype=torch.float64)[:, None]


class ToyModel(ModelInterface):
    def __init__(
        self,
        places: dict[int, np.ndarray],
        hole: bool = False,
        single: int | None = None,
        tilt: float = TILT,
        pull: float = 0.0,
    ) -> None:
        super().__init__()
        self.places = {n: torch.as_tensor(p, dtype=torch.float64) for n, p in places.items()}
        self.hole = hole
        self.single = single
        self.tilt = tilt
        self.pull = pull
        self._device = torch.device("cpu")
        self._dtype = torch.float64
        self._compute_forces = True
        self._compute_stress = False
        self.calls = 0

    def forward(self, state: ts.SimState, **kwargs: object) -> dict[str, torch.Tensor]:
        self.calls += 1
        energies, forces = [], []
        counts = state.n_atoms_per_system.tolist()
        for positions, cell, charge in zip(
            torch.split(state.positions.detach(), counts),
            state.row_vector_cell,
            state.charge.tolist(),
            strict=True,
        ):
            way = (positions - self.places[len(positions)]) @ torch.linalg.inv(cell)
            way = ((way - way.round()) @ cell).requires_grad_(True)
            with torch.enable_grad():
                spring = springs(len(positions))
                energy = (spring / 2 * way**2).sum() - len(positions)
                if charge == 0 and len(positions) != self.single:
                    x = way[0, 0]
                    well = BARRIER * ((x / WELL) ** 2 - 1) ** 2 - self.tilt * x / WELL
                    energy = energy - spring[0, 0] / 2 * x**2 + well
                if self.pull:  # rounded off at the place, as a surface to relax on must be
                    energy = energy + self.pull * ((way**2).sum() + 1e-4).sqrt()
                if self.hole:
                    energy = energy - 1e3 * torch.exp(way[:, 0]).sum()
                (gradient,) = torch.autograd.grad(energy, way)
            energies.append(energy.detach())
            forces.append(-gradient)
        return {"energy": torch.stack(energies), "forces": torch.cat(forces)}


@dataclass
class ToyPotential:
    places: dict[int, np.ndarray]
    doubt: float = 0.01
    calibrated: bool = True
    hole: bool = False
    stable_bulk: bool = True
    tilt: float = TILT
    disagreement: float = 0.01
    slope: float = 1.0
    guide_hole: bool = False
    apart: float = 0.0
    floor: float = 0.0

    @classmethod
    def of(cls, *structures: Structure, **options: object) -> ToyPotential:
        return cls({len(s): s.cart_coords for s in structures}, **options)  # type: ignore[arg-type]

    @property
    def _single(self) -> int | None:
        """Number of atoms of the pristine supercell, whose atoms have one place each."""
        return max(self.places) if self.stable_bulk and len(self.places) > 1 else None

    @property
    def guide(self) -> ToyPotential:
        return replace(self, hole=self.hole or self.guide_hole, guide_hole=False)

    def torchsim_model(self, fidelity: str, caution: float = 0.0) -> ToyModel:
        assert fidelity == "hse06"
        pull = caution * self.slope * np.sqrt(2) * self.disagreement
        return ToyModel(self.places, self.hole, self._single, self.tilt, pull)

    def state(self, structures: list[Structure], fidelity: str) -> ts.SimState:
        return ts.io.atoms_to_state(
            [to_atoms(structure) for structure in structures],
            torch.device("cpu"),
            torch.float64,
            system_extras_map={"charge": "charge"},
        )

    def evaluate(self, structures: list[Structure], fidelity: str) -> tuple[np.ndarray, np.ndarray]:
        """Two members that differ by the distance of the atoms from their places."""
        model = self.torchsim_model(fidelity)
        output = model(self.state(structures, fidelity))
        far = [
            np.linalg.norm(s.cart_coords - self.places[len(s)]) * self.disagreement + self.apart
            for s in structures
        ]
        energies = np.array(output["energy"].tolist()) + np.outer([1, -1], far)
        return energies, np.stack([output["forces"].numpy()] * 2)

    def predict(self, structures: list[Structure], fidelity: str) -> list[Prediction]:
        if not structures:
            return []
        output = self.torchsim_model(fidelity)(self.state(structures, fidelity))
        cuts = np.cumsum([len(s) for s in structures])[:-1]
        return [
            Prediction(
                energy=float(energy),
                members=members,
                spread=float(np.std(members, ddof=1)),
                forces=forces,
                force_spread=np.full(len(structure), self.doubt),
                distance=float(np.std(members, ddof=1)),
            )
            for structure, members, energy, forces in zip(
                structures,
                self.evaluate(structures, fidelity)[0].T,
                output["energy"].tolist(),
                np.split(output["forces"].numpy(), cuts),
                strict=True,
            )
        ]

    def energy_sigma(self, prediction: Prediction) -> float:
        return 2 * prediction.distance

    def difference_sigma(self, prediction: Prediction) -> float:
        return float(np.hypot(self.slope * prediction.distance, self.floor))
