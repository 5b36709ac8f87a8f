"""Levels of finished runs reproduce what was published of them, from the files alone."""

import gzip
import re
import shutil

import pytest
from doped.thermodynamics import DefectThermodynamics
from monty.json import MontyDecoder

from defect_workflows.calculations import Calculations
from defect_workflows.errors import InputError
from defect_workflows.makers.levels import FinishedLevels, run_folders

MGO = "04_mgo_pbesol_full"
MGO_DEFECTS = f"{MGO}/Defects/Pre_Calculated_Results"
GAN = "03_gan_mgga_pbesol_atomate2/GaN_Mg_defect"
CDTE = "01_cdte_vCd_hse06_gamma"


def made(**asked):
    return FinishedLevels(Calculations(**asked), processes=2).make()


def codes(document):
    return {warning.code for warning in document.warnings}


def energies(document):
    return {level.charges: level.energy for level in document.transition_levels}


@pytest.fixture(scope="module")
def mgo(data_dir):
    folder = data_dir / MGO_DEFECTS
    return made(
        bulk={
            "dir": folder / "MgO_bulk/vasp_std",
            "dos": data_dir / MGO / "Dielectric/Ionic/Relax_tight",
        },
        dielectric=8.8963,
        chemical_potentials={"dirs": [data_dir / MGO / "CompetingPhases"], "limit": "O-poor"},
        temperature=1500,
        defects=[
            {
                "name": "Mg_O",
                "charge": charge,
                "dir": folder / f"Mg_O_{charge:+d}".replace("+0", "0") / "vasp_std",
            }
            for charge in range(5)
        ],
    )


@pytest.fixture(scope="module")
def gan(data_dir):
    return made(
        bulk={"dir": data_dir / GAN / "bulk_relax/outputs"},
        dielectric=14,
        defects=[
            {"name": "Mg_Ga", "dir": data_dir / GAN / f"relax_Mg_Ga-0_q={charge}/outputs"}
            for charge in (1, 0, -1, -2)
        ]
        + [
            {"name": name, "charge": charge, "dir": data_dir / GAN / f"{folder}/outputs"}
            for name, charge, folder in (
                ("v_Ga", -2, "relax_Mg_Ga-0_q=-2"),
                ("Mg_Ga", -1, "relax_Mg_Ga-0_q=-2"),
                ("Mg_Ga", 0, "nowhere"),
            )
        ],
    ).levels


def test_mgo_from_outcars_alone(mgo):
    levels = mgo.levels
    assert energies(levels) == pytest.approx(
        {(4, 3): 0.368, (3, 2): 0.929, (2, 1): 4.349, (1, 0): 4.870}, abs=0.005
    )
    corrections = {state.charge: state.correction.energy for state in levels.states}
    assert corrections == pytest.approx(
        {0: 0, 1: 0.1988, 2: 0.7233, 3: 1.5717, 4: 2.5860}, abs=1e-4
    )
    assert levels.vbm == pytest.approx(3.1293, abs=1e-4)
    assert levels.band_gap == pytest.approx(4.7218, abs=1e-4)
    assert {level.charges: level.in_gap for level in levels.transition_levels}[1, 0] is False
    # hcp Mg was calculated with 585 instead of 450 eV; the density of states without LASPH
    assert codes(levels) == {
        "level_outside_gap",
        "correction_large",
        "dos_mismatch",
        "dos_settings",
        "encut_mismatch",
    }
    assert not levels.errors
    assert [step.step for step in levels.seconds][:3] == ["read", "host", "analyse"]


def test_mgo_limits_of_the_chemical_potentials(mgo):
    limits = {limit.name: limit for limit in mgo.levels.limits}
    assert limits["MgO-Mg"].chosen
    assert not limits["MgO-O2"].chosen
    assert limits["MgO-Mg"].relative["O"] == pytest.approx(-5.6457, abs=1e-3)
    assert limits["MgO-O2"].chemical_potentials["O"] == pytest.approx(-5.13505, abs=1e-4)
    for state in mgo.levels.states:
        poor, rich = (state.formation_energies[name] for name in ("MgO-Mg", "MgO-O2"))
        assert state.formation_energy == poor
        # Mg goes in and O out: both potentials count
        assert rich - poor == pytest.approx(2 * 5.6457, abs=1e-3)


def test_mgo_degeneracies(mgo, data_dir):
    found = {state.charge: state.degeneracy for state in mgo.levels.states}
    assert {charge: one.spin for charge, one in found.items()} == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}
    assert {one.site_point_group for one in found.values()} == {"Oh"}
    assert found[2].point_group == "C3v"
    assert found[2].orientation == 8


