from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.campaign import Campaign
from defect_workflows.errors import InputError
from defect_workflows.host import read_host
from defect_workflows.template import campaign_template
from defect_workflows.userfile import dielectric_tensor


def read(tmp_path: Path, text: str) -> Campaign:
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    return Campaign.from_file(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host: a\nsamplng: {}", "samplng: unknown key, did you mean 'sampling'?"),
        ("host: a\nsampling: {per_stat: 3}", "per_stat: unknown key, did you mean 'per_state'?"),
        ("host: a\ndefects: {include: [{nam: v_Cd}]}", "did you mean 'name'?"),
        ("host: a\ndefects: {include: [{name: v, charges: [0.5]}]}", "found 0.5, expected an int"),
        ("host: a\ndefects: {include: [{name: v, charges: [two]}]}", "found 'two', expected an"),
        ("host: a\ndefects: {extrinsic: [Xx]}", "found 'Xx', expected an element symbol"),
        ("host: a\ndft: {potcars: {Xx: Xx}}", "found 'Xx', expected an element symbol"),
        ("host: a\ndft: {incar: {NELECT: 3}}", "found NELECT, which this package sets itself"),
        ("host: a\ndft: {encut: high}", "dft.encut: found 'high'"),
        ("host: a\nlevels: {dielectric: -3}", "expected a positive definite tensor"),
        ("host: a\nlevels: {dielectric: [[1,2,0],[0,1,0],[0,0,1]]}", "a symmetric tensor"),
        ("host: a\nsupercell: {matrix: [[1,0],[0,1]]}", "expected 3 integers or a 3x3"),
        ("host: a\nsupercell: {min_atoms: 9, max_atoms: 8}", "min_atoms 9 is above max_atoms 8"),
        ("host: a\npotential: {committee: 1}", "potential.committee"),
        (
            "host: a\npotential: {foundation: b.model}\nlevels: {dielectric: 9}",
            "foundation: found no file b.model",
        ),
        (
            "host: a\nconvergence: {energy_error: 0.02, max_rounds: 2}",
            "convergence: found energy_error, which is gone",
        ),
        (
            "host: a\nconvergence: {force_error: 0.1, energy_error: 0.02}",
            "convergence: found energy_error and force_error, which is gone",
        ),
        ("host: a", "levels.dielectric: found nothing, expected the dielectric constant or tensor"),
        ("host: a\nlevels:", "levels.dielectric: found nothing, expected"),
        ("host: a\nlevels: {dielectric: }", "levels.dielectric: found nothing, expected"),
        ("host: a\nlevels: {dielectric: 0.5}", "levels.dielectric: found 0.5, expected at least 1"),
        ("host: a\nlevels: {dielectric: water}", "found 'water', expected a number, three numbers"),
        ("host: a\nlevels: {dielectric: [9, 9]}", "found [9, 9], expected a number, three numbers"),
        ("host: a\nlevels: {dielectric: true}", "found True, expected a number, three numbers"),
        (
            "host: a\nlevels: {dielectric: 9, chemical_potentials: {Cadmium: -1}}",
            "levels.chemical_potentials: found 'Cadmium', expected an element symbol",
        ),
        (
            "host: a\nlevels: {dielectric: 9, chemical_potentials: {Cd: low}}",
            "levels.chemical_potentials: found 'low' for Cd, expected a number in eV",
        ),
        ("host: a\ndft: {kpoints: [1, 0, 1]}", "dft.kpoints.1: found 0, Input should be greater"),
        ("host: a\ndft: {kpoints: [-2, 2, 2]}", "dft.kpoints.0: found -2, Input should be greater"),
        ("host: a\ndft: {encut: 40}", "dft.encut: found 40, Input should be greater than or equal"),
        ("host: a\ndft: {encut: 35000}", "dft.encut: found 35000, Input should be less than or"),
        ("host: a\ndft: {ediff: 1}", "dft.ediff: found 1, Input should be less than or equal to"),
        ("host: a\ndft: {dispersion: 14}", "dft.dispersion: found 14, Input should be 0, 1, 2"),
        ("host: a\ndft: {hybrid_fraction: 25}", "dft.hybrid_fraction: found 25, Input should be"),
        ("host: a\ndft: {hybrid_screening: 0}", "dft.hybrid_screening: found 0, Input should be"),
        (
            "host: a\ndft: {potcars: {Cd: Te}}",
            "dft.potcars: found the POTCAR 'Te' for Cd, expected one of Cd",
        ),
        (
            "host: a\ndft: {potcars: {C: Cd_GW}}",
            "dft.potcars: found the POTCAR 'Cd_GW' for C, expected one of C",
        ),
        (
            "host: a\nsampling: {distortions: [-60, 0.4]}",
            "sampling.distortions.0: found -60, expected fractions of the bond length",
        ),
        (
            "host: a\nsearch: {distortions: [0.4, 40]}",
            "search.distortions.1: found 40, expected fractions of the bond length",
        ),
        (
            "host: a\nsearch: {distortions: [-1]}",
            "search.distortions.0: found -1, expected fractions of the bond length",
        ),
        (
            "host: a\nsampling: {rattle_amplitudes: [5, 15]}",
            "sampling.rattle_amplitudes.0: found 5, expected a standard deviation in Å",
        ),
        (
            "host: a\nsampling: {rattle_amplitudes: []}",
            "sampling.rattle_amplitudes: found [], List",
        ),
        ("host: a\nsearch: {rattle: 28}", "search.rattle: found 28, expected a standard deviation"),
        ("sampling: {}", "host: missing"),
        ("- host", "found list, expected a mapping"),
        ("host: [", "not YAML"),
    ],
)
def test_bad_input_is_one_line_with_file_and_key(tmp_path, text, expected):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert expected in message
    assert "campaign.yaml" in message
    assert "\n" not in message


