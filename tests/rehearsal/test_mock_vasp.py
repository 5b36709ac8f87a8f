"""The program itself: what it writes, read by those who will read it."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from emmet.core.tasks import TaskDoc
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Locpot, Oszicar, Outcar, Poscar, Vasprun, Wavecar

from .conftest import InputWriter, run_mock_vasp

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def finished(write_inputs: InputWriter, vacancy: Structure, tmp_path: Path) -> Path:
    """A charged single point at the hybrid's stand-in, with every output file."""
    write_inputs(
        tmp_path, vacancy, charge=-2, LHFCALC=True, HFSCREEN=0.208, ISPIN=2, LVHAR=True,
        LWAVE=True, ENCUT=350, IVDW=12, LORBIT=11, MAGMOM="7*0.6",
    )  # fmt: skip
    (tmp_path / "KPOINTS").write_text("mesh\n0\nGamma\n2 2 2\n")
    result = run_mock_vasp(tmp_path)
    assert result.returncode == 0, result.stderr
    (tmp_path / "vasp.out").write_text(result.stdout)
    return tmp_path


def test_starts_without_heavy_imports() -> None:
    heavy = {"pymatgen", "ase", "torch", "atomate2", "doped", "scipy", "pydantic", "yaml"}
    code = "import sys, defect_workflows.rehearsal.mock_vasp; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(run.stdout.split())


def test_vasprun(finished: Path, vacancy: Structure) -> None:
    run = Vasprun(finished / "vasprun.xml", parse_potcar_file=True)
    assert run.converged_electronic
    assert run.converged_ionic
    assert run.generator["program"].lower() == "mock-vasp"
    assert run.incar["ENCUT"] == 350
    assert run.incar["LHFCALC"] is True
    assert run.incar["MAGMOM"] == pytest.approx([0.6] * 7)
    assert run.parameters["NELECT"] == 3 * 12 + 4 * 6 + 2
    assert run.parameters["AEXX"] == 0.25
    assert run.run_type == "HSE06+vdW-DFT-D3-BJ"
    assert run.potcar_symbols == ["PAW_PBE Cd 06Sep2000", "PAW_PBE Te 08Apr2002"]
    assert run.actual_kpoints == [(0, 0, 0)]
    assert len(run.ionic_steps) == 1
    assert run.ionic_steps[0]["forces"].shape == (7, 3)
    assert run.ionic_steps[0]["stress"].shape == (3, 3)
    assert run.final_structure.matches(vacancy, scale=False)
    up, down = run.eigenvalues.values()
    np.testing.assert_array_equal(up, down)
    # xTB keeps Cd's 4d in the core
    assert 2 * up[0, :, 1].sum() == pytest.approx(3 * 2 + 4 * 6 + 2, abs=0.01)
    gap, cbm, vbm, _ = run.eigenvalue_band_properties
    assert vbm < run.efermi < cbm
    assert gap == pytest.approx(cbm - vbm)
    run.update_charge_from_potcar(finished)
    assert run.final_structure.charge == -2


def test_outcar(finished: Path) -> None:
    outcar, run = Outcar(finished / "OUTCAR"), Vasprun(finished / "vasprun.xml")
    assert outcar.nelect == 62
    assert outcar.spin
    assert outcar.efermi == pytest.approx(run.efermi, abs=1e-4)
    assert outcar.final_energy == pytest.approx(run.final_energy, abs=1e-6)
    assert outcar.run_stats["cores"] == 1
    assert outcar.run_stats["Elapsed time (sec)"] > 0
    assert len(outcar.electrostatic_potential) == 7
    assert outcar.read_avg_core_poten()[-1] == outcar.electrostatic_potential
    assert outcar.drift == pytest.approx(np.zeros((1, 3)), abs=1e-5)
    text = (finished / "OUTCAR").read_text()
    assert "aborting loop because EDIFF is reached" in text
    assert "   NELECT =      62.0000    total number of electrons" in text
    assert "   ENCUT  =  350.0 eV" in text
    assert "   ZVAL   =  12.00  6.00" in text
    forces = outcar.read_table_pattern(
        r"TOTAL-FORCE \(eV/Angst\)\n\s-+", r"\s+".join([r"\s+(-?\d+\.\d+)"] * 6), r"\s-+\n"
    )
    np.testing.assert_allclose(
        np.array(forces, float)[:, 3:], run.ionic_steps[0]["forces"], atol=1e-6
    )


