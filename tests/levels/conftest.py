"""Documents from real VASP calculations."""

from pathlib import Path

import numpy as np
import pytest
from doped.analysis import defect_and_info_from_structures
from doped.core import DefectEntry
from monty.serialization import loadfn
from pymatgen.core import Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.vasp import Locpot, Outcar

from defect_workflows.charge import with_charge
from defect_workflows.documents.defects import (
    ChargedConfiguration,
    DefectState,
    HostDocument,
    Origin,
)
from defect_workflows.documents.labels import Label, LevelOfTheory, PlanarPotential
from defect_workflows.documents.levels import Correction
from defect_workflows.levels.states import StateCalculation

THEORY = LevelOfTheory(
    functional="PE+HF",
    exact_exchange=0.25,
    screening=0.208,
    encut=350,
    precision="Normal",
    spin_polarized=True,
    dispersion=0,
    kpoints=[(0, 0, 0)],
    potcars=[],
)


def make_label(
    structure: Structure, charge: int, energy: float, state: str = "bulk", **extra
) -> Label:
    configuration = ChargedConfiguration(
        id=f"{state}",
        structure=with_charge(Structure.from_sites(structure), charge),
        origin=Origin(state=state, family="test", kind="ingested"),
    )
    defaults = {"forces": np.zeros((len(structure), 3)).tolist(), "rehearsal": False}
    return Label(
        fingerprint=f"{state}",
        configuration=configuration,
        fidelity="hse06",
        energy=energy,
        stress=np.zeros((3, 3)).tolist(),
        nelect=0.0,
        level_of_theory=THEORY,
        **(defaults | extra),
    )


def label_from_directory(directory: Path, charge: int, structure_file: str = "") -> Label:
    outcar = Outcar(directory / "OUTCAR.gz")
    planar = None
    if structure_file:
        structure = Structure.from_file(directory / structure_file)
    else:
        locpot = Locpot.from_file(directory / "LOCPOT.gz")
        structure = locpot.structure
        planar = PlanarPotential(
            averages=[locpot.get_average_along_axis(axis).tolist() for axis in range(3)],
            content="hartree+ionic",
        )
    return make_label(
        structure,
        charge,
        outcar.final_energy,
        directory.name,
        site_potentials=outcar.electrostatic_potential,
        planar_potential=planar,
    )


def state_of(name: str, label: Label, bulk_label: Label) -> DefectState:
    """Identify the defect with doped, as an ingestion would."""
    bulk = bulk_label.configuration.structure
    structure = label.configuration.structure
    defect, _, info = defect_and_info_from_structures(
        bulk.copy(properties={}),
        structure.copy(properties={}),
        skip_atom_mapping_check=True,
        oxi_state="N/A",
        multiplicity=1,
    )
    entry = DefectEntry(
        defect=defect,
        charge_state=label.charge,
        sc_entry=ComputedStructureEntry(structure, 0.0),
        name=name,
    )
    return DefectState(
        name=name,
        defect=name.rsplit("_", 1)[0],
        charge=label.charge,
        structure=structure,
        site=tuple(info["bulk_site"].frac_coords),
        entry=entry,
    )


@pytest.fixture(scope="session")
def cdte_cells(data_dir):
    """V_Cd -2 in CdTe at HSE06: {(defect, bulk): labels}, with atom-shuffled copies of both."""
    folder = data_dir / "01_cdte_vCd_hse06_gamma"
    defects = [
        label_from_directory(folder / name, -2)
        for name in ("v_Cd_-2_vasp_gam", "v_Cd_-2_choppy_changy_vasp_gam")
    ]
    bulks = [
        label_from_directory(folder / name, 0) for name in ("bulk_vasp_gam", "bulk_vasp_gam_alt")
    ]
    return defects, bulks


@pytest.fixture(scope="session")
def vacancy(cdte_cells):
    """State, label and bulk label of V_Cd -2."""
    (label, _), (bulk, _) = cdte_cells
    return state_of("v_Cd_-2", label, bulk), label, bulk


@pytest.fixture(scope="session")
def published(data_dir):
    """doped's published V_Cd in CdTe: host, bulk label, states with labels, corrections."""
    thermodynamics = loadfn(data_dir / "05_cdte_hse_soc" / "CdTe_example_thermo.json")
    calculations, corrections = [], {}
    for name in ("v_Cd_0", "v_Cd_-1", "v_Cd_-2"):
        entry = thermodynamics.defect_entries[name]
        bulk = entry.bulk_entry.structure
        label = make_label(
            entry.sc_entry.structure, entry.charge_state, entry.sc_entry.energy, name
        )
        state = DefectState(
            name=name,
            defect="v_Cd",
            charge=entry.charge_state,
            structure=label.configuration.structure,
            site=tuple(entry.calculation_metadata["bulk_site"].frac_coords),
            entry=entry,
        )
        calculations.append(StateCalculation(state, label))
        corrections[name] = Correction(
            scheme="FNV", energy=sum(entry.corrections.values()), error=0.01
        )
    vbm, gap = thermodynamics.vbm, thermodynamics.band_gap
    bulk_label = make_label(bulk, 0, entry.bulk_entry.energy, vbm=vbm, cbm=vbm + gap)
    host = HostDocument(
        name="CdTe",
        primitive=bulk.get_primitive_structure(),
        supercell=with_charge(bulk, 0),
        supercell_matrix=np.eye(3, dtype=int).tolist(),
        dielectric=np.diag([9.13] * 3).tolist(),
    )
    return host, bulk_label, calculations, corrections
