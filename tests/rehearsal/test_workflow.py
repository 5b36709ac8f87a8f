"""atomate2's ordinary StaticMaker and RelaxMaker with mock-vasp as the VASP command."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker
from atomate2.vasp.sets.core import RelaxSetGenerator, StaticSetGenerator
from jobflow import run_locally
from pymatgen.core import Structure
from pymatgen.io.vasp import Kpoints

from .conftest import MOCK_VASP

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("pymatgen_potcars"),
]

RUN = {
    "vasp_cmd": shlex.join(MOCK_VASP),
    "vasp_gamma_cmd": shlex.join(MOCK_VASP),
    "custodian_kwargs": {"polling_time_step": 0.2},
}
GAMMA = Kpoints.gamma_automatic((1, 1, 1))


def static(**incar) -> StaticMaker:
    generator = StaticSetGenerator(
        user_incar_settings={"ISMEAR": 0, "LHFCALC": True, "HFSCREEN": 0.208, "LVHAR": True}
        | incar,
        user_kpoints_settings=GAMMA,
        use_structure_charge=True,
    )
    return StaticMaker(input_set_generator=generator, run_vasp_kwargs=RUN)


@pytest.mark.parametrize("charge", [0, -2])
def test_static(vacancy: Structure, charge: int, tmp_path: Path) -> None:
    vacancy.set_charge(charge)
    job = static().make(vacancy)
    output = run_locally(job, root_dir=tmp_path, ensure_success=True)[job.uuid][1].output
    assert output.state == "successful"
    assert output.input.parameters["NELECT"] == 60 - charge
    assert len(output.output.forces) == 7
    assert output.calcs_reversed[0].output.locpot is not None
    assert [c.corrections for c in output.custodian or []] in ([], [[]])


def test_charge_states_differ(vacancy: Structure, tmp_path: Path) -> None:
    energies = []
    for charge in (0, -1, -2):
        vacancy.set_charge(charge)
        job = static(LVHAR=False).make(vacancy)
        outputs = run_locally(job, root_dir=tmp_path, create_folders=True, ensure_success=True)
        energies.append(outputs[job.uuid][1].output.output.energy)
    assert energies[0] - 1 > energies[1] > energies[2] + 1


def test_relax(vacancy: Structure, tmp_path: Path) -> None:
    generator = RelaxSetGenerator(
        user_incar_settings={"ISIF": 2, "ISMEAR": 0, "NSW": 60, "EDIFFG": -0.03},
        user_kpoints_settings=GAMMA,
    )
    job = RelaxMaker(input_set_generator=generator, run_vasp_kwargs=RUN).make(vacancy)
    output = run_locally(job, root_dir=tmp_path, ensure_success=True)[job.uuid][1].output
    steps = output.calcs_reversed[0].output.ionic_steps
    assert len(steps) > 2
    assert steps[-1].e_0_energy < steps[0].e_0_energy
