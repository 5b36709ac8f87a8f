from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

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


def symmetric_copies(vacancy: Structure) -> list[SymmOp]:
    """Cartesian symmetry operations of the undistorted vacancy."""
    return SpacegroupAnalyzer(vacancy).get_symmetry_operations(cartesian=True)


def copied(structure: Structure, operation: SymmOp) -> Structure:
    """Apply a symmetry operation of its cell to a structure: a copy, its atoms exchanged."""
    places = operation.operate_multi(structure.cart_coords)
    species = [site.specie for site in structure]
    copy = Structure(structure.lattice, species, places, coords_are_cartesian=True)
    copy.properties = dict(structure.properties)
    return copy


def turned(label: Label, operation: SymmOp) -> Label:
    """Return the label of a symmetric copy."""
    structure = copied(label.configuration.structure, operation)
    forces = np.array(label.forces) @ operation.rotation_matrix.T
    configuration = label.configuration.model_copy(update={"structure": structure})
    return label.model_copy(update={"configuration": configuration, "forces": forces.tolist()})


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
            distance=0.0,
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
