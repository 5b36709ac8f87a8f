"""Relaxations on the potential, many at once, stopped where the potential cannot be trusted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch_sim as ts
from pymatgen.core import Structure
from torch_sim.autobatching import InFlightAutoBatcher
from torch_sim.models.interface import ModelInterface
from torch_sim.optimizers import BFGSState, bfgs_init, bfgs_step

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.distortions import closest_contact
from defect_workflows.documents.search import Verdict
from defect_workflows.fidelity import Fidelity
from defect_workflows.mlip.predict import BATCH_ATOMS, Potential
from defect_workflows.moments import moments_of, with_moments
from defect_workflows.reuse import fingerprint
from defect_workflows.search.journal import Journal

logger = logging.getLogger(__name__)

FIDELITY: Fidelity = "hse06"
"""The search is for the ground state of the hybrid functional."""

STIFFER = 2.0
"""First guess of the second derivatives in units of their mean: near the largest of them."""

PROBE = 0.01
"""Displacement in Å that measures them."""

MAX_STEP = 0.2
"""Longest step of an atom in Å."""

LARGEST_DISPLACEMENT = 4.0
"""A relaxation that moves an atom further, in Å, has run away."""

LARGEST_FALL = 0.1
"""An energy further below the reference, in eV per atom, is a hole of the potential."""

FIRST_LOOK = 3
LOOK_EVERY = 10
"""Step of the first look at contacts and at the committee's disagreement, steps between others."""

SHORTEST_CONTACT = 0.5
"""Atoms closer than this share of their covalent radii: the relaxation has run away."""

LARGEST_DOUBT = 1.0
"""Where the committee's forces on an atom deviate by more, in eV/Å, it guesses."""

PATIENCE = 3
"""Looks in a row at such guesses after which a relaxation is stopped."""


@dataclass(frozen=True)
class Relaxation:
    """Where a relaxation went.

    Attributes
    ----------
    structure
        Last structure, which carries the charge.
    start_energy, energy
        Energies at the start and at the end in eV.
    max_force
        Largest force at the end in eV/Å.
    steps
        Steps of the optimiser.
    verdict
        How it ended.
    doubt
        Largest standard deviation of an atom's force up to `LARGEST_DOUBT` that the committee
        showed on the way, in eV/Å; the smallest where all were larger.
    doubtful
        The structure where it did; None when none was looked at.
    """

    structure: Structure
    start_energy: float
    energy: float
    max_force: float
    steps: int
    verdict: Verdict
    doubt: float
    doubtful: Structure | None


