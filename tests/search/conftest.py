from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.documents.search import Candidate, VerifiedCandidate

LEVEL = LevelOfTheory(
    functional="PE",
    exact_exchange=0.25,
    screening=0.2,
    encut=300,
    precision="Accurate",
    spin_polarized=False,
    dispersion=0,
    kpoints=[(0, 0, 0)],
    potcars=[],
)


@pytest.fixture
def vacancy() -> Structure:
    """A CsCl-like 2x2x2 supercell with one atom missing, neutral."""
    cell = Structure(Lattice.cubic(3.5), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    supercell = (cell * (2, 2, 2)).get_sorted_structure()
    supercell.remove_sites([0])
    return with_charge(supercell, 0)


def shaken(structure: Structure, amplitude: float, seed: int) -> Structure:
    other = structure.copy()
    rng = np.random.default_rng(seed)
    for index, vector in enumerate(rng.normal(0, amplitude, (len(other), 3))):
        other.translate_sites([index], vector, frac_coords=False, to_unit_cell=False)
    return other


@pytest.fixture
def verified(vacancy):
    """Make a verified candidate of a state: one HSE06 energy per single point."""

    def make(charge, energies, structure=None, energy_error=0.0, uncertainty=0.0, forces=0.0):
        structure = (structure or vacancy).copy()
        structure.properties = {"charge": charge}
        state = f"v_Mg_{charge:+d}" if charge else "v_Mg_0"
        origin = Origin(state=state, family="v_Mg/x", kind="search")
        labels = [
            Label(
                fingerprint=f"{state} {number} {energy}",
                configuration=ChargedConfiguration.of(structure, origin),
                fidelity="hse06",
                energy=energy,
                forces=np.full((len(structure), 3), forces).tolist(),
                stress=np.zeros((3, 3)).tolist(),
                nelect=1,
                level_of_theory=LEVEL,
                rehearsal=True,
            )
            for number, energy in enumerate(energies)
        ]
        candidate = Candidate(
            state=state,
            structure=structure,
            energy=energies[0],
            spread=0.0,
            uncertainty=uncertainty,
            energy_uncertainty=2 * uncertainty,
            max_force=0.0,
            starts=["Dimer"],
            rank=0,
        )
        return VerifiedCandidate(
            candidate=candidate,
            labels=labels,
            energy_error=energy_error,
            force_error=0.01,
            max_force=0.1,
        )

    return make
