"""Finished calculations as labels in a store: every step once, what is none with its reason."""

import json
import re
import shutil

import numpy as np
import pytest
from campaigns import command
from dft_files import put, unpacked
from jobflow import run_locally
from states import cdte

from defect_workflows.campaign import DftSettings
from defect_workflows.dft.ingest import INGESTED, formula_of, ingested_labels, same_structure
from defect_workflows.dft.jobs import take_ingested
from defect_workflows.errors import InputError, LevelOfTheoryError
from defect_workflows.mlip.dataset import heads_of
from defect_workflows.running.ingest import ingest, open_store

MGO = "04_mgo_pbesol_full/Defects"
SILICON = "08_si_ccd_atomate2/Si_config_coord"
GAN = "03_gan_mgga_pbesol_atomate2/GaN_Mg_defect"


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")[0]


@pytest.fixture(scope="module")
def magnesia(data_dir, tmp_path_factory):
    """MgO's defects in a store, and what became of them."""
    store, where = open_store(tmp_path_factory.mktemp("magnesia"))
    return store, ingest([data_dir / MGO], store, where=where)


@pytest.fixture
def silicon(data_dir, tmp_path):
    """A copy of a small relaxation of three steps, with a file to change."""
    source = data_dir / SILICON / "relax_q2" / "outputs"
    return put(tmp_path / "Si" / "relax", OUTCAR=unpacked(source / "OUTCAR.gz"))


def frames(report, of):
    return sum(run.frames for run in report.runs if any(name.startswith(of) for name in run.files))


def test_every_step_of_magnesia(magnesia):
    store, report = magnesia
    assert frames(report, "OUTCAR") == 84
    assert frames(report, "vasprun.xml_") == 86
    assert report.labels == 84 + 86 - 4
    # each run goes on from the last structure of the one before
    assert len(report.duplicates) == 4
    assert all(abs(item.energy_difference) < 5e-5 for item in report.duplicates)
    assert {run.fidelity for run in report.runs} == {"pbesol"}
    assert [item.reason for item in report.refused] == [
        "step 27: the run ended in it",
        "step 17: the run ended in it",
        "step 15: the run ended in it",
        "step 31: the run ended in it",
    ]
    assert report.warnings == []
    labels = ingested_labels(store).labels
    assert len(labels) == report.labels
    assert len({label.fingerprint for label in labels}) == report.labels


def test_labels_are_what_the_files_say(magnesia):
    store, _ = magnesia
    labels = ingested_labels(store, fidelities=["pbesol"], formulas=["Mg109O107"]).labels
    assert {label.charge for label in labels} == {0, 1, 2, 3, 4}
    lowest = {
        charge: min(label.energy for label in labels if label.charge == charge)
        for charge in range(5)
    }
    assert lowest[4] == pytest.approx(-1357.26016468, abs=1e-6)
    assert lowest[0] == pytest.approx(-1331.64032151, abs=1e-6)
    for label in labels:
        assert label.configuration.origin.kind == "ingested"
        assert label.configuration.structure.properties["charge"] == label.charge
        assert np.shape(label.forces) == (216, 3)
        assert not label.rehearsal
    assert heads_of(labels) == ["pbesol"]
    families = {label.configuration.origin.family for label in labels if label.charge == 0}
    assert families == {"Defects/Pre_Calculated_Results/Mg_O_0/vasp_std"}
    assert ingested_labels(store, fidelities=["hse06"]).labels == []


def test_the_same_call_again_stores_nothing(magnesia, data_dir):
    store, first = magnesia
    again = ingest([data_dir / MGO], store)
    assert again.labels == 0
    assert sum(run.known for run in again.runs) == first.labels
    assert len(again.duplicates) == len(first.duplicates)
    assert store.count({"name": INGESTED}) == first.labels


def test_a_copy_elsewhere_is_a_duplicate(silicon, store, tmp_path):
    assert ingest([tmp_path / "Si"], store).labels == 3
    shutil.copytree(silicon, tmp_path / "copy" / "other")
    report = ingest([tmp_path / "copy"], store)
    assert (report.labels, len(report.duplicates)) == (0, 3)
    assert report.duplicates[0].same_as == f"{silicon}/OUTCAR#1"
    # one folder within another is read once
    assert ingest([tmp_path / "copy", tmp_path / "copy" / "other"], store).runs[1:] == []


def test_outcar_and_vasprun_of_a_run_are_duplicates(silicon, store, data_dir, tmp_path):
    source = data_dir / SILICON / "relax_q2" / "outputs"
    put(tmp_path / "Si" / "xml", vasprun=unpacked(source / "vasprun.xml.gz"))
    report = ingest([tmp_path / "Si"], store)
    assert (report.labels, len(report.duplicates)) == (3, 3)