def test_what_is_not_done_is_said_first(finished: Path) -> None:
    head = (finished / "OUTCAR").read_text().split("INCAR:")[0]
    for said in (
        "GFN1-xTB", "Gamma mesh 2 2 2 asked for", "ISPIN = 2: energies are spin-unpolarised",
        "IVDW = 12", "ENCUT = 350", "HFSCREEN = 0.208", "without effect: ENCUT", "LORBIT",
    ):  # fmt: skip
        assert said in head


def test_oszicar_and_standard_output(finished: Path) -> None:
    oszicar, run = Oszicar(finished / "OSZICAR"), Vasprun(finished / "vasprun.xml")
    assert oszicar.final_energy == pytest.approx(run.final_energy, abs=1e-3)
    assert len(oszicar.electronic_steps[0]) == len(run.ionic_steps[0]["electronic_steps"])
    assert (finished / "OSZICAR").read_text() in (finished / "vasp.out").read_text()


def test_locpot_and_site_potentials_agree(finished: Path) -> None:
    """Grid values at atoms differ from the site potentials by the test charge's width only."""
    locpot, outcar = Locpot.from_file(finished / "LOCPOT"), Outcar(finished / "OUTCAR")
    assert locpot.data["total"].mean() == pytest.approx(0, abs=1e-6)
    assert len(locpot.get_average_along_axis(2)) == locpot.dim[2]
    grid = locpot.data["total"]
    frac = np.stack(np.meshgrid(*[np.arange(n) / n for n in grid.shape], indexing="ij"), axis=-1)
    for site, expected in zip(locpot.structure, outcar.electrostatic_potential, strict=True):
        weight = 0.0
        for image in np.ndindex(3, 3, 3):
            distance = (frac - site.frac_coords + np.array(image) - 1) @ site.lattice.matrix
            weight = weight + np.exp(-(distance**2).sum(axis=-1) / 2)
        assert (grid * weight).sum() / weight.sum() == pytest.approx(expected, abs=2e-3)


def test_contcar_is_the_final_structure(finished: Path) -> None:
    contcar = Poscar.from_file(finished / "CONTCAR").structure
    start = Poscar.from_file(finished / "POSCAR").structure
    np.testing.assert_allclose(contcar.distance_matrix, start.distance_matrix, atol=1e-10)


def test_wavecar_is_read_and_handed_on(
    finished: Path, write_inputs: InputWriter, vacancy: Structure, tmp_path: Path
) -> None:
    wavecar, run = Wavecar(finished / "WAVECAR"), Vasprun(finished / "vasprun.xml")
    assert (wavecar.nk, wavecar.spin) == (1, 2)
    bands = next(iter(run.eigenvalues.values()))[0]
    np.testing.assert_allclose(wavecar.band_energy[0][0][:, 0], bands[:, 0], atol=1e-3)
    assert "ISTART =      0" in (finished / "OUTCAR").read_text()
    first = run.final_energy
    assert run_mock_vasp(finished).returncode == 0
    outcar = (finished / "OUTCAR").read_text()
    assert "WAVECAR found and accepted" in outcar
    assert "ISTART =      1" in outcar
    assert Vasprun(finished / "vasprun.xml").final_energy == first


def test_task_document(finished: Path) -> None:
    document = TaskDoc.from_directory(finished)
    run = Vasprun(finished / "vasprun.xml")
    assert document.state == "successful"
    assert document.output.energy == run.final_energy
    np.testing.assert_allclose(document.output.forces, run.ionic_steps[0]["forces"])
    assert document.input.parameters["NELECT"] == 62