def test_mgo_in_doped(mgo):
    """The thermodynamics round-trip: doped's own levels and energies are ours."""
    loaded = MontyDecoder().process_decoded(mgo.thermodynamics)
    assert isinstance(loaded, DefectThermodynamics)
    theirs = {tuple(q): e for e, q in loaded.transition_level_map["Mg_O"].items()}
    assert energies(mgo.levels) == pytest.approx(theirs, abs=1e-6)
    for state in mgo.levels.states:
        name = f"Mg_O_{state.charge:+d}".replace("+0", "0")
        for limit, energy in state.formation_energies.items():
            assert loaded.get_formation_energy(name, limit=limit, fermi_level=0) == pytest.approx(
                energy, abs=1e-3
            )


def test_mgo_fermi_level_is_neutral(mgo):
    """Charges of defects and carriers cancel at the level that is reported."""
    for record in mgo.levels.fermi_levels:
        assert record.temperature == 1500
        charged = sum(item.charge * item.concentration for item in record.concentrations)
        total = charged + record.holes - record.electrons
        assert abs(total) < 1e-3 * (record.electrons + record.holes)
    assert {record.limit for record in mgo.levels.fermi_levels} == {"MgO-Mg", "MgO-O2"}
    levels = {record.limit: record.fermi_level for record in mgo.levels.fermi_levels}
    assert levels["MgO-Mg"] >= levels["MgO-O2"]  # donors are cheap where oxygen is poor


def test_gan(gan):
    assert energies(gan) == pytest.approx(
        {(1, 0): 0.159, (0, -1): 0.344, (-1, -2): 3.771}, abs=5e-3
    )
    assert {"vbm_off_gamma", "charge_guessed", "sampling_region_small"} <= codes(gan)
    assert "charge_guessed" in gan.states[0].warnings


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("ref", "Mg_Ga"),
        ("doped", "Mg_Ga"),
        ("doped_charge", "Mg_Ga"),
        ("legacy", "sub_1_Mg_on_Ga"),
        ("pydefect", "Mg_Ga1"),
        ("atomate2", "Mg_Ga-0"),
    ],
)
def test_names_as_the_field_writes_them(cases_dir, gan, spelling, name):
    """One defect with all its charges, whatever the spelling."""
    asked = Calculations.from_file(cases_dir / f"F01_names/{spelling}.yaml")
    levels = FinishedLevels(asked, processes=2).make().levels
    charges = {defect.charge for defect in asked.defects} if spelling == "doped_charge" else {}
    expected = {
        pair: energy
        for pair, energy in energies(gan).items()
        if not charges or set(pair) <= charges
    }
    assert energies(levels) == pytest.approx(expected, abs=1e-3)
    assert {level.defect for level in levels.transition_levels} == {name}
    assert not levels.errors
    assert not any("_0_0" in warning.message for warning in levels.warnings)
    assert ("charge_guessed" in codes(levels)) is False


def test_names_that_contradict_the_charge(cases_dir):
    """A sign in a name: the state is an error. Numbers that fit in part: nothing is computed."""
    folder = cases_dir / "F01_names"

    def named(*names):
        return made(
            bulk={"dir": folder / "bulk"},
            dielectric=14,
            defects=[
                {"name": name, "dir": folder / f"q{charge}"}
                for name, charge in zip(names, (0, -1), strict=True)
            ],
        ).levels

    levels = named("Mg_Ga_0", "Mg_Ga_+1")
    (error,) = levels.errors
    assert "found charge -1" in error.message
    assert "expected +1 as given for Mg_Ga" in error.message
    assert not levels.transition_levels
    with pytest.raises(InputError, match=r"found Mg_Ga_0 \(charge 0\), Mg_Ga_1 \(charge -1\)"):
        named("Mg_Ga_0", "Mg_Ga_1")
    with pytest.raises(InputError, match="two spellings"):
        named("Mg_Ga_0", "sub_1_Mg_on_Ga_-1")


def test_what_is_wrong_with_one_state_does_not_stop_the_others(gan):
    messages = [error.message for error in gan.errors]
    assert len(messages) == 3
    wrong_charge = next(message for message in messages if "NELECT" in message)
    assert "found charge -2" in wrong_charge
    assert "expected -1" in wrong_charge
    assert any("found Mg_Ga" in message and "v_Ga" in message for message in messages)
    assert any("nowhere" in message for message in messages)
    assert all("\n" not in message for message in messages)