def test_refused_steps_have_reasons(silicon, store):
    data = (silicon / "OUTCAR").read_bytes()
    reached = b"aborting loop because EDIFF is reached"
    data = data.replace(reached, b"aborting loop EDIFF was not reached (unconverged)", 1)
    second = [match.end() for match in re.finditer(b"FREE ENERGIE OF", data)][1]
    put(silicon, OUTCAR=data[: second + 4000])
    put(silicon.parent / "broken", OUTCAR=data[:20000])
    put(silicon.parent / "other", OUTCAR=data.replace(b"GGA     =    PS", b"GGA     =    RP"))
    report = ingest([silicon.parent], store)
    found = {(item.kind, item.step): item.reason for item in report.refused}
    assert "found no complete ionic step" in found["unreadable", None]
    assert found["fidelity", None].startswith("functional: found RP")
    assert found["incomplete", None] == "step 3: the run ended in it"
    assert found["unconverged", 1] == "SCF not converged"
    assert report.labels == 1
    assert report.found == 1
    assert [run.refused for run in report.runs] == [1, 2]


def test_a_charge_that_is_none_is_refused(silicon, store):
    data = (silicon / "OUTCAR").read_bytes()
    put(silicon, OUTCAR=re.sub(rb"(NELECT =|number of electron) +\S+", rb"\1  26.5", data))
    (refused,) = ingest([silicon], store).refused
    assert "expected an integer charge" in refused.reason
    assert store.count({"name": INGESTED}) == 0


def test_of_two_electronic_states_the_lower_counts(silicon, store):
    """Equal structures with other energies cannot both be learnt."""
    data = (silicon / "OUTCAR").read_bytes()
    higher = re.sub(rb"-41\.57(\d{6})", rb"-41.07\1", data)
    assert higher != data
    ingest([put(silicon.parent / "higher", OUTCAR=higher)], store)
    high = [label.energy for label in ingested_labels(store).labels]
    assert min(high) > -41.6
    report = ingest([silicon], store)
    energies = sorted(label.energy for label in ingested_labels(store).labels)
    assert len(energies) == 3
    assert energies[0] == pytest.approx(-41.573007, abs=1e-6)
    (replaced,) = report.refused
    assert replaced.kind == "state"
    assert "0.500 eV lower" in replaced.reason
    # and the other way round
    again = ingest([silicon.parent / "higher"], store)
    assert again.labels == 0
    assert [item.step for item in again.refused] == [3]
    assert sorted(label.energy for label in ingested_labels(store).labels) == energies


def test_levels_of_theory_are_told_apart(silicon, store, data_dir):
    data = (silicon / "OUTCAR").read_bytes()
    put(silicon.parent / "hard", OUTCAR=data.replace(b"ENCUT  =  500.0", b"ENCUT  =  600.0"))
    report = ingest([silicon.parent], store)
    assert report.labels == 6  # not duplicates of each other
    assert [item.code for item in report.warnings] == ["encut_mismatch"]
    with pytest.raises(LevelOfTheoryError, match=r"encut: .*00.0 != .*00.0"):
        ingested_labels(store)
    ingest([data_dir / "05_cdte_hse_soc" / "Cd_i_C3v_0"], store)
    soc = ingest([data_dir / "05_cdte_hse_soc" / "Int_Te_3_2"], store)
    assert [item.code for item in soc.warnings] == ["nonstandard_hybrid"]


def test_a_rehearsal_and_real_calculations_do_not_mix(silicon, store, data_dir):
    data = (silicon / "OUTCAR").read_bytes()
    stand_in = put(silicon.parents[1] / "rehearsal", OUTCAR=b" vasp: mock-vasp\n" + data)
    ingest([silicon], store)
    with pytest.raises(InputError, match="is a calculation of a rehearsal, the store has labels"):
        ingest([stand_in], store)
    assert store.count({"name": INGESTED}) == 3
    own, _ = open_store(silicon.parents[1] / "own")
    assert ingest([stand_in], own).labels == 3
    assert all(label.rehearsal for label in ingested_labels(own).labels)


def test_a_store_of_its_own_knows_its_rehearsal_from_the_campaign(silicon, store, tmp_path):
    """A campaign's own labels count too, whatever job made them."""
    document = {
        "uuid": "some job", "index": 1, "name": "single point", "output": {"rehearsal": True},
    }  # fmt: skip
    store.update([document], key=["uuid", "index"])
    with pytest.raises(InputError, match="calculation of VASP, the store has labels of a rehea"):
        ingest([silicon], store)


def test_same_structure_has_a_tolerance_and_knows_the_cell(magnesia):
    store, _ = magnesia
    structure = ingested_labels(store, formulas=["Mg108O108"]).labels[0].configuration.structure
    moved = structure.copy()
    moved.translate_sites([3], [0, 0, 5e-6], frac_coords=False)
    assert same_structure(structure, moved)
    moved.translate_sites([3], [0, 0, 2e-5], frac_coords=False)
    assert not same_structure(structure, moved)
    across = structure.copy()
    across.translate_sites(range(len(structure)), [1, 0, -1], to_unit_cell=False)
    assert same_structure(structure, across)
    stretched = structure.copy()
    stretched.scale_lattice(structure.volume * 1.001)
    assert not same_structure(structure, stretched)