def test_the_functional_decides_the_method(
    write_inputs: InputWriter, vacancy: Structure, tmp_path: Path
) -> None:
    energies = []
    for name, hybrid in (("pbe", False), ("hse06", True)):
        directory = write_inputs(tmp_path / name, vacancy, LHFCALC=hybrid)
        assert run_mock_vasp(directory).returncode == 0
        run = Vasprun(directory / "vasprun.xml")
        energies.append(run.final_energy)
        method = "GFN1-xTB" if hybrid else "IPEA1-xTB"
        assert method in (directory / "OUTCAR").read_text().splitlines()[0]
    assert abs(energies[0] - energies[1]) > 1


def test_stress_has_the_sign_of_vasp(
    write_inputs: InputWriter, cdte: Structure, tmp_path: Path
) -> None:
    """VASP: a compressed crystal has positive stress (pressure, kB)."""
    cdte.scale_lattice(0.8 * cdte.volume)
    assert run_mock_vasp(write_inputs(tmp_path, cdte)).returncode == 0
    stress = Vasprun(tmp_path / "vasprun.xml").ionic_steps[0]["stress"]
    assert np.trace(stress) > 30
    pressure = re.search(r"external pressure = +(\S+) kB", (tmp_path / "OUTCAR").read_text())
    assert pressure is not None
    assert float(pressure[1]) == pytest.approx(np.trace(stress) / 3, abs=0.01)


def test_two_runs_are_equal(write_inputs: InputWriter, vacancy: Structure, tmp_path: Path) -> None:
    runs = []
    for name in "ab":
        directory = write_inputs(tmp_path / name, vacancy, charge=-1, LVHAR=True, LWAVE=True)
        assert run_mock_vasp(directory).returncode == 0
        files = ("CONTCAR", "OSZICAR", "LOCPOT", "WAVECAR")
        runs.append([(directory / file).read_bytes() for file in files])
        xml = (directory / "vasprun.xml").read_text().splitlines()
        runs[-1].append("\n".join(line for line in xml if '"time"' not in line[:40]).encode())
        runs[-1][-1] = re.sub(rb'<time name="totalsc">.*', b"", runs[-1][-1])
    assert runs[0] == runs[1]


def relax(write_inputs: InputWriter, directory: Path, structure: Structure, **incar) -> Vasprun:
    incar = {"NSW": 60, "IBRION": 2, "EDIFFG": -0.02, "EDIFF": 1e-6, "LHFCALC": True} | incar
    result = run_mock_vasp(write_inputs(directory, structure, charge=-2, **incar))
    assert result.returncode == 0, result.stderr
    return Vasprun(directory / "vasprun.xml")


def test_relaxation(write_inputs: InputWriter, vacancy: Structure, tmp_path: Path) -> None:
    run = relax(write_inputs, tmp_path, vacancy)
    assert run.converged_ionic
    assert 2 < len(run.ionic_steps) < 60
    assert np.linalg.norm(run.ionic_steps[-1]["forces"], axis=1).max() < 0.02
    assert run.ionic_steps[-1]["e_0_energy"] < run.ionic_steps[0]["e_0_energy"] - 0.1
    contcar = Poscar.from_file(tmp_path / "CONTCAR").structure
    np.testing.assert_allclose(
        contcar.distance_matrix, run.final_structure.distance_matrix, atol=1e-6
    )
    assert "reached required accuracy" in (tmp_path / "OUTCAR").read_text()
    assert len(Oszicar(tmp_path / "OSZICAR").ionic_steps) == len(run.ionic_steps)
    single_point = write_inputs(tmp_path / "again", contcar, charge=-2, LHFCALC=True, EDIFF=1e-6)
    assert run_mock_vasp(single_point).returncode == 0
    again = Vasprun(single_point / "vasprun.xml").final_energy
    assert again == pytest.approx(run.final_energy, abs=1e-4)


def test_relaxation_by_energy(
    write_inputs: InputWriter, vacancy: Structure, tmp_path: Path
) -> None:
    run = relax(write_inputs, tmp_path, vacancy, EDIFFG=1e-2)
    energies = [step["e_0_energy"] for step in run.ionic_steps]
    assert abs(energies[-1] - energies[-2]) < 1e-2 <= abs(energies[-2] - energies[-3])


