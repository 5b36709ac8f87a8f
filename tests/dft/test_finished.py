"""What is read from real calculations, and from folders that are not as they should be."""

import bz2
import gzip
import re

import numpy as np
import pytest
from dft_files import content, outcar_alone, put, unpacked, vasprun_alone
from pymatgen.core import Structure
from pymatgen.io.vasp import Locpot, Outcar, Poscar, Vasprun

from defect_workflows.dft.finished import read_calculation
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.errors import CalculationError

CDTE = "01_cdte_vCd_hse06_gamma"
GAN = "03_gan_mgga_pbesol_atomate2/GaN_Mg_defect"
MGO = "04_mgo_pbesol_full/Defects/Pre_Calculated_Results"
SOC = "05_cdte_hse_soc"
SILICON = "08_si_ccd_atomate2/Si_config_coord"
BOTH_FILES = [
    f"{CDTE}/bulk_vasp_gam",
    f"{CDTE}/v_Cd_-2_vasp_gam",
    "02_ytos_pbe/Bulk",
    "02_ytos_pbe/F_O_1",
    "02_ytos_pbe/Int_F_-1",
    f"{GAN}/bulk_relax/outputs",
    f"{GAN}/relax_Mg_Ga-0_q=-2/outputs",
    f"{GAN}/relax_Mg_Ga-0_q=1/outputs",
    f"{SILICON}/relax_q2/outputs",
    "10_hosts/Si_dielectric/outputs",
]


@pytest.fixture(scope="module")
def silicon(data_dir):
    """A small relaxation of three steps with both files."""
    return data_dir / SILICON / "relax_q2" / "outputs"


