"""Documents from real VASP calculations."""

from pathlib import Path

import numpy as np
import pytest
from monty.serialization import loadfn
from pymatgen.core import Structure

from defect_workflows.charge import with_charge
from defect_workflows.dft.finished import read_calculation
from defect_workflows.documents.defects import (
    ChargedConfiguration,
    DefectState,
    HostDocument,
    Origin,
)
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.documents.levels import Correction, LevelCalculation, StateAnalysis
from defect_workflows.levels.identify import identify
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


def calculation_from(directory: Path) -> LevelCalculation:
    return LevelCalculation.from_finished(read_calculation(directory))


@pytest.fixture(scope="session")
def cdte_cells(data_dir):
    """V_Cd -2 in CdTe at HSE06: defects and bulks, with atom-shuffled copies of both."""
    folder = data_dir / "01_cdte_vCd_hse06_gamma"
    defects = [
        calculation_from(folder / name)
        for name in ("v_Cd_-2_vasp_gam", "v_Cd_-2_choppy_changy_vasp_gam")
    ]
    bulks = [calculation_from(folder / name) for name in ("bulk_vasp_gam", "bulk_vasp_gam_alt")]
    return defects, bulks


@pytest.fixture(scope="session")
def vacancy(cdte_cells):
    """State, calculation and bulk of V_Cd -2."""
    (calculation, _), (bulk, _) = cdte_cells
    state, calculation, _ = identify("v_Cd", calculation, bulk)
    return state, calculation, bulk


@pytest.fixture(scope="session")
def published(data_dir):
    """doped's published V_Cd in CdTe: host, bulk, states with calculations, corrections."""
    thermodynamics = loadfn(data_dir / "05_cdte_hse_soc" / "CdTe_example_thermo.json")
    calculations, analyses = [], {}
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
        calculations.append(StateCalculation(state, LevelCalculation.from_label(label)))
        analyses[name] = StateAnalysis(
            correction=Correction(scheme="FNV", energy=sum(entry.corrections.values()), error=0.01)
        )
    vbm, gap = thermodynamics.vbm, thermodynamics.band_gap
    bulk_calculation = LevelCalculation.from_label(
        make_label(bulk, 0, entry.bulk_entry.energy, vbm=vbm, cbm=vbm + gap)
    )
    host = HostDocument(
        name="CdTe",
        primitive=bulk.get_primitive_structure(),
        supercell=with_charge(bulk, 0),
        supercell_matrix=np.eye(3, dtype=int).tolist(),
        dielectric=np.diag([9.13] * 3).tolist(),
    )
    return host, bulk_calculation, calculations, analyses
