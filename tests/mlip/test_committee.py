"""The committee to relax on: its mean, and the upper bound of its energies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_sim as ts
from ase import Atoms
from pymatgen.core import Structure

from defect_workflows.charge import CALCULATOR_KEY, charge_of, with_charge
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import PotentialDocument
from defect_workflows.mlip.committee import CommitteeModel
from defect_workflows.mlip.predict import Potential
from defect_workflows.search.relax import with_positions

from .solid import rattled

DEEP = 6.0


class Well(torch.nn.Module):
    """One minimum at x = 0, energy in eV x^2 of the first atom; and a deep one at x = 1 or not."""

    def __init__(self, stiffness: float = 1.0, hole: float = 0.0) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.stiffness, self.hole = stiffness, hole

    def forward(self, state: ts.SimState) -> dict[str, torch.Tensor]:
        positions = state.positions.detach().requires_grad_()
        x = positions[:, 0]
        each = self.stiffness * x**2 - self.hole * torch.exp(-((x - 1) ** 2) / 0.18)
        energy = torch.zeros(state.n_systems, dtype=x.dtype).index_add(0, state.system_idx, each)
        (gradient,) = torch.autograd.grad(energy.sum(), positions)
        return {"energy": energy.detach(), "forces": -gradient}


def state(*places: float) -> ts.SimState:
    atoms = [
        Atoms("H", [[x, 0, 0]], cell=[9, 9, 9], pbc=True, info={CALCULATOR_KEY: 0}) for x in places
    ]
    extras = {ts.typing.SystemExtras.CHARGE: CALCULATOR_KEY}
    return ts.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64, system_extras_map=extras)


def committee(caution: float, *models: Well, doubt: Well | None = None):
    return CommitteeModel(list(models), lambda charge, numbers: 0.5, doubt, caution)


def test_without_caution_it_is_the_mean_on_the_scale_of_the_labels() -> None:
    output = committee(0.0, Well(1.0), Well(3.0), doubt=Well(9.0))(state(0.5, 0.0))
    assert output["energy"].tolist() == pytest.approx([2 * 0.25 + 0.5, 0.5])
    assert output["forces"][:, 0].tolist() == pytest.approx([-2.0, 0.0])


def test_with_caution_doubt_counts_as_energy() -> None:
    """A hole 6 eV deep, of which the committee doubts most, is no minimum any more."""

    def end(caution: float, x: float = 0.6) -> float:
        model = committee(caution, Well(), Well(1.0, DEEP), doubt=Well(3.0))
        for _ in range(2000):
            x += 0.005 * model(state(x))["forces"][0, 0].item()
        return x

    assert end(0.0) > 0.8
    assert abs(end(2.0)) < 0.1


@pytest.fixture(scope="module")
def doubtful(document: PotentialDocument) -> Potential:
    calibration = document.calibration.model_copy(update={"slope": 0.3, "floor": 0.1})
    changed = document.model_copy(update={"difference_calibration": calibration})
    return Potential.from_document(changed, "cpu")


def displaced(label: Label, seed: int, size: float = 0.08) -> Structure:
    return with_charge(rattled(label.configuration.structure, size, seed), label.charge)


def test_what_is_relaxed_on_is_the_upper_bound(doubtful: Potential, labels: list[Label]) -> None:
    """Of several systems at once, of both elements and all charges."""
    some = [displaced(label, i) for i, label in enumerate(labels[::2])]
    assert {charge_of(structure) for structure in some} == {0, -1, -2}
    output = doubtful.torchsim_model("hse06", 2.0)(doubtful.state(some, "hse06"))
    for energy, prediction in zip(
        output["energy"].tolist(), doubtful.predict(some, "hse06"), strict=True
    ):
        sigma = doubtful.difference_sigma(prediction)
        assert sigma > 0.11
        assert energy == pytest.approx(prediction.energy + 2 * sigma, abs=1e-6)


def test_its_forces_are_the_derivative_of_the_upper_bound(
    doubtful: Potential, labels: list[Label]
) -> None:
    structure = displaced(labels[0], 3)
    model = doubtful.torchsim_model("hse06", 2.0)

    def at(way: np.ndarray) -> dict[str, torch.Tensor]:
        moved = with_positions(structure, structure.cart_coords + way)
        return model(doubtful.state([moved], "hse06"))

    zero = np.zeros((len(structure), 3))
    forces = at(zero)["forces"].numpy()
    plain = doubtful.predict([structure], "hse06")[0].forces
    assert np.abs(forces - plain).max() > 0.02  # doubt has forces of its own
    for atom, axis in ((0, 0), (1, 2), (len(structure) - 1, 1)):
        step = zero.copy()
        step[atom, axis] = 1e-4
        slope = (at(step)["energy"] - at(-step)["energy"]).item() / 2e-4
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-4)


def test_without_calibration_there_is_nothing_to_add(
    document: PotentialDocument, labels: list[Label]
) -> None:
    unknown = document.model_copy(update={"difference_calibration": None})
    potential = Potential.from_document(unknown, "cpu")
    structure = displaced(labels[0], 1)
    output = potential.torchsim_model("hse06", 2.0)(potential.state([structure], "hse06"))
    (there,) = potential.predict([structure], "hse06")
    assert output["energy"].item() == pytest.approx(there.energy, abs=1e-6)