def test_relaxation_cut_short(
    write_inputs: InputWriter, vacancy: Structure, tmp_path: Path
) -> None:
    run = relax(write_inputs, tmp_path, vacancy, NSW=3)
    assert len(run.ionic_steps) == 3
    assert not run.converged_ionic
    assert "reached required accuracy" not in (tmp_path / "OUTCAR").read_text()


def test_frozen_atoms_stay(write_inputs: InputWriter, vacancy: Structure, tmp_path: Path) -> None:
    flags = [[True] * 3] * 4 + [[False] * 3] * 2 + [[True, False, False]]
    vacancy.add_site_property("selective_dynamics", flags)
    run = relax(write_inputs, tmp_path, vacancy)
    assert run.converged_ionic
    moved = run.final_structure.cart_coords - vacancy.cart_coords
    moved -= np.round(moved / vacancy.lattice.a) * vacancy.lattice.a
    np.testing.assert_allclose(moved[4:6], 0, atol=1e-6)
    np.testing.assert_allclose(moved[6, 1:], 0, atol=1e-6)
    assert np.abs(moved[:4]).max() > 0.05


def test_unconverged_cycles(write_inputs: InputWriter, vacancy: Structure, tmp_path: Path) -> None:
    result = run_mock_vasp(write_inputs(tmp_path, vacancy, charge=-2, NELM=3))
    assert result.returncode == 0
    run = Vasprun(tmp_path / "vasprun.xml")
    assert not run.converged_electronic
    assert len(Oszicar(tmp_path / "OSZICAR").electronic_steps[0]) == 3
    text = (tmp_path / "OUTCAR").read_text()
    assert "aborting loop because EDIFF is reached" not in text
    assert "aborting loop EDIFF was not reached" in text


@pytest.mark.parametrize(
    ("incar", "message"),
    [
        ({"NSW": 5, "IBRION": 0}, "IBRION is 0, expected -1, 1 or 2"),
        ({"NSW": 5, "IBRION": 3}, "IBRION is 3, expected -1, 1 or 2"),
        ({"NSW": 5, "IBRION": 2, "ISIF": 3}, "ISIF is 3, expected 0, 1 or 2"),
        ({"LSORBIT": True}, "LSORBIT is true"),
    ],
)
def test_refusals(
    write_inputs: InputWriter, vacancy: Structure, tmp_path: Path, incar: dict, message: str
) -> None:
    result = run_mock_vasp(write_inputs(tmp_path, vacancy, **incar))
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "I REFUSE TO CONTINUE" in result.stdout
    assert not (tmp_path / "vasprun.xml").exists()


def test_missing_file(tmp_path: Path) -> None:
    result = run_mock_vasp(tmp_path)
    assert result.returncode == 1
    assert result.stderr == "POSCAR: not found in the working directory\n"


def test_doped_corrects_a_charged_vacancy(write_inputs: InputWriter, tmp_path: Path) -> None:
    """doped's parser reads both correction schemes from the files; 32 atoms of MgO."""
    from doped.analysis import defect_entry_from_paths

    host = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]
    ) * [2, 2, 1]
    host = host.get_sorted_structure()
    defect = host.copy()
    defect.remove_sites([16])
    for name, structure, charge in (("bulk", host, 0), ("v_O_+2", defect, 2)):
        directory = write_inputs(tmp_path / name, structure, charge, LVHAR=True, ENCUT=400)
        assert run_mock_vasp(directory).returncode == 0
    corrections = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry = defect_entry_from_paths(
            str(tmp_path / "v_O_+2"), str(tmp_path / "bulk"), dielectric=9.8, charge_state=2
        )
        assert entry.charge_state == 2
        corrections["eFNV"] = entry.corrections["kumagai_charge_correction"]
        entry.get_freysoldt_correction(
            bulk_locpot=Locpot.from_file(tmp_path / "bulk" / "LOCPOT"),
            defect_locpot=Locpot.from_file(tmp_path / "v_O_+2" / "LOCPOT"),
            verbose=False,
        )
        corrections["FNV"] = entry.corrections["freysoldt_charge_correction"]
    # two schemes on one cell: both read the same potential, its sign included
    assert corrections["eFNV"] > 0
    assert corrections["FNV"] == pytest.approx(corrections["eFNV"], rel=0.4)