def relax(
    potential: Potential,
    structures: Sequence[Structure],
    *,
    max_force: float,
    max_steps: int,
    references: Sequence[float],
    largest_displacement: float = LARGEST_DISPLACEMENT,
    committee: bool = True,
    caution: float = 0.0,
    correct: Callable[[ModelInterface], ModelInterface] = lambda model: model,
    journal: Journal | None = None,
) -> list[Relaxation]:
    """Relax structures at the hse06 head, cell fixed, in batches.

    torch-sim's BFGS; a system leaves its batch as soon as it is done.

    Parameters
    ----------
    potential
        The committee.
    structures
        Starts, which carry their charges.
    max_force
        Force tolerance in eV/Å.
    max_steps
        Steps after which a relaxation is given up.
    references
        Energy in eV that each relaxation may not fall far below: that of the undistorted
        structure.
    largest_displacement
        A relaxation that moves an atom further along an axis, in Å, is stopped as a runaway.
    committee
        Relax on the committee's mean; else on its `guide`, which costs several times less.
        The committee looks on either way.
    caution
        How many standard deviations of the energy are added to it (`Potential.torchsim_model`).
    correct
        Wraps the torch-sim model, to relax on something else than the potential alone.
    journal
        Where relaxations that have ended are found, and written down, by start and tolerances.

    Returns
    -------
    list of Relaxation
        In the order of the structures.
    """
    if not structures:
        return []
    keys: list[str] = []
    known: dict[int, Relaxation] = {}
    if journal:
        keys = [
            fingerprint(
                structure, reference, max_force, max_steps, largest_displacement, committee, caution
            )
            for structure, reference in zip(structures, references, strict=True)
        ]
        found = ((number, journal.find(key)) for number, key in enumerate(keys))
        known = {number: relaxation for number, relaxation in found if relaxation is not None}
    left = [number for number in range(len(structures)) if number not in known]
    if not left:
        return [known[number] for number in range(len(structures))]
    chosen = potential if committee else potential.guide
    model = correct(chosen.torchsim_model(FIDELITY, caution))
    state = potential.state([structures[number] for number in left], FIDELITY)
    numbers = torch.tensor(left, device=state.device, dtype=state.dtype)
    state.store_model_extras({"number": numbers})
    # of the first of all: that some have ended before must not change the others
    alpha = STIFFER * stiffness(potential, model, structures[0])

    def write(number: int, relaxation: Relaxation) -> None:
        if journal:
            journal.add(keys[number], relaxation)

    watch = _Watch(potential, structures, references, max_force, largest_displacement, write)

    def start(state: ts.SimState, model: ModelInterface) -> BFGSState:
        started = bfgs_init(state, model, max_step=MAX_STEP, alpha=alpha)
        watch.started(started)
        return started

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All systems have reached the maximum number")
        final = ts.optimize(
            state,
            model,
            optimizer=(start, bfgs_step),
            convergence_fn=watch,
            max_steps=max_steps,
            steps_between_swaps=1,
            autobatcher=InFlightAutoBatcher(
                model,
                memory_scales_with="n_atoms",
                max_memory_scaler=max(BATCH_ATOMS[state.device.type], *map(len, structures)),
            ),
        )
    ended = known | watch.judged(final)
    return [ended[number] for number in range(len(structures))]