def refused(directory, *words, **options):
    with pytest.raises(CalculationError) as caught:
        read_calculation(directory, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("folder", BOTH_FILES)
def test_outcar_and_vasprun_of_a_run_say_the_same(data_dir, tmp_path, folder):
    outcar = outcar_alone(data_dir / folder, tmp_path / "outcar")
    vasprun = vasprun_alone(data_dir / folder, tmp_path / "vasprun")
    assert outcar.energy == pytest.approx(vasprun.energy, abs=1e-4)
    assert outcar.ionic_steps == vasprun.ionic_steps
    for mine, theirs in zip(outcar.frames, vasprun.frames, strict=True):
        assert mine.energy == pytest.approx(theirs.energy, abs=1e-4)
        assert np.allclose(mine.forces, theirs.forces, atol=2e-6)
        assert np.allclose(mine.stress, theirs.stress, atol=1e-6)
        assert mine.structure.lattice.matrix == pytest.approx(
            theirs.structure.lattice.matrix, abs=1e-6
        )
        difference = mine.structure.frac_coords - theirs.structure.frac_coords
        difference -= np.round(difference)
        assert np.abs(difference @ mine.structure.lattice.matrix).max() < 1.1e-5
        assert mine.scf_converged == theirs.scf_converged
    assert outcar.charge == vasprun.charge
    assert outcar.valences == vasprun.valences
    assert outcar.level_of_theory.model_dump(exclude={"kpoint_mesh"}) == (
        vasprun.level_of_theory.model_dump(exclude={"kpoint_mesh"})
    )
    assert outcar.band_edges.vbm == pytest.approx(vasprun.band_edges.vbm, abs=5e-4)
    assert outcar.band_edges.cbm == pytest.approx(vasprun.band_edges.cbm, abs=5e-4)
    assert outcar.ionic_converged == vasprun.ionic_converged
    assert outcar.nupdown == vasprun.nupdown
    if outcar.magnetization is not None:
        assert outcar.magnetization == pytest.approx(vasprun.magnetization, abs=0.02)


@pytest.mark.parametrize("folder", [f"{CDTE}/v_Cd_-2_vasp_gam", f"{GAN}/bulk_relax/outputs"])
def test_pymatgen_reads_the_same(data_dir, folder):
    directory = data_dir / folder
    found = read_calculation(directory)
    vasprun = Vasprun(directory / "vasprun.xml.gz", parse_dos=False, parse_potcar_file=False)
    outcar = Outcar(directory / "OUTCAR.gz")
    assert found.energy == pytest.approx(vasprun.final_energy, abs=1e-6)
    assert found.energy == pytest.approx(outcar.final_energy, abs=1e-6)
    assert np.allclose(found.structure.frac_coords, vasprun.final_structure.frac_coords)
    assert found.site_potentials == outcar.electrostatic_potential
    _, cbm, vbm, _ = vasprun.eigenvalue_band_properties
    assert (found.band_edges.vbm, found.band_edges.cbm) == (vbm, cbm)
    assert found.magnetization == pytest.approx(outcar.total_mag)
    assert found.nelect == pytest.approx(outcar.nelect, abs=1e-3)


def test_planar_averages_are_pymatgens(data_dir):
    directory = data_dir / CDTE / "v_Cd_-2_vasp_gam"
    found = read_calculation(directory).planar_potential
    locpot = Locpot.from_file(directory / "LOCPOT.gz")
    assert found.content == "hartree+ionic"
    for axis in range(3):
        assert np.allclose(found.averages[axis], locpot.get_average_along_axis(axis))
    assert read_calculation(directory, planes=False).planar_potential is None


@pytest.mark.parametrize(
    ("folder", "energy", "charge", "steps"),
    [
        (f"{MGO}/MgO_bulk/vasp_std", -1351.74931619, 0, 1),
        (f"{MGO}/Mg_O_0/vasp_std", -1331.64032151, 0, 37),
        (f"{MGO}/Mg_O_+1/vasp_std", -1339.83845723, 1, 2),
        (f"{MGO}/Mg_O_+4/vasp_std", -1357.26016468, 4, 11),
        ("06_cdte_CdTe_m2_spin/NUPDOWN_4", -197.14265, -2, 1),
        (f"{SOC}/Cd_i_C3v_0/vasp_gam", -209.69398, 0, 36),
    ],
)
def test_real_calculations(data_dir, folder, energy, charge, steps):
    found = read_calculation(data_dir / folder)
    assert found.energy == pytest.approx(energy, abs=1e-5)
    assert found.charge == found.structure.properties["charge"] == charge
    assert found.ionic_steps == steps
    assert found.scf_converged
    assert found.ended
    assert not found.rehearsal
    assert not found.left_out
    assert found.ionic_converged is (None if "bulk" in folder else True)  # no relaxation
    assert FinishedCalculation.model_validate_json(found.model_dump_json()).energy == found.energy


def test_several_kpoints_and_spins_from_an_outcar(data_dir):
    found = read_calculation(data_dir / MGO / "MgO_bulk" / "vasp_std")
    assert found.band_edges.vbm == pytest.approx(3.1293, abs=1e-4)
    assert found.band_edges.cbm - found.band_edges.vbm == pytest.approx(4.7218, abs=1e-4)
    assert found.band_edges.vbm_kpoint == (0, 0, 0)
    assert len(found.site_potentials) == 216
    theory = found.level_of_theory
    assert theory.functional == "PS"
    assert theory.kpoint_mesh.divisions == (2, 2, 2)
    assert theory.kpoint_mesh.shift == (0, 0, 0)
    assert len(theory.kpoints) == 8
    assert theory.real_space_projection is True
    assert theory.potcars == ["PAW_PBE Mg 13Apr2007", "PAW_PBE O 08Apr2002"]
    assert theory.hubbard == []
    moment = read_calculation(data_dir / MGO / "Mg_O_+1" / "vasp_std")
    assert (moment.magnetization, moment.nupdown) == (pytest.approx(1.0), 1.0)


@pytest.mark.parametrize("name", ["Int_Te_3_1", "Te_Cd_+1", "v_Cd_example_data/CdTe_bulk"])
def test_spin_orbit(data_dir, name):
    found = read_calculation(data_dir / SOC / name / "vasp_ncl")
    theory = found.level_of_theory
    assert theory.spin_orbit
    assert not theory.spin_polarized
    assert (theory.functional, theory.exact_exchange, theory.screening) == ("PE+HF", 0.345, 0.2)
    assert found.charge == (0 if "bulk" in name else 1)
    if name.endswith("bulk"):
        assert found.band_edges.vbm == pytest.approx(1.6465, abs=1e-4)
        assert found.band_edges.cbm - found.band_edges.vbm == pytest.approx(1.4986, abs=1e-4)


def test_an_outcar_without_core_levels(data_dir, tmp_path):
    source = data_dir / SOC / "Int_Te_3_2" / "vasp_ncl"
    usual = read_calculation(source)
    assert usual.files == ["OUTCAR.gz"]
    (tmp_path / "OUTCAR_no_core_levels.gz").symlink_to(source / "OUTCAR_no_core_levels.gz")
    found = read_calculation(tmp_path)
    assert found.files == ["OUTCAR_no_core_levels.gz"]
    assert found.site_potentials is None
    assert len(usual.site_potentials) == 65
    assert found.energy == usual.energy


def test_orbitals_near_the_band_edges(data_dir):
    directory = data_dir / GAN / "bulk_relax" / "outputs"
    found = read_calculation(directory)
    vasprun = Vasprun(directory / "vasprun.xml.gz", parse_projected_eigen=True)
    (first, *_), *_ = found.projected["orbital_infos"][0]
    band = found.projected["lowest_band_index"]
    spin = next(iter(vasprun.projected_eigenvalues))
    gallium = vasprun.final_structure.indices_from_symbol("Ga")
    weights = vasprun.projected_eigenvalues[spin][0, band][list(gallium)]
    expected = [weights[:, 0].sum(), weights[:, 1:4].sum(), weights[:, 4:9].sum()]
    assert first["orbitals"]["Ga"][:3] == pytest.approx(expected, abs=1e-3)
    assert found.projected["fermi_level"] == pytest.approx(vasprun.efermi)
    assert read_calculation(directory, projections=False).projected is None


def test_reading_is_fast(data_dir):
    folders = sorted((data_dir / MGO).glob("*/vasp_std"))
    seconds = [read_calculation(folder).seconds for folder in folders]
    assert len(seconds) == 6
    assert max(seconds) < 5  # 0.3 s on an idle core, for 37 steps of 216 atoms


def test_a_file_is_opened_by_its_content(silicon, tmp_path):
    expected = read_calculation(silicon)
    outcar, vasprun = (unpacked(silicon / name) for name in ("OUTCAR.gz", "vasprun.xml.gz"))
    put(tmp_path, **{"OUTCAR.gz": outcar})
    (tmp_path / "vasprun.xml").write_bytes(gzip.compress(vasprun))
    assert read_calculation(tmp_path).energy == expected.energy
    (tmp_path / "vasprun.xml").unlink()
    (tmp_path / "vasprun.xml.bz2").write_bytes(bz2.compress(vasprun))
    assert read_calculation(tmp_path).files == ["vasprun.xml.bz2", "OUTCAR.gz"]


def test_several_candidates(silicon, tmp_path):
    outcar = unpacked(silicon / "OUTCAR.gz")
    put(tmp_path, OUTCAR=outcar)
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(outcar))
    assert read_calculation(tmp_path).files == ["OUTCAR"]  # twice the same
    (tmp_path / "OUTCAR_old").write_bytes(b"something else")
    (tmp_path / "OUTCARS").write_bytes(b"something else")
    assert read_calculation(tmp_path).files == ["OUTCAR"]  # the usual name counts
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(outcar + b" "))
    refused(tmp_path, "OUTCAR and OUTCAR.gz with different content")
    for name in ("OUTCAR", "OUTCAR.gz"):
        (tmp_path / name).unlink()
    refused(tmp_path, "OUTCAR_old: found no")  # the only one, and no OUTCAR
    (tmp_path / "OUTCAR.relax1").write_bytes(outcar)
    refused(tmp_path, "OUTCAR_old", "OUTCAR.relax1", "expected one")