def test_a_missing_campaign_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        Campaign.from_file(tmp_path / "none.yaml")


def test_a_binary_campaign_file(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        Campaign.from_file(path)


def test_the_host_is_relative_to_the_campaign_file(repository):
    campaign = Campaign.from_file(repository / "flows/CdTe_v_Cd/campaign.yaml")
    assert campaign.host_structure().composition.reduced_formula == "CdTe"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        ("nonsense", "not a structure"),
        (
            "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n"
            "_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_atom_site_label\n"
            "_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
            "_atom_site_occupancy\nNa1 Na 0 0 0 0.5\n",
            "partial occupancies",
        ),
    ],
)
def test_bad_hosts(tmp_path, content, expected):
    host = tmp_path / "host.cif"
    if content is not None:
        host.write_text(content)
    with pytest.raises(InputError, match=expected) as caught:
        read_host(host)
    assert "host.cif" in str(caught.value)


def test_the_template_holds_every_default(tmp_path):
    text = campaign_template(Path("host.vasp"))
    with pytest.raises(InputError, match=r"campaign.yaml: levels.dielectric: found nothing, exp"):
        read(tmp_path, text)
    text = text.replace("dielectric:\n", "dielectric: 9.8\n")
    campaign = read(tmp_path, text)
    assert campaign == Campaign(host=tmp_path / "host.vasp", levels={"dielectric": 9.8})
    written = yaml.safe_load(text)
    for name in Campaign.model_fields:
        assert name in written


def test_charged_states_stay_uncorrected_where_the_user_says_so(tmp_path):
    for levels in ("dielectric: none", "dielectric: None", "correction: none"):
        found = read(tmp_path, f"host: a\nlevels: {{{levels}}}").levels
        assert (found.tensor, found.scheme) == (None, "none")
    found = read(tmp_path, "host: a\nlevels: {dielectric: [9, 9, 12]}").levels
    assert (found.scheme, found.tensor) == ("eFNV", ((9, 0, 0), (0, 9, 0), (0, 0, 12)))


@given(st.lists(st.floats(1, 100), min_size=3, max_size=3))
def test_dielectric_of_number_vector_and_tensor(values):
    assert np.array_equal(dielectric_tensor(tuple(values)), np.diag(values))
    assert np.array_equal(dielectric_tensor(dielectric_tensor(tuple(values))), np.diag(values))
    assert np.array_equal(dielectric_tensor(values[0]), values[0] * np.eye(3))