def test_the_command(data_dir, tmp_path):
    output = tmp_path / "report.json"
    done = command("ingest", data_dir / GAN, "--store-dir", tmp_path / "work", "--json", output)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert [run["labels"] for run in report["runs"]] == [1, 5, 5, 5, 5]
    assert "21 new labels in" in done.stdout
    assert (tmp_path / "work" / "store.sqlite").is_file()
    again = command("ingest", data_dir / GAN, "--store-dir", tmp_path / "work")
    assert again.returncode == 0
    assert "0 new labels in" in again.stdout


def test_each_run_of_an_outcar_has_its_own_settings(store, cases_dir):
    folder = cases_dir / "F06_two_runs_one_outcar"
    report = ingest([folder / "v", folder / "bulk"], store)
    assert not report.refused
    assert [(run.fidelity, run.labels, run.outputs) for run in report.runs] == [
        ("pbe", 1, ["OUTCAR.gz (run 1 of 2)"]),
        ("hse06", 1, ["OUTCAR.gz (run 2 of 2)"]),
        ("hse06", 1, ["OUTCAR.gz"]),
    ]
    again = ingest([folder / "v"], store)
    assert (again.labels, [run.known for run in again.runs]) == (0, [1, 1])
    same = ingest([folder / "v_same"], store)
    assert same.labels == 0
    assert [run.duplicates for run in same.runs] == [1, 1]


def test_a_file_that_cannot_be_read_beside_a_good_one(store, silicon):
    whole = (silicon / "OUTCAR").read_bytes()
    put(silicon, vasprun=b"<html>")
    report = ingest([silicon], store)
    assert (report.labels, report.refused) == (3, [])
    assert [run.outputs for run in report.runs] == [["OUTCAR"]]
    (warning,) = report.warnings
    assert warning.code == "output_files"
    assert "vasprun.xml" in warning.message
    put(silicon, OUTCAR=whole + b" vasp.6.3.0 a restart that died at once")
    (silicon / "vasprun.xml").unlink()
    report = ingest([silicon], store)
    assert [item.kind for item in report.refused] == ["unreadable"]
    assert "run 2 of 2" in report.refused[0].reason


def test_a_functional_that_is_not_named_is_no_label(store, silicon):
    """VASP 5 tells neither GGA nor METAGGA where both have their defaults."""
    data = (silicon / "OUTCAR").read_bytes()
    data = re.sub(rb"(?s) INCAR:\n.*?\n POTCAR:", b" INCAR:\n POTCAR:", data)
    put(silicon, OUTCAR=data.replace(b"GGA     =    PS", b"GGA     =    --"))
    report = ingest([silicon], store)
    assert report.labels == 0
    (refused,) = report.refused
    assert refused.kind == "fidelity"
    assert "not named" in refused.reason


@pytest.mark.parametrize(
    ("make", "status", "expected"),
    [
        (lambda path: None, 2, "none: no such folder"),
        (lambda path: path.mkdir(), 2, "found no vasprun.xml or OUTCAR"),
        (lambda path: put(path, OUTCAR=b"no VASP"), 2, "OUTCAR: found no POTCARs"),
        (lambda path: path.touch(), 2, "none: a file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, make, status, expected):
    make(tmp_path / "none")
    done = command("ingest", tmp_path / "none", "--store-dir", tmp_path / "work")
    assert done.returncode == status, done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert expected in line
    assert (tmp_path / "work").exists() is ("POTCARs" in expected)  # only what can be told at once


def test_a_job_finds_ingested_labels_in_its_own_store(store, data_dir, tmp_path):
    ingest([data_dir / "02_ytos_pbe" / "Int_F_-1", data_dir / GAN], store)
    cells = {
        formula_of(label.configuration.structure): label.configuration
        for fidelity in ("pbe", "pbesol")
        for label in ingested_labels(store, [fidelity]).labels
    }
    (state, *_), oxide, nitride = cdte().states, cells["Y36Ti36S36O90F1"], cells["Mg1Ga15N16"]
    defects = cdte().model_copy(
        update={
            "pristine": nitride,
            "states": [state.model_copy(update={"structure": oxide.structure})],
        }
    )
    job = take_ingested(defects, DftSettings())
    outputs = run_locally(job, store=store, root_dir=tmp_path, ensure_success=True)
    found = outputs[job.uuid][1].output
    assert [(label.fidelity, label.charge) for label in found.labels] == [("pbe", -1)]


def test_one_broken_folder_does_not_stop_the_others(silicon, tmp_path):
    put(silicon.parent / "broken", OUTCAR=b"no VASP")
    done = command("ingest", silicon.parent, "--store-dir", tmp_path / "work")
    assert done.returncode == 1
    assert "3 new labels in" in done.stdout
    assert "refused: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
