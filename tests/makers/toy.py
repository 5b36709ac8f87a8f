"""A toy of two charge states in one coordinate, and jobs that stand in for a campaign's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jobflow import JobStore, job, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import ChargedConfiguration, DefectState, Origin
from defect_workflows.documents.labels import Label, LevelOfTheory, RefusedLabel
from defect_workflows.documents.search import Candidate, SearchDocument, VerifiedCandidate
from defect_workflows.search.refine import Proposal
from defect_workflows.search.verify import largest_force

ATOM = with_charge(Structure(Lattice.cubic(3), ["Mg"], [[0, 0, 0]]), 0)


def candidate(state):
    return Candidate(
        state=state,
        structure=ATOM,
        energy=0.0,
        spread=0.0,
        distance=0.0,
        uncertainty=0.0,
        energy_uncertainty=0.0,
        max_force=0.0,
        starts=[],
        rank=0,
    )


# A toy of two charge states: one atom moves along x, the others do not matter. In both, what lies
# left of a barrier leads to x = 0. Right of it, at q = -1 a gentle slope leads to x = 2, so gentle
# that only the last steps follow it; at q = 0 the minimum at x = 2 is the lowest.
HOST = Structure(Lattice.cubic(7), ["Mg", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]])
BARRIER = {0: 1.5, -1: 0.6}
LEFT = {0: (0.0, 2.0), -1: (0.5, 2.0)}
RIGHT = {0: (-1.0, 10.0), -1: (0.0, 0.1)}
SLOW = 1.2


def toy_minimum(x, charge):
    """Energy in eV and place in Å of the minimum that x leads to, and its spring in eV/Å^2."""
    energy, spring = (LEFT if x < BARRIER[charge] else RIGHT)[charge]
    return energy, 0.0 if x < BARRIER[charge] else 2.0, spring


def place(structure):
    return (structure[0].frac_coords[0] + 0.5) % 1 * 7 - 3.5


def toy_structure(x, charge):
    structure = HOST.copy()
    structure.translate_sites([0], [x, 0, 0], frac_coords=False)
    return with_charge(structure, charge)


def toy_label(configuration):
    x = place(configuration.structure)
    energy, minimum, spring = toy_minimum(x, configuration.charge)
    forces = np.zeros((len(HOST), 3))
    forces[0, 0] = -spring * (x - minimum)
    return Label(
        fingerprint=f"{configuration.charge} {x:.6f}",
        configuration=configuration,
        fidelity="hse06",
        energy=energy + spring * (x - minimum) ** 2 / 2,
        forces=forces.tolist(),
        stress=np.zeros((3, 3)).tolist(),
        nelect=10,
        level_of_theory=LevelOfTheory(
            functional="PE+HF", exact_exchange=0.25, screening=0.2, encut=300,
            precision="Accurate", spin_polarized=False, dispersion=0, kpoints=[(0, 0, 0)],
            potcars=[],
        ),
        rehearsal=True,
        seconds=0.0,
    )  # fmt: skip


def toy_verified(label, exchanged=False):
    return VerifiedCandidate(
        candidate=candidate(label.configuration.origin.state),
        labels=[label],
        energy_error=0.0,
        force_error=0.0,
        max_force=largest_force(label),
        exchanged=exchanged,
    )


def toy_configuration(x, charge):
    origin = Origin(state=f"v_O_{charge}", family="v_O/x", kind="search")
    return ChargedConfiguration.of(toy_structure(x, charge), origin)


@dataclass
class ToyPoint:
    """HSE06 single points of the toy."""

    def make(self, configuration, prev_dir=None):
        return toy_point(configuration)


@job
def toy_point(configuration):
    return toy_label(configuration)


@job(data=["labels"])
def toy_verify_start(potential, point):
    return None if isinstance(point, RefusedLabel) else toy_verified(point, exchanged=True)


def toy_minimiser(potential, labels):
    """Half an Å at most to the toy's minimum, from the last single point."""
    charge, x = labels[-1].charge, place(labels[-1].configuration.structure)
    energy, minimum, _ = toy_minimum(x, charge)
    step = np.clip(minimum - x, -0.5, 0.5)
    return Proposal(toy_structure(x + step, charge), labels[-1].energy - energy)


@job(data=["labels"])
def first_candidates():
    return [toy_verified(toy_label(toy_configuration(x, q))) for x, q in ((0.04, 0), (SLOW, -1))]


@job
def toy_states():
    return [
        DefectState(
            name=f"v_O_{charge}",
            defect="v_O",
            charge=charge,
            structure=toy_structure(0, charge),
            site=(0.0, 0.0, 0.0),
            entry={},
        )
        for charge in (0, -1)
    ]


@job
def toy_potential():
    """Something with a fingerprint and a round: the toy's energies are its own."""
    return SearchDocument(fingerprint="toy", candidates=[], relaxations=[], control_gain=0.0)


def memory_store():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def outcome(jobs, store):
    """What the last job, or what it was replaced by, returns."""
    responses = run_locally(jobs, store=store, log=False, ensure_success=True)
    last = max(responses[jobs[-1].uuid])
    output = store.get_output(jobs[-1].uuid, which=last, load=True)
    return MontyDecoder().process_decoded(output)