def test_files_of_two_runs_are_refused(silicon, data_dir, tmp_path):
    other = data_dir / SILICON / "static_q2_0" / "outputs"
    vasprun = unpacked(other / "vasprun.xml.gz")
    put(tmp_path, OUTCAR=unpacked(silicon / "OUTCAR.gz"), vasprun=vasprun)
    refused(tmp_path, "vasprun.xml: is of another run than OUTCAR", "1 and 3 ionic steps")
    put(tmp_path, OUTCAR=unpacked(data_dir / SILICON / "static_q2_1" / "outputs" / "OUTCAR.gz"))
    refused(tmp_path, "is of another run", "-41.568139 and -41.571592 eV")


def test_a_contcar_adds_decimals_and_never_contradicts(silicon, tmp_path):
    exact = read_calculation(silicon).structure
    put(tmp_path, OUTCAR=unpacked(silicon / "OUTCAR.gz"))
    rounded = read_calculation(tmp_path).structure
    assert 1e-7 < np.abs(rounded.cart_coords - exact.cart_coords).max() < 1e-5

    Poscar(exact).write_file(tmp_path / "CONTCAR", significant_figures=12)
    found = read_calculation(tmp_path)
    assert found.files == ["OUTCAR", "CONTCAR"]
    assert np.abs(found.structure.cart_coords - exact.cart_coords).max() < 1e-7

    moved = exact.copy()
    moved.translate_sites([0], [0.001, 0, 0], frac_coords=False)
    Poscar(moved).write_file(tmp_path / "CONTCAR")
    found = read_calculation(tmp_path)
    assert found.files == ["OUTCAR"]
    assert np.allclose(found.structure.cart_coords, rounded.cart_coords, atol=1e-9)

    other = Structure(exact.lattice, ["Ge"] * len(exact), exact.frac_coords)
    Poscar(other).write_file(tmp_path / "CONTCAR")
    found = read_calculation(tmp_path)
    assert found.notes == ["CONTCAR: has other atoms than the calculation"]


