"""The trained potential in use: energies and forces of charged structures, with their spread."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch_sim as ts
from mace.calculators.mace_torchsim import MaceTorchSimModel
from mace.tools.torch_geometric.dataloader import Collater
from pymatgen.core import Composition

from defect_workflows.charge import CALCULATOR_KEY, charge_of, to_atoms
from defect_workflows.errors import PotentialError
from defect_workflows.fidelity import Fidelity, head_index
from defect_workflows.mlip.committee import CommitteeModel, Doubt
from defect_workflows.mlip.dataset import atomic_data
from defect_workflows.mlip.domain import Domain, invariants
from defect_workflows.mlip.load import Device, kept_model, resolve_device
from defect_workflows.mlip.zero import spread_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from defect_workflows.documents.potential import PotentialDocument

BATCH_ATOMS = {"cpu": 1024, "cuda": 8192}
"""Atoms per batch; on a CPU larger ones gain nothing."""


@dataclass(frozen=True)
class Prediction:
    """What the committee says of one structure at one fidelity.

    Attributes
    ----------
    energy
        Mean of the committee in eV, on the scale of the labels (E0s, charge offset and shift
        included).
    members
        Energy of each member in eV, on the same scale, shape (models,).
    spread
        Standard deviation of the committee's energies in eV, measured from the low-lying labels
        of the cell and charge that it was trained on, if there are any (`mlip.zero`).
    forces
        Mean forces in eV/Å, shape (n, 3).
    force_spread
        Standard deviation of the force vector of each atom in eV/Å, shape (n,).
    distance
        Largest distance of an atom from those that this head was trained on (`mlip.domain`).
    """

    energy: float
    members: np.ndarray
    spread: float
    forces: np.ndarray
    force_spread: np.ndarray
    distance: float


class Potential:
    """A committee of MACE models with the zeros of energy and the domain of its document.

    Everything asked of it is checked first: fidelity, charge, elements and cell size must be what
    it was trained on, or `PotentialError` (`UnknownFidelityError`, `MissingChargeError`) is raised.
    """

    def __init__(
        self,
        document: PotentialDocument,
        models: Sequence[Any],
        device: torch.device,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.document = document
        self.models = list(models)
        self.device = device
        self.dtype = dtype
        self.heads: list[Fidelity] = list(document.heads)
        self.domain = Domain(document.domain, device)
        self._offsets = {(b.fidelity, b.charge): b.offset for b in document.baseline}
        self._shifts = {
            (item.fidelity, item.charge, _cell(item.formula)): item.members
            for item in document.shifts
        }

    @classmethod
    def from_document(cls, document: PotentialDocument, device: Device = "auto") -> Potential:
        """Load the committee; each model file must have the hash that the document records.

        Raises
        ------
        PotentialError
            If a hash differs, or a model's heads are not those of the document.
        """
        where = resolve_device(device)
        models = [kept_model(member, where) for member in document.members]
        for member, model in zip(document.members, models, strict=True):
            if list(model.heads) != list(document.heads):
                raise PotentialError(
                    f"model of seed {member.seed}: found heads {', '.join(model.heads)}, "
                    f"expected {', '.join(document.heads)}"
                )
        return cls(document, models, where)

    @property
    def guide(self) -> Potential:
        """The first member alone in single precision, for what only guides: a third of the cost.

        Its predictions tell no distance from what was trained on.
        """
        model = copy.deepcopy(self.models[0]).float()
        document = self.document.model_copy(update={"domain": []})
        return Potential(document, [model], self.device, torch.float32)

    def offset(self, fidelity: Fidelity, charge: int) -> float:
        """Return the energy in eV that was removed before training at this charge and head.

        Raises
        ------
        UnknownFidelityError, PotentialError
            If the potential was not trained on this fidelity or charge.
        """
        head_index(fidelity, self.heads)
        if (fidelity, charge) not in self._offsets:
            known = sorted(q for f, q in self._offsets if f == fidelity)
            raise PotentialError(
                f"charge: found {charge}, but the head {fidelity} was trained on "
                f"{', '.join(map(str, known))} only"
            )
        return self._offsets[fidelity, charge]

    def zeros(self, fidelity: Fidelity, charge: int, numbers: Iterable[int]) -> np.ndarray:
        """Return the energies in eV to add to what each model says of a cell: offset and shift.

        Parameters
        ----------
        fidelity, charge
            Head and charge.
        numbers
            Atomic numbers of its atoms.

        Returns
        -------
        array, shape (models,)

        Raises
        ------
        UnknownFidelityError, PotentialError
            As `offset`.
        """
        shifts = self._shifts.get((fidelity, charge, frozenset(Counter(numbers).items())))
        if shifts is None:
            shifts = [0.0] * len(self.models)
        return self.offset(fidelity, charge) + np.array(shifts[: len(self.models)])

    def energy_sigma(self, prediction: Prediction) -> float:
        """Return the standard deviation of a predicted energy of a supercell in eV.

        Calibrated on labels that were not trained on; where there are none, the spread itself.
        """
        calibration = self.document.calibration
        return prediction.spread if calibration is None else calibration.sigma(prediction.distance)

    def difference_sigma(self, prediction: Prediction) -> float:
        """Return the same for its difference from what is known of its state."""
        calibration = self.document.difference_calibration
        return prediction.spread if calibration is None else calibration.sigma(prediction.distance)

    @property
    def calibrated(self) -> bool:
        """Whether enough labels were unseen to rule anything out by `difference_sigma`."""
        calibration = self.document.difference_calibration
        return calibration is not None and calibration.enough

    def check(self, structures: Sequence[Structure], fidelity: Fidelity) -> None:
        """Refuse what the potential was not made for.

        Raises
        ------
        MissingChargeError
            If a structure carries no charge.
        UnknownFidelityError, PotentialError
            If fidelity, charge, an element or the number of atoms is outside of the training data.
        """
        head_index(fidelity, self.heads)
        smallest, largest = self.document.atoms
        for structure in structures:
            self.offset(fidelity, charge_of(structure))
            unknown = {site.specie.symbol for site in structure} - set(self.document.elements)
            if unknown:
                raise PotentialError(
                    f"elements: found {', '.join(sorted(unknown))}, expected only "
                    f"{', '.join(self.document.elements)}"
                )
            # the charge embedding acts on every atom, so E(q) is right only at the trained size
            if not smallest <= len(structure) <= largest:
                raise PotentialError(
                    f"structure {structure.composition.formula}: found {len(structure)} atoms, "
                    f"expected {smallest} to {largest} as in the training data; "
                    "E(q) is not known in other cells"
                )

    def predict(self, structures: Sequence[Structure], fidelity: Fidelity) -> list[Prediction]:
        """Predict energies and forces of structures that carry their charge.

        Parameters
        ----------
        structures
            Any number of structures, each with its charge (`charge.with_charge`).
        fidelity
            Head to use.
        """
        self.check(structures, fidelity)
        predictions: list[Prediction] = []
        for batch in self._batches(structures):
            energies, forces, features = self._run(batch, fidelity)
            sizes = [len(structure) for structure in batch]
            per_structure = np.split(forces, np.cumsum(sizes)[:-1], axis=1)
            squares = self.domain.squared_distances(
                fidelity,
                torch.tensor([z for s in batch for z in s.atomic_numbers], device=self.device),
                features,
                torch.tensor(np.repeat(np.arange(len(batch)), sizes), device=self.device),
            )
            for i, structure in enumerate(batch):
                energy, force = energies[:, i], per_structure[i]
                several = len(self.models) > 1
                zeros = self.zeros(fidelity, charge_of(structure), structure.atomic_numbers)
                members = energy + zeros
                predictions.append(
                    Prediction(
                        energy=float(members.mean()),
                        members=members,
                        spread=spread_of(members),
                        forces=force.mean(axis=0),
                        force_spread=np.sqrt(force.var(axis=0, ddof=1).sum(axis=-1))
                        if several
                        else np.zeros(len(structure)),
                        distance=squares[i].sqrt().item(),
                    )
                )
        return predictions

    def evaluate(
        self, structures: Sequence[Structure], fidelity: Fidelity
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what each model says of one batch, without the `zeros` of energy.

        Returns
        -------
        tuple
            Energies in eV, shape (models, structures), and forces in eV/Å, shape
            (models, atoms of all structures, 3).
        """
        energies, forces, _ = self._run(structures, fidelity)
        return energies, forces

    def features(
        self, structures: Sequence[Structure], fidelity: Fidelity
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return atomic numbers and features of the atoms of each structure (`mlip.domain`).

        Parameters
        ----------
        structures, fidelity
            As in `predict`.

        Returns
        -------
        list of tuple
            Shapes (n,) and (n, features), for each structure.
        """
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in self._batches(structures):
            cuts = np.cumsum([len(structure) for structure in batch])[:-1]
            numbers = [np.array(structure.atomic_numbers) for structure in batch]
            output = self.models[0](self._batch(batch, fidelity), compute_force=False)
            features = invariants(self.models[0], output["node_feats"].detach()).cpu().numpy()
            found += zip(numbers, np.split(features, cuts), strict=True)
        return found

    def _run(
        self, structures: Sequence[Structure], fidelity: Fidelity
    ) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        """Return energies and forces of all models, and the first one's features of all atoms."""
        batch = self._batch(structures, fidelity)
        outputs = [model(dict(batch), compute_force=True) for model in self.models]
        energies, forces = (
            np.stack([output[key].detach().double().cpu().numpy() for output in outputs])
            for key in ("energy", "forces")
        )
        return energies, forces, invariants(self.models[0], outputs[0]["node_feats"].detach())

    def _batch(self, structures: Sequence[Structure], fidelity: Fidelity) -> dict[str, Any]:
        """Return structures as MACE takes them."""
        data = [
            atomic_data(
                to_atoms(structure),
                fidelity=fidelity,
                heads=self.heads,
                elements=self.document.elements,
                cutoff=self.document.cutoff,
                dtype=self.dtype,
            )
            for structure in structures
        ]
        return Collater(follow_batch=[None], exclude_keys=[None])(data).to(self.device).to_dict()

    def state(self, structures: Sequence[Structure], fidelity: Fidelity) -> ts.SimState:
        """Return checked structures as a torch-sim state that carries the charge per system."""
        self.check(structures, fidelity)
        return ts.io.atoms_to_state(
            [to_atoms(structure) for structure in structures],
            self.device,
            torch.float64,
            system_extras_map={ts.typing.SystemExtras.CHARGE: CALCULATOR_KEY},
        )

    def torchsim_model(self, fidelity: Fidelity, caution: float = 0.0) -> CommitteeModel:
        """Return a torch-sim model: the committee's mean plus `caution` times its uncertainty.

        Without caution its energies, `zeros` included, and forces are those of `predict`. The
        uncertainty is that of differences within a state, where it is calibrated. Make its states
        with `state`.
        """
        head_index(fidelity, self.heads)

        def in_torchsim(model: Any) -> MaceTorchSimModel:
            return MaceTorchSimModel(
                model, device=self.device, dtype=self.dtype, head=fidelity, compute_stress=False
            )

        calibration = self.document.difference_calibration
        doubt = None
        if caution and calibration is not None:
            slope, floor = calibration.slope, calibration.floor
            doubt = in_torchsim(Doubt(self.models[0], self.domain, slope, floor))
        return CommitteeModel(
            [in_torchsim(model) for model in self.models],
            lambda charge, numbers: float(self.zeros(fidelity, charge, numbers).mean()),
            doubt,
            caution,
        )

    def _batches(self, structures: Sequence[Structure]) -> list[list[Structure]]:
        limit = BATCH_ATOMS[self.device.type]
        batches: list[list[Structure]] = []
        for structure in structures:
            if not batches or sum(map(len, batches[-1])) + len(structure) > limit:
                batches.append([])
            batches[-1].append(structure)
        return batches


def _cell(formula: str) -> frozenset[tuple[int, int]]:
    """Return atomic numbers with the number of their atoms."""
    return frozenset((element.Z, round(n)) for element, n in Composition(formula).items())
