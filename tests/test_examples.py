"""The guided examples do what their READMEs say, and the `levels` command ends as documented."""

import csv
import json
import re

import pytest
from campaigns import command
from doped.thermodynamics import DefectThermodynamics
from monty.serialization import loadfn

GAN = "03_gan_mgga_pbesol_atomate2/GaN_Mg_defect"


@pytest.fixture(scope="module")
def example(tmp_path_factory, repository, data_dir):
    folder = tmp_path_factory.mktemp("example")
    text = (repository / "examples/levels_MgO/CALCULATIONS.yaml").read_text()
    mine = folder / "mine.yaml"
    mine.write_text(text.replace("DATA", str(data_dir / "04_mgo_pbesol_full")))
    done = command("levels", mine, "--out", folder / "levels")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "levels", done.stdout


def test_files_of_the_example(example):
    folder, _ = example
    assert {path.name for path in folder.iterdir()} == {
        "levels.json",
        "levels.csv",
        "thermodynamics.json",
        "figures",
        "report.html",
    }
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "formation_energies",
        "formation_energies_MgO-O2",
        "transition_levels",
        *(f"correction_Mg_O_+{charge}" for charge in (1, 2, 3, 4)),
    }
    with (folder / "levels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["energy_eV"]) for row in rows] == pytest.approx(
        [0.368, 0.929, 4.349, 4.870], abs=0.005
    )


def test_the_example_says_what_its_readme_says(example, repository):
    folder, output = example
    warnings = json.loads((folder / "levels.json").read_text())["warnings"]
    noticed = {warning["code"]: warning["class"] for warning in warnings}
    readme = (repository / "examples/levels_MgO/README.md").read_text()
    for number in ("0.368", "0.929", "4.349", "4.870"):
        assert number in readme
        assert number in output
    said = re.findall(r"`(\w+_\w+)`", readme)
    assert said
    for code in said:
        assert (code in output) is (noticed[code] != "note")
    assert output.count("warning ") == 2
    assert "error " not in output.replace("± error ", "")
    assert "Report:" in output
    assert "\x1b" not in output  # not a terminal


def test_the_example_goes_on_in_doped(example):
    folder, _ = example
    thermodynamics = loadfn(folder / "thermodynamics.json")
    assert isinstance(thermodynamics, DefectThermodynamics)
    poor, rich = (
        thermodynamics.get_formation_energy("Mg_O_0", limit=f"O-{kind}", fermi_level=0)
        for kind in ("poor", "rich")
    )
    states = json.loads((folder / "levels.json").read_text())["states"]
    neutral = next(state for state in states if state["charge"] == 0)
    assert poor == pytest.approx(neutral["formation_energy"], abs=1e-3)
    assert rich > poor


def test_page_of_the_example(example):
    folder, _ = example
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "http" not in page
    assert "level_outside_gap" in page
    assert "MgO-O2" in page
    assert "HSE06 single points" not in page  # a campaign's words


def test_every_code_of_the_package_is_explained(repository):
    """A stable code that no page explains is no use to a reader."""
    explained = set(re.findall(r"`(\w+)`", (repository / "docs/levels.md").read_text()))
    sources = [
        path.read_text()
        for pattern in ("levels/*.py", "makers/*.py", "dft/consistency.py")
        for path in (repository / "defect_workflows").glob(pattern)
    ]
    used = set()
    for text in sources:
        used |= set(re.findall(r'code="(\w+)"', text))
        used |= set(re.findall(r'notes\.add\(\s*"(\w+)"', text))
        used |= set(re.findall(r'_unknown\("(\w+)"', text))
        used |= set(re.findall(r'"(\w+_mismatch)"', text))
    assert used - explained == set()
    assert len(used) > 30


def write(folder, data_dir, *defects):
    lines = [f"bulk: {data_dir / GAN}/bulk_relax/outputs", "dielectric: 14", "defects:"]
    lines += [
        f"  - {{name: {name}, charge: {charge}, dir: '{data_dir / GAN}/{run}/outputs'}}"
        for name, charge, run in defects
    ]
    path = folder / "CALCULATIONS.yaml"
    path.write_text("\n".join(lines))
    return path


def test_one_bad_state_is_exit_1(tmp_path, data_dir):
    path = write(
        tmp_path,
        data_dir,
        ("Mg_Ga", 0, "relax_Mg_Ga-0_q=0"),
        ("Mg_Ga", -1, "relax_Mg_Ga-0_q=-1"),
        ("Mg_Ga", 1, "relax_Mg_Ga-0_q=0"),
    )
    done = command("levels", path, "--out", tmp_path / "out", "--processes", "1")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "expected +1" in done.stdout
    levels = json.loads((tmp_path / "out/levels.json").read_text())
    assert len(levels["errors"]) == 1
    assert [level["charges"] for level in levels["transition_levels"]] == [[0, -1]]


def test_no_good_state_is_exit_2_and_writes_nothing(tmp_path, data_dir):
    path = write(tmp_path, data_dir, ("v_N", 0, "relax_Mg_Ga-0_q=0"))
    done = command("levels", path, "--out", tmp_path / "out")
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert "found Mg_Ga in the structure" in done.stderr
    assert "CALCULATIONS.yaml" in done.stderr
    assert not (tmp_path / "out").exists()


def test_bad_file_is_exit_2(tmp_path):
    (tmp_path / "bad.yaml").write_text("bulk: {dir: nowhere}\n")
    done = command("levels", tmp_path / "bad.yaml", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