def stiffness(potential: Potential, model: ModelInterface, structure: Structure) -> float:
    """Return about the mean second derivative of the energy in eV/Å^2, at least 1.

    One random displacement of all atoms estimates the trace of the Hessian (Hutchinson, Commun.
    Stat. Simul. Comput. 19, 433, 1990). Of what is relaxed on: an upper bound is stiffer than the
    potential, and without a line search too long a first step leads uphill.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(len(structure), 3))
    displaced = with_positions(structure, structure.cart_coords + PROBE * signs)
    here, there = (
        model(potential.state([one], FIDELITY))["forces"].cpu().numpy()
        for one in (structure, displaced)
    )
    curvature = np.sum(signs * (here - there)) / (PROBE * signs.size)
    return max(1.0, float(curvature))


@dataclass
class _Watch:
    """Judges every system after every step: torch-sim's convergence function."""

    potential: Potential
    starts: Sequence[Structure]
    references: Sequence[float]
    max_force: float
    largest_displacement: float
    write: Callable[[int, Relaxation], None]
    energies: dict[int, float] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    doubts: dict[int, list[float]] = field(default_factory=dict)
    doubtful: dict[int, tuple[float, Structure]] = field(default_factory=dict)

    def started(self, state: BFGSState) -> None:
        """Remember the energies of the starts."""
        self.energies.update(zip(_numbers(state), state.energy.tolist(), strict=True))

    def __call__(self, state: BFGSState, last_energy: torch.Tensor | None) -> torch.Tensor:
        """Return which systems are done, shape (systems,)."""
        numbers = _numbers(state)
        forces = ts.system_wise_max_force(state).tolist()
        positions = _positions(state)
        for number, energy, force, position in zip(
            numbers, state.energy.tolist(), forces, positions, strict=True
        ):
            start = self.starts[number]
            moved = np.abs(position - start.cart_coords).max()
            fallen = (self.references[number] - energy) / len(start)
            if not np.isfinite([energy, force, moved]).all() or (
                fallen > LARGEST_FALL or moved > self.largest_displacement
            ):
                self.verdicts[number] = "runaway"
            elif force < self.max_force:
                self.verdicts[number] = "minimum"
        due = {
            number: self._structure(number, position)
            for number, steps, position in zip(
                numbers, state.n_iter.tolist(), positions, strict=True
            )
            if (steps % LOOK_EVERY == 0 or steps == FIRST_LOOK) and number not in self.verdicts
        }
        self._look(due)
        ended = [number in self.verdicts for number in numbers]
        if any(ended):
            for number, relaxation in self._relaxations(state, self.verdicts):
                self.write(number, relaxation)
        return torch.tensor(ended, device=state.device)

    def _look(self, structures: dict[int, Structure]) -> None:
        """Look at contacts and at the committee's disagreement."""
        predictions = self.potential.predict(list(structures.values()), FIDELITY)
        for (number, structure), prediction in zip(structures.items(), predictions, strict=True):
            doubt = float(prediction.force_spread.max())
            doubts = self.doubts.setdefault(number, [])
            doubts.append(doubt)
            if closest_contact(structure) < SHORTEST_CONTACT:
                self.verdicts[number] = "runaway"
                continue
            if teaches_more(doubt, self.doubtful[number][0] if number in self.doubtful else 0.0):
                self.doubtful[number] = (doubt, structure)
            if len(doubts) >= PATIENCE and min(doubts[-PATIENCE:]) > LARGEST_DOUBT:
                self.verdicts[number] = "out_of_domain"

    def judged(self, state: BFGSState) -> dict[int, Relaxation]:
        """Return the relaxations of the final state; those that were given up are written too."""
        judged = dict(self._relaxations(state, _numbers(state)))
        for number, relaxation in judged.items():
            if number not in self.verdicts:
                self.write(number, relaxation)
        return judged

    def _relaxations(
        self, state: BFGSState, wanted: Container[int]
    ) -> Iterator[tuple[int, Relaxation]]:
        """Yield where the wanted systems of a state have got to."""
        for number, energy, force, steps, position in zip(
            _numbers(state),
            state.energy.tolist(),
            ts.system_wise_max_force(state).tolist(),
            state.n_iter.tolist(),
            _positions(state),
            strict=True,
        ):
            if number not in wanted:
                continue
            doubt, doubtful = self.doubtful.get(number, (0.0, None))
            yield (
                number,
                Relaxation(
                    structure=self._structure(number, position),
                    start_energy=self.energies[number],
                    energy=energy,
                    max_force=force,
                    steps=steps,
                    verdict=self.verdicts.get(number, "not_converged"),
                    doubt=doubt,
                    doubtful=doubtful,
                ),
            )

    def _structure(self, number: int, positions: np.ndarray) -> Structure:
        return with_positions(self.starts[number], positions)


def teaches_more(doubt: float, known: float) -> bool:
    """Tell whether a label of a frame teaches more than one of a frame known before.

    The more the committee doubts, in eV/Å, up to `LARGEST_DOUBT`: beyond it a frame is as likely
    nonsense as worth a label, and the least doubtful one is the best there is. No frame is 0.
    """
    if known == 0.0 or known > LARGEST_DOUBT:
        return known == 0.0 or doubt < known
    return known < doubt <= LARGEST_DOUBT


def with_positions(structure: Structure, positions: np.ndarray) -> Structure:
    """Return a structure at other positions in Å, shape (n, 3), with its charge and moments."""
    species = [site.specie for site in structure]
    moved = Structure(structure.lattice, species, positions, coords_are_cartesian=True)
    return with_charge(with_moments(moved, moments_of(structure)), charge_of(structure))


def _numbers(state: ts.SimState) -> list[int]:
    return [round(number) for number in state.number.tolist()]


def _positions(state: ts.SimState) -> list[np.ndarray]:
    cuts = np.cumsum(state.n_atoms_per_system.tolist())[:-1]
    return np.split(state.positions.detach().cpu().numpy(), cuts)