@pytest.mark.parametrize("file", ["OUTCAR", "vasprun"])
def test_a_run_that_died(silicon, tmp_path, file):
    whole = read_calculation(silicon)
    data = unpacked(silicon / f"{file.replace('vasprun', 'vasprun.xml')}.gz")
    mark = b"FREE ENERGIE OF" if file == "OUTCAR" else b"</calculation>"
    second = [match.end() for match in re.finditer(re.escape(mark), data)][1]
    put(tmp_path, **{file: data[: second + 4000]})
    refused(tmp_path, "cut off")
    found = read_calculation(tmp_path, partial=True)
    assert not found.ended
    assert found.left_out == ["step 3: the run ended in it"]
    assert [frame.energy for frame in found.frames] == pytest.approx(
        [frame.energy for frame in whole.frames[:2]], abs=1e-7
    )
    assert found.ionic_converged is False


def test_no_digit_of_an_energy_is_lost(silicon, tmp_path):
    """A run that died while it wrote the energy of a step."""
    data = unpacked(silicon / "OUTCAR.gz")
    end = re.search(rb"energy  without entropy=.*energy\(sigma->0\) = +\S+", data).end()
    for cut in range(end - 12, end + 1):
        refused(put(tmp_path, OUTCAR=data[:cut]), "no complete ionic step", partial=True)
    found = read_calculation(put(tmp_path, OUTCAR=data[: end + 3]), partial=True)
    assert [frame.energy for frame in found.frames] == [-41.47374839]


def test_the_outcar_knows_of_convergence_in_the_last_cycle(silicon, tmp_path):
    """vasprun.xml alone cannot tell whether the last cycle allowed was enough."""
    vasprun = unpacked(silicon / "vasprun.xml.gz")
    cycles = vasprun.split(b"</calculation>")[2].count(b"<scstep>")
    limited = re.sub(rb'(name="NELM">) +\d+', rb"\g<1> %d" % cycles, vasprun)
    assert not read_calculation(put(tmp_path, vasprun=limited)).scf_converged
    assert read_calculation(put(tmp_path, OUTCAR=unpacked(silicon / "OUTCAR.gz"))).scf_converged


def test_folders_that_hold_no_calculation(tmp_path, silicon):
    refused(tmp_path / "none", "none: found nothing, expected a folder")
    refused(tmp_path, "found neither vasprun.xml nor OUTCAR")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "found a file, expected a folder")
    outcar = tmp_path / "OUTCAR"
    for bytes_, words in (
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"Dear diary, today no VASP.\n" * 50, "expected VASP's header"),
        (bytes(range(256)) * 40, "expected VASP's header"),
        (b"\x1f\x8bnot really compressed", "cannot be read"),
        (gzip.compress(unpacked(silicon / "OUTCAR.gz"))[:-30], "cannot be read"),
    ):
        outcar.write_bytes(bytes_)
        refused(tmp_path, "OUTCAR: ", words)
        refused(tmp_path, "OUTCAR: ", words, partial=True)
    outcar.unlink()
    for bytes_, words in (
        (b"<html><body>Not found</body></html>", "found no <generator>"),
        (b"no xml", "broken"),
        (b"<?xml version='1.0'?><modeling></modeling>", "found no <generator>"),
    ):
        put(tmp_path, vasprun=bytes_)
        refused(tmp_path, "vasprun.xml: ", words)


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (rb"(energy  without entropy=.*) +-\S+ *\n", rb"\1  NaN\n", "energy"),
        (rb"(TOTAL-FORCE.*\n -+\n.{45})\s*\S+", rb"\1 **********", "forces not finite"),
        (rb"(NELECT =) +\S+", rb"\1  *******", "NELECT"),
        (rb"(NELECT =|number of electron) +\S+", rb"\1  26.5", "expected an integer charge"),
        (rb"ZVAL   =    4.000", rb"ZVAL   =      NaN", ""),
    ],
)
def test_numbers_that_are_none(silicon, tmp_path, pattern, replacement, words):
    data = unpacked(silicon / "OUTCAR.gz")
    broken, count = re.subn(pattern, replacement, data)
    assert count
    put(tmp_path, OUTCAR=broken)
    refused(tmp_path, "OUTCAR", words)