def test_band_edges_given(data_dir):
    asked = {
        "bulk": {"dir": data_dir / GAN / "bulk_relax/outputs"},
        "dielectric": 14,
        "defects": [
            {"name": "Mg_Ga", "charge": q, "dir": data_dir / GAN / f"relax_Mg_Ga-0_q={q}/outputs"}
            for q in (0, -1)
        ],
    }
    levels = made(vbm=4.0, band_gap=2.0, **asked).levels
    assert (levels.vbm, levels.band_gap) == (4.0, 2.0)
    assert "vbm_off_gamma" not in codes(levels)
    assert energies(levels)[0, -1] == pytest.approx(0.344 + 4.5715 - 4.0, abs=5e-3)


def test_lowest_of_three_spin_states(data_dir):
    folder = data_dir / "06_cdte_CdTe_m2_spin"
    levels = made(
        bulk={"dir": data_dir / "05_cdte_hse_soc/v_Cd_example_data/CdTe_bulk/vasp_gam"},
        correction="none",
        dielectric=9.13,
        defects=[
            {"name": "Cd_Te", "charge": -2, "dir": folder / f"NUPDOWN_{n}"} for n in (0, 2, 4)
        ],
    ).levels
    (state,) = levels.states
    assert state.energy == pytest.approx(-197.14265, abs=1e-4)
    assert state.magnetization == pytest.approx(4, abs=1e-3)
    assert state.degeneracy.spin == 5
    assert sorted(item.energy for item in levels.metastable) == pytest.approx(
        [-197.12397, -196.91703], abs=1e-4
    )
    assert {"uncorrected_state", "spin_mismatch"} <= codes(levels)
    assert state.host_states is not None  # the vaspruns have projections


def test_spin_orbit_from_outcars(data_dir):
    folder = data_dir / "05_cdte_hse_soc"
    levels = made(
        bulk={"dir": folder / "v_Cd_example_data/CdTe_bulk/vasp_ncl"},
        dielectric=9.13,
        defects=[
            {"name": "Int_Te_3", "charge": charge, "dir": folder / f"{name}/vasp_ncl"}
            for charge, name in ((2, "Int_Te_3_2"), (1, "Int_Te_3_Unperturbed_1"))
        ],
    ).levels
    assert energies(levels)[2, 1] == pytest.approx(0.090, abs=2e-3)
    assert {state.charge: state.correction.energy for state in levels.states} == pytest.approx(
        {2: 0.90403, 1: 0.29744}, abs=1e-4
    )


def cdte(folder, **more):
    asked = {
        "bulk": {"dir": folder / "bulk_vasp_gam"},
        "dielectric": 9.13,
        "defects": [{"name": "v_Cd", "charge": -2, "dir": folder / "v_Cd_-2_vasp_gam"}],
    }
    return made(**(asked | more)).levels.states[0]


def test_fnv_where_site_potentials_are_missing(data_dir, tmp_path):
    """Without an OUTCAR there are no site potentials, but the LOCPOT serves."""
    poor = tmp_path / "defect"
    poor.mkdir()
    for name in ("vasprun.xml.gz", "LOCPOT.gz"):
        shutil.copy(data_dir / CDTE / "v_Cd_-2_vasp_gam" / name, poor / name)
    state = cdte(data_dir / CDTE, defects=[{"name": "v_Cd", "charge": -2, "dir": poor}])
    assert state.correction.scheme == "FNV"
    assert state.correction.energy == pytest.approx(0.7278, abs=0.002)


@pytest.mark.parametrize("name", ["vasprun.xml.gz", "OUTCAR.gz"])
def test_one_file_says_the_same(data_dir, tmp_path, name):
    """From the vasprun or the OUTCAR, packed or not: the same energies."""
    for folder in ("bulk_vasp_gam", "v_Cd_-2_vasp_gam"):
        (tmp_path / folder).mkdir()
        for one in (name, "LOCPOT.gz"):
            shutil.copy(data_dir / CDTE / folder / one, tmp_path / folder / one)
        shutil.copy(data_dir / CDTE / folder / "POSCAR", tmp_path / folder / "POSCAR")
    found = cdte(tmp_path, correction="FNV")
    assert found.correction.energy == pytest.approx(0.727766, abs=1e-3)
    whole = cdte(data_dir / CDTE, correction="FNV")
    assert found.formation_energy == pytest.approx(whole.formation_energy, abs=1e-3)


