"""A small solid whose energy depends on charge and fidelity in a known way."""

from __future__ import annotations

import numpy as np
import torch
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.mlip.presets import Preset
from defect_workflows.reuse import fingerprint

CHARGES = (0, -1, -2)
ATOM_ENERGIES = {"pbe": {"Mg": -3.0, "O": -7.0}, "hse06": {"Mg": -5.0, "O": -11.0}}
AFFINITY = {"pbe": 2.0, "hse06": 1.2}
"""Energy of a missing electron in eV per charge."""
BOND = {"pbe": 2.1, "hse06": 2.0}
SWELLING = 0.08
"""Bonds get longer by this many Å per electron added."""
CUTOFF = 3.2


def energy_and_forces(structure: Structure, charge: int, fidelity: str) -> tuple[float, np.ndarray]:
    """Morse bonds whose length depends on charge and fidelity, smoothly cut off."""
    centre, neighbour, image, _ = structure.get_neighbor_list(CUTOFF)
    positions = torch.tensor(structure.cart_coords, dtype=torch.float64, requires_grad=True)
    shift = torch.tensor(image @ structure.lattice.matrix, dtype=torch.float64)
    distance = (positions[neighbour] + shift - positions[centre]).norm(dim=1)
    stretch = distance - BOND[fidelity] + SWELLING * charge
    switch = 0.5 * (1 + torch.cos(torch.pi * distance / CUTOFF))
    bonds = 0.5 * (0.6 * (1 - torch.exp(-1.2 * stretch)) ** 2 * switch).sum()
    (gradient,) = torch.autograd.grad(bonds, positions)
    atoms = sum(ATOM_ENERGIES[fidelity][site.specie.symbol] for site in structure)
    return bonds.item() + atoms + AFFINITY[fidelity] * charge, -gradient.numpy()


def make_label(
    structure: Structure,
    charge: int,
    fidelity: str,
    family: str,
    state: str | None = None,
    kind: str = "rattle",
    rehearsal: bool = True,
) -> Label:
    structure = with_charge(structure, charge)
    energy, forces = energy_and_forces(structure, charge, fidelity)
    configuration = ChargedConfiguration(
        id=fingerprint(structure),
        structure=structure,
        origin=Origin(state=state or f"v_O_{charge}", family=family, kind=kind),
    )
    return Label(
        fingerprint=fingerprint(structure, fidelity),
        configuration=configuration,
        fidelity=fidelity,
        energy=energy,
        forces=[tuple(row) for row in forces.tolist()],
        stress=((0.0,) * 3,) * 3,
        nelect=0.0,
        level_of_theory=LevelOfTheory(
            functional="PE", exact_exchange=0.0, screening=0.0, encut=350.0, precision="Accurate",
            spin_polarized=False, dispersion=0, kpoints=[(0.0, 0.0, 0.0)], potcars=["PAW_PBE Mg"],
        ),
        rehearsal=rehearsal,
    )  # fmt: skip


def rattled(structure: Structure, amplitude: float, seed: int) -> Structure:
    copy = structure.copy()
    noise = np.random.default_rng(seed).normal(0, amplitude, (len(copy), 3))
    return Structure(
        copy.lattice, copy.species, copy.cart_coords + noise, coords_are_cartesian=True
    )


def make_labels(geometries: int = 10, bulk: int = 4, expensive: int = 5) -> list[Label]:
    """Labels of a vacancy in three charges and of the bulk; the first ones at both fidelities."""
    solid = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    vacancy = solid.copy()
    vacancy.remove_sites([len(vacancy) - 1])
    labels = []
    for number in range(geometries):
        structure = rattled(vacancy, 0.08, number)
        for charge in CHARGES:
            for fidelity in ("pbe", "hse06")[: 2 if number < expensive else 1]:
                labels.append(make_label(structure, charge, fidelity, f"v_O/Rattled/{number}"))
    for number in range(bulk):
        structure = rattled(solid, 0.08, 100 + number)
        for fidelity in ("pbe", "hse06")[: 2 if number < max(1, expensive // 2) else 1]:
            labels.append(
                make_label(structure, 0, fidelity, f"bulk/Rattled/{number}", "bulk", "bulk")
            )
    return labels


TINY = Preset(
    cutoff=3.5, channels=16, max_l=0, max_ell=2, correlation=2, interactions=1, radial=(16,),
    learning_rate=0.02, batch_size=4, epochs=15, continued_share=0.75, radial_functions=6,
    embedding_size=4,
)  # fmt: skip
"""Trains in seconds."""