def test_a_step_without_numbers_is_left_out(silicon, tmp_path):
    data = unpacked(silicon / "OUTCAR.gz")
    broken = re.sub(rb"(TOTAL-FORCE.*\n -+\n.{45})\s*\S+", rb"\1 **********", data, count=1)
    found = read_calculation(put(tmp_path, OUTCAR=broken))
    assert [frame.step for frame in found.frames] == [2, 3]
    assert found.left_out == ["step 1: forces not finite: found NaN or *****"]
    assert found.energy == read_calculation(silicon).energy


def test_unconverged_steps_are_told(silicon, tmp_path):
    data = unpacked(silicon / "OUTCAR.gz")
    reached = b"aborting loop because EDIFF is reached"
    first = data.replace(reached, b"aborting loop EDIFF was not reached (unconverged)", 1)
    found = read_calculation(put(tmp_path, OUTCAR=first))
    assert [frame.scf_converged for frame in found.frames] == [False, True, True]
    assert found.scf_converged
    vasprun = re.sub(rb'(name="NELM">) +\d+', rb"\1 8", unpacked(silicon / "vasprun.xml.gz"))
    cycles = [len(re.findall(rb"<scstep>", part)) for part in vasprun.split(b"</calculation>")][:3]
    found = read_calculation(put(tmp_path / "xml", vasprun=vasprun))
    assert [frame.scf_converged for frame in found.frames] == [n < 8 for n in cycles]
    assert len({n < 8 for n in cycles}) == 2


def test_a_hubbard_correction_and_dispersion(silicon, tmp_path):
    """VASP's lines of settings that no calculation in the data has."""
    data = unpacked(silicon / "OUTCAR.gz")
    lines = (
        b" LDA+U is selected, type is set to LDAUTYPE =  2\n"
        b"   angular momentum for each species LDAUL =     2\n"
        b"   U (eV)           for each species LDAUU =   4.0\n"
        b"   J (eV)           for each species LDAUJ =   0.5\n\n"
    )
    data = data.replace(b" Startparameter for this run", b" Startparameter for this run", 1)
    changed = data.replace(b" INCAR:\n", b" INCAR:\n   LDAU = True\n   IVDW = 12\n", 1)
    changed = changed.replace(b" Electronic Relaxation 1", lines + b" Electronic Relaxation 1", 1)
    theory = read_calculation(put(tmp_path, OUTCAR=changed)).level_of_theory
    assert theory.dispersion == 12
    (term,) = theory.hubbard
    assert (term.element, term.angular_momentum, term.u, term.j) == ("Si", 2, 4.0, 0.5)
    unnamed = data.replace(b"\n  FREE ENERGIE", b"\n  Edisp (eV)  -1.23456\n  FREE ENERGIE")
    assert read_calculation(put(tmp_path, OUTCAR=unnamed)).level_of_theory.dispersion == -1


def test_windows_line_ends(silicon, tmp_path):
    data = unpacked(silicon / "OUTCAR.gz")
    expected = read_calculation(put(tmp_path, OUTCAR=data))
    found = read_calculation(put(tmp_path, OUTCAR=data.replace(b"\n", b"\r\n")))
    assert content(found) == content(expected)


def test_electrons_are_counted_after_the_run(silicon, tmp_path):
    data = unpacked(silicon / "OUTCAR.gz")
    other = re.sub(rb"number of electron +27\.\d+", b"number of electron  26.0000000", data)
    assert other != data
    refused(put(tmp_path, OUTCAR=other), "number of electrons: found 26.0, expected NELECT 27")


def test_a_locpot_that_is_cut_off(data_dir, tmp_path):
    source = data_dir / CDTE / "bulk_vasp_gam"
    for name in ("OUTCAR.gz", "vasprun.xml.gz"):
        (tmp_path / name).symlink_to(source / name)
    locpot = unpacked(source / "LOCPOT.gz")
    for share, words in (
        (0.3, "it is cut off"),
        (0.7, "it is cut off"),
        (0.00001, "found no grid"),
    ):
        (tmp_path / "LOCPOT").write_bytes(locpot[: int(len(locpot) * share)])
        refused(tmp_path, "LOCPOT: ", words)
    (tmp_path / "LOCPOT").write_bytes(locpot.replace(b"-.11", b"oops", 1))
    refused(tmp_path, "LOCPOT: ")
    assert read_calculation(tmp_path, planes=False).planar_potential is None