def test_packed_or_plain_says_the_same(data_dir, tmp_path, gan):
    """The same OUTCARs, unpacked and alone, give the same levels."""
    for name in ("bulk_relax", *(f"relax_Mg_Ga-0_q={charge}" for charge in (-2, -1, 0, 1))):
        (tmp_path / name).mkdir()
        with gzip.open(data_dir / GAN / name / "outputs/OUTCAR.gz") as packed:
            (tmp_path / name / "OUTCAR").write_bytes(packed.read())
    plain = made(
        bulk={"dir": tmp_path / "bulk_relax"},
        dielectric=14,
        defects=[
            {"name": "Mg_Ga", "dir": tmp_path / f"relax_Mg_Ga-0_q={charge}"}
            for charge in (-2, -1, 0, 1)
        ],
    ).levels
    packed_levels = energies(gan)
    assert energies(plain).keys() == packed_levels.keys()
    for charges, energy in energies(plain).items():
        assert energy == pytest.approx(packed_levels[charges], abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bulk": "{data}/03_gan_mgga_pbesol_atomate2"}, "bulk.dir"),
        ({"dielectric": {"dir": "bulk_vasp_gam"}}, "dielectric.dir.*dielectric tensor"),
        ({"chemical_potentials": {"Te": -3.0}}, "chemical_potentials: found none for Cd"),
        ({"chemical_potentials": {"dirs": ["bulk_vasp_gam"]}}, "elemental phase of Cd, Te"),
        ({"bulk": "v_Cd_-2_vasp_gam"}, "bulk.dir: found charge -2"),
        ({"bulk": "{data}/03_gan_mgga_pbesol_atomate2/GaN_Mg_defect/bulk_relax/outputs"},
         r"no state can be used.*expected one vacancy"),
    ],
)  # fmt: skip
def test_no_result_at_all(data_dir, change, message):
    folder = data_dir / CDTE

    def absolute(value):
        if isinstance(value, str):
            return str(folder / value.format(data=data_dir))
        if isinstance(value, dict):
            return {key: absolute(one) for key, one in value.items()}
        return [absolute(one) for one in value] if isinstance(value, list) else value

    with pytest.raises(InputError, match=message) as error:
        cdte(folder, **absolute(change))
    assert "\n" not in str(error.value)


def test_folders_of_competing_phases(data_dir):
    names = {folder.parent.name for folder in run_folders(data_dir / MGO / "CompetingPhases")}
    assert len(names) == 5
    assert "O2_mmm_EaH_0" in names


@pytest.mark.parametrize(
    ("case", "codes_expected", "raw"),
    [
        ("F07_lasph/c.yaml", {"lasph_mismatch"}, 7.44798),
        ("F18_lowest_of_other_settings/c.yaml", {"calculation_left_out"}, 7.44798),
        ("F13_competing_phases/ok.yaml", set(), 11.91086),
        (
            "F13_competing_phases/mixed.yaml",
            {"functional_mismatch", "encut_mismatch", "potcar_mismatch"},
            11.91086,
        ),
    ],
)
def test_cases_of_other_settings(cases_dir, case, codes_expected, raw):
    levels = FinishedLevels(Calculations.from_file(cases_dir / case), processes=1).make().levels
    (state,) = levels.states
    assert state.raw_difference == pytest.approx(raw, abs=1e-5)
    elsewhere = {"no_chemical_potentials", "correction_large"}
    assert codes(levels) - elsewhere == codes_expected
    for item in levels.metastable:
        assert "encut: found 300.0, the bulk has 350.0" in item.differs
    phases = [item.message for item in levels.warnings if "competing" in item.message]
    assert all("O2_mmm_EaH_0" in message for message in phases)
    if case.endswith("ok.yaml"):
        assert state.formation_energy == pytest.approx(17.486, abs=1e-3)


