"""What does not fit a campaign's host is refused by `plan` before anything runs, in one line."""

import pytest
import torch
from pymatgen.core import SETTINGS, Lattice, Structure

from defect_workflows.campaign import Campaign
from defect_workflows.plan import make_plan
from defect_workflows.rehearsal.potcars import write_potcars

NIO = "F16_magnetic_order/nio_afm.mcif"
U = "{LDAU: true, LDAUL: {Ni: 2}, LDAUU: {Ni: 6}, LDAUJ: {Ni: 0}}"


@pytest.fixture
def refused(tmp_path, refusal_of):
    """What `plan` answers to a campaign on GaN, or on another host, less the name of the file."""
    lattice = Lattice.hexagonal(3.189, 5.185)
    places = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.376], [2 / 3, 1 / 3, 0.876]]
    Structure(lattice, ["Ga", "Ga", "N", "N"], places).to(str(tmp_path / "GaN.vasp"), fmt="poscar")

    def refuse(text, host=None):
        path = tmp_path / "campaign.yaml"
        levels = "" if "levels:" in text else "levels: {dielectric: 10}\n"
        path.write_text(f"host: {host or 'GaN.vasp'}\n{levels}{text}\n")
        line = refusal_of("plan", path)
        assert line.startswith(f"{path}: ")
        return line.removeprefix(f"{path}: ")

    return refuse


@pytest.fixture
def rocksalt(repository):
    return repository / "flows/MgO_v_O/MgO.vasp"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("levels: {dielectric: 10, chemical_potentials: {Ga: -3}}",
         "levels.chemical_potentials: found Ga, expected N too"),
        ("levels: {dielectric: 10, chemical_potentials: {Ga: -3, N: -8}}\n"
         "defects: {extrinsic: [Mg]}",
         "levels.chemical_potentials: found Ga, N, expected Mg too"),
        ("levels: {dielectric: 10, chemical_potentials: {Ga: -3, N: -8}}\n"
         "defects: {include: [{name: v_Ga}, {name: C_N}]}",
         "levels.chemical_potentials: found Ga, N, expected C too"),
        ("dft: {incar: {MAGMOM: {Mn: 5}}}",
         "dft.incar.MAGMOM: found Mn, expected elements of the campaign (Ga, N)"),
        (f"dft: {{pbe_incar: {U}}}",
         "dft.pbe_incar.LDAUL: found Ni, expected elements of the campaign (Ga, N)"),
        ("defects: {extrinsic: [Po]}", "dft.potcars: found none for Po, which doped has no POTCAR"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_host(refused, monkeypatch, tmp_path, text, expected):
    write_potcars(tmp_path / "potcars", ["Ga_d", "N", "Mg", "C"], "PBE_54")
    monkeypatch.setenv("DEFECT_WORKFLOWS_POTCAR_DIRECTORY", str(tmp_path / "potcars"))
    assert refused(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dft: {spin: false}", "dft.spin: found false, expected true for the magnetic moments of"),
        ("dft: {incar: {MAGMOM: {Ni: 2}}}", "dft.incar.MAGMOM: found Ni, whose moments "),
        (f"dft: {{incar: {U}}}", "dft.incar: found LDAU, expected DFT+U under pbe_incar"),
        ("dft: {incar: {LDAU: true, LDAUTYPE: 2, LDAUL: [2, -1]}}",
         "dft.incar: found '[2, -1]' for LDAUL, expected a mapping by element like {Ni: 2}"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_a_magnetic_host(refused, cases_dir, text, expected):
    assert refused(text, cases_dir / NIO).startswith(expected)


def test_the_campaign_of_the_case(cases_dir, refusal_of):
    path = cases_dir / "F16_magnetic_order/campaign.yaml"
    assert refusal_of("plan", path).startswith(
        f"{path}: dft.incar: found '[2, -1]' for LDAUL, expected a mapping by element"
    )


def test_potcars_are_looked_for_where_the_machine_has_a_folder(
    refused, refusal_of, monkeypatch, tmp_path
):
    folder = tmp_path / "potcars"
    monkeypatch.setenv("DEFECT_WORKFLOWS_POTCAR_DIRECTORY", str(folder))
    write_potcars(folder, ["Ga_d", "Ga_h", "N"], "PBE_54")
    text = "dft: {potcars: {N: N_s}}"
    refusal = refusal_of("plan", _written(tmp_path, text))
    assert refusal.startswith(f"{folder}: found no POTCAR N_s of PBE_54, expected one")
    assert refused("dft: {encut: 250, potcars: {Ga: Ga_h}}") == (
        "dft.encut: found 250 eV, expected at least ENMIN 303.451 eV of the POTCAR Ga_h, better "
        "its ENMAX 404.601 eV"
    )


def test_a_cutoff_that_is_a_bit_low_is_said_with_the_plan(tmp_path, monkeypatch, rocksalt):
    write_potcars(tmp_path / "potcars", ["Mg", "O"], "PBE_54")
    campaign = Campaign(
        host=rocksalt,
        supercell={"matrix": [2, 2, 2], "min_atoms": 10},
        defects={"include": [{"name": "v_O", "charges": [0]}]},
        levels={"dielectric": 9.8},
    )
    monkeypatch.delenv("DEFECT_WORKFLOWS_POTCAR_DIRECTORY", raising=False)
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    assert make_plan(campaign).notes == []
    monkeypatch.setenv("DEFECT_WORKFLOWS_POTCAR_DIRECTORY", str(tmp_path / "potcars"))
    assert make_plan(campaign).notes == ["dft.encut: 350 eV is below ENMAX 400 eV of the POTCAR O"]


def _written(folder, text):
    path = folder / "campaign.yaml"
    path.write_text(f"host: GaN.vasp\nlevels: {{dielectric: 10}}\n{text}\n")
    return path


def test_a_machine_without_potcars_is_silent(refused, monkeypatch):
    monkeypatch.delenv("DEFECT_WORKFLOWS_POTCAR_DIRECTORY", raising=False)
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    # the next check is reached
    assert refused("dft: {encut: 95}\nsupercell: {max_atoms: 5, min_atoms: 2}").startswith("super")


def test_foundation_models_are_tried_before_anything_runs(refused, tmp_path):
    path = tmp_path / "some.model"
    for content, expected in (
        ({"weight": torch.zeros(2)}, "found weights without their model (a state dict), expected"),
        (torch.nn.Linear(1, 1), "found Linear, expected a plain ScaleShiftMACE of one head"),
    ):
        torch.save(content, path)
        refusal = refused("potential: {foundation: some.model}")
        assert refusal.startswith(f"potential.foundation: {path}: {expected}")
    path.write_text("no model")
    assert "found no model file" in refused("potential: {foundation: some.model}")