@pytest.mark.parametrize(
    ("file", "raw", "correction", "found"),
    [
        ("F02_nwrite/c.yaml", {0: -3.307, 1: -7.391}, {1: -0.12838}, set()),
        ("F03_glued_lattice/glued.yaml", {-2: 7.44798}, {-2: 0.7509}, {"correction_large"}),
        ("F03_glued_lattice/spaced.yaml", {-2: 7.44798}, {-2: 0.7509}, {"correction_large"}),
        ("F04_hubbard_vasp5/c.yaml", {-2: 7.44798}, {}, {"hubbard_mismatch", "correction_large"}),
        ("F06_two_runs_one_outcar/c.yaml", {-2: 7.44798}, {-2: 0.7509}, {"correction_large"}),
        ("F06_two_runs_one_outcar/same.yaml", {-2: 7.44798}, {-2: 0.7509}, {"correction_large"}),
        ("F11_pseudo_hydrogen/c.yaml", {-2: 7.44798}, {-2: 0.7509}, {"correction_large"}),
        ("F11_pseudo_hydrogen/split.yaml", {-2: 7.44798}, {-2: 0.7509}, {"correction_large"}),
    ],
)
def test_cases_of_other_files(cases_dir, file, raw, correction, found):
    asked = Calculations.from_file(cases_dir / file)
    document = FinishedLevels(asked, processes=1).make().levels
    assert not document.errors
    assert {state.charge: state.raw_difference for state in document.states} == pytest.approx(
        raw, abs=1e-3
    )
    for state in document.states:
        if state.charge in correction:
            assert state.correction.energy == pytest.approx(correction[state.charge], abs=2e-3)
        assert state.degeneracy.spin == 1 + state.charge % 2
    notes = {item.code for item in document.warnings if item.kind == "note"}
    assert codes(document) - notes == found
    if file.startswith("F02"):
        assert energies(document)[(1, 0)] == pytest.approx(0.021, abs=2e-3)


def test_a_run_of_another_functional_after_the_first(cases_dir):
    asked = Calculations.from_file(cases_dir / "F06_two_runs_one_outcar" / "hse_first.yaml")
    document = FinishedLevels(asked, processes=1).make().levels
    (message,) = [item.message for item in document.warnings if item.code == "functional_mismatch"]
    assert "functional: found PE, the bulk has PE+HF" in message


def test_what_could_not_be_read_is_said(data_dir, tmp_path):
    """An OUTCAR that is cut off: without it there is no eFNV, but FNV."""
    source = data_dir / CDTE
    shutil.copytree(source / "v_Cd_-2_vasp_gam", tmp_path / "v")
    outcar = gzip.decompress((tmp_path / "v" / "OUTCAR.gz").read_bytes())
    (tmp_path / "v" / "OUTCAR.gz").write_bytes(gzip.compress(outcar[: len(outcar) // 2]))
    asked = {
        "bulk": {"dir": source / "bulk_vasp_gam"},
        "dielectric": 9.13,
        "defects": [{"name": "v_Cd", "charge": -2, "dir": tmp_path / "v"}],
    }
    document = made(**asked).levels
    (state,) = document.states
    assert (state.correction.scheme, state.correction.energy) == (
        "FNV",
        pytest.approx(0.7277, abs=2e-3),
    )
    (note,) = [item for item in document.warnings if item.code == "output_files"]
    assert "OUTCAR.gz: " in note.message
    with pytest.raises(InputError, match=r"OUTCAR\.gz: "):
        made(correction="eFNV", **asked)


def edited(source, target, **changes):
    """Return a folder with an OUTCAR in which settings are written otherwise."""
    text = gzip.decompress((source / "OUTCAR.gz").read_bytes()).decode()
    for name, value in changes.items():
        text, count = re.subn(rf"(?m)^(   {name} *=) +\S+", rf"\1 {value}", text)
        assert count
    target.mkdir()
    (target / "OUTCAR").write_text(text)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LMONO": "T", "EPSILON": "9.13"}, "LMONO = T, EPSILON = 9.13"),
        ({"IDIPOL": "4"}, "IDIPOL = 4"),
    ],
)
def test_energies_that_vasp_corrected_are_refused(data_dir, tmp_path, changes, message):
    folder = data_dir / CDTE
    poor = edited(folder / "v_Cd_-2_vasp_gam", tmp_path / "v", **changes)
    with pytest.raises(InputError, match=message):
        cdte(folder, defects=[{"name": "v_Cd", "charge": -2, "dir": poor}])


def test_excited_bulk_is_refused(data_dir, tmp_path):
    folder = data_dir / CDTE
    poor = edited(folder / "bulk_vasp_gam", tmp_path / "bulk", NUPDOWN="2.0000")
    with pytest.raises(InputError, match=r"a moment of 2 in 32 primitive cells \(NUPDOWN = 2\)"):
        cdte(folder, bulk={"dir": poor})


def test_dielectric_of_another_host_is_refused(data_dir):
    with pytest.raises(InputError, match=r"dielectric.dir: .* found a calculation of Si, .* CdTe"):
        cdte(data_dir / CDTE, dielectric={"dir": data_dir / "10_hosts/Si_dielectric/outputs"})
