"""Hosts are read as they stand, or refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Species, Structure

from defect_workflows.errors import InputError
from defect_workflows.host import read_host
from defect_workflows.moments import moments_of

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
CELL = "".join(f"_cell_length_{a} 4.21\n" for a in "abc") + "".join(
    f"_cell_angle_{a} 90\n" for a in ("alpha", "beta", "gamma")
)
SITES = (
    "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    "_atom_site_fract_z\n_atom_site_occupancy\n"
)
P1 = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n"
POSCAR = """MgO
1.0
4.21 0 0
0 4.21 0
0 0 4.21
{names}
{counts}
Direct
0 0 0
0.5 0.5 0.5
"""


def cif(sites: str, symmetry: str = P1, formula: str = "", name: str = "host") -> str:
    return f"data_{name}\n{formula}{CELL}{symmetry}{SITES}{sites}"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_host(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: host: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: host: ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "POSCAR",
            "found no elements (1 1 atoms in line 6), expected the line with their names before it",
        ),
        (
            "POSCAR_diamond",
            "found no elements (8 atoms in line 6), expected the line with their names before it",
        ),
        ("POSCAR_three_scales", "found three scaling factors (line 2), expected one"),
    ],
)
def test_poscars_of_the_cases(cases_dir, tmp_path, refusal_of, name, expected):
    host = cases_dir / "F10_poscar_without_elements" / name
    assert refusal(host) == expected
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text(f"host: {host}\nlevels: {{dielectric: 9}}\n")
    assert refusal_of("init", host, "-o", tmp_path / "new.yaml") == f"{host}: host: {expected}"
    assert refusal_of("plan", campaign) == f"{host}: host: {expected}"
    assert not (tmp_path / "new.yaml").exists()


def test_a_potcar_beside_it_does_not_rename_elements(tmp_path):
    (tmp_path / "POTCAR").write_text("  PAW_PBE Ga 08Apr2002\n 3.0\n")
    ROCK_SALT.to(str(tmp_path / "POSCAR"), fmt="poscar")
    assert read_host(tmp_path / "POSCAR").composition.reduced_formula == "MgO"


@pytest.mark.parametrize(
    ("names", "counts", "expected"),
    [
        (
            "Mg O N",
            "1 1",
            "found 3 elements (Mg O N) and 2 numbers of atoms, expected one for each",
        ),
        ("Mg", "1 1", "found 1 elements (Mg) and 2 numbers of atoms, expected one for each"),
        ("Mg O", "1 2", "not a structure that pymatgen reads"),
        ("Mg Xx", "1 1", "not a structure that pymatgen reads"),
    ],
)
def test_poscars_that_do_not_add_up(tmp_path, names, counts, expected):
    path = tmp_path / "POSCAR"
    path.write_text(POSCAR.format(names=names, counts=counts))
    assert refusal(path).startswith(expected)


@pytest.mark.parametrize("names", ["Mg O", "Mg_pv O_s", "Mg/474ac0d O/79d9987a"])
def test_poscars_with_elements(tmp_path, names):
    path = tmp_path / "POSCAR"
    path.write_text(POSCAR.format(names=names, counts="1 1"))
    assert read_host(path).formula == "Mg1 O1"


def test_many_rows_of_elements(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text(POSCAR.format(names=" Mg\n O", counts=" 1\n 1"))
    assert read_host(path).formula == "Mg1 O1"


def test_what_says_nothing_of_the_calculation_is_left_out(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text(
        POSCAR.format(names="Mg O", counts="1 1")
        .replace("Direct", "Selective dynamics\nDirect")
        .replace("0 0 0\n0.5 0.5 0.5", "0 0 0 T T F\n0.5 0.5 0.5 T F T")
        + "\n0.1 0.1 0.1\n0.1 0.1 0.1\n"
    )
    found = read_host(path)
    assert found.site_properties == {}
    assert found.properties == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (cif("Na1 Na 0 0 0 0.5\n"), "found partial occupancies (Na0.5), expected an ordered"),
        (cif("Na1 Na 0 0 0 0.5\nK1 K 0 0 0 0.5\n"), "found partial occupancies"),
        (cif("Mg1 Mg 0 0 0 1\nO1 O 0.5 0.5 0.5 ?\n"), "found occupancy ?, expected an ordered"),
        (cif("Mg1 Mg 0 0 0 1\nO1 O 0.05 0 0 1\n"), "found atoms 1 (Mg) and 2 (O) 0.21 Å apart"),
        (cif("Mg1 Mg 0 0 0 1\nO1 O 0.5 0.5 0.5 1\n", symmetry=""), "found what pymatgen can only "
         "guess (No _symmetry_equiv_pos_as_xyz type key found. Defaulting to P1.)"),
        (cif("CA1 CA1 0 0 0 1\nO1 O 0.5 0.5 0.5 1\n"), "found what pymatgen can only guess (CA1"),
        (cif("Mg1 Mg 0 0 0 1\nO1 O 0.5 0.5 0.5 1\n", formula="_chemical_formula_sum 'Mg1 O2'\n"),
         "found what pymatgen can only guess (Incorrect stoichiometry"),
        (cif("Mg1 Mg 0 0 0 1\n") + cif("Mg1 Mg 0 0 0 1\nS1 S .5 .5 .5 1\n", name="b"),
         "found 2 structures, expected one"),
    ],
)  # fmt: skip
def test_cifs_that_leave_something_to_be_guessed(tmp_path, text, expected):
    path = tmp_path / "host.cif"
    path.write_text(text)
    assert refusal(path).startswith(expected)


def test_a_cif_that_says_everything(tmp_path):
    path = tmp_path / "host.cif"
    # thirds are rounded, which is harmless
    path.write_text(
        "data_global\n_journal_year 2020\n" + cif("Mg1 Mg 0 0 0 1\nO1 O .5 .5 .6667 1\n")
    )
    assert read_host(path).formula == "Mg1 O1"


def test_oxidation_states_of_a_cif_are_left_out(tmp_path):
    path = tmp_path / "host.cif"
    states = "loop_\n_atom_type_symbol\n_atom_type_oxidation_number\nMg2+ 2\nO2- -2\n"
    text = cif("Mg1 Mg2+ 0 0 0 1\nO1 O2- .5 .5 .5 1\n", symmetry=states + P1)
    path.write_text(text)
    found = read_host(path)
    assert [site.species_string for site in found] == ["Mg", "O"]
    path.write_text(text.replace("Mg2+ 2", "Mg2+ 3"))
    assert refusal(path).startswith("found charge +1 (given, or the sum of the oxidation states)")


def charged(structure: Structure) -> Structure:
    structure.set_charge(1)
    return structure


def oxidised() -> Structure:
    structure = ROCK_SALT.copy()
    structure.add_oxidation_state_by_element({"Mg": 3, "O": -2})
    return structure


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (charged(ROCK_SALT.copy()), "found charge +1"),
        (oxidised(), "found charge +4"),
        (Structure(Lattice.cubic(4.05), ["Al"], [[0, 0, 0]]), "found the metal Al"),
        (Structure(Lattice.cubic(2.87), ["Fe"] * 2, [[0, 0, 0], [0.5] * 3]), "the metal Fe"),
        (Structure(Lattice.orthorhombic(4.2, 4.2, 25), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0]]),
         "found vacuum (a slab)"),
        (Structure(Lattice.cubic(15), ["Mg", "O"], [[0, 0, 0], [0.12, 0, 0]]), "(a molecule)"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_host(tmp_path, refusal_of, structure, expected):
    path = tmp_path / "host.json"
    structure.to(str(path))
    assert expected in refusal(path)
    assert expected in refusal_of("init", path, "-o", tmp_path / "campaign.yaml")


@pytest.mark.parametrize(
    "structure",
    [
        Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]]),
        Structure.from_spacegroup("Fd-3m", Lattice.cubic(6.49), ["Sn"], [[0, 0, 0]]),
        # a transparent phase of sodium: Ma et al., Nature 458, 182 (2009)
        Structure(
            Lattice.hexagonal(2.784, 3.873),
            ["Na"] * 4,
            [[0, 0, 0], [0, 0, 0.5], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
        ),
        Structure(Lattice.cubic(4.263), ["Cs", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    ],
)
def test_what_may_have_a_gap_is_a_host(tmp_path, structure):
    path = tmp_path / "host.json"
    structure.to(str(path))
    assert read_host(path).composition == structure.composition


def test_moments_of_an_mcif(cases_dir):
    found = read_host(cases_dir / "F16_magnetic_order/nio_afm.mcif")
    assert moments_of(found) == [2, 2, -2, -2, 0, 0, 0, 0]


def test_moments_of_species_and_of_sites(tmp_path):
    path = tmp_path / "host.json"
    species = [Species("Ni", 2, spin=2), Species("Ni", 2, spin=-2), *[Species("O", -2)] * 2]
    places = [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25], [0.5, 0.5, 0.75]]
    lattice = Lattice.tetragonal(2.95, 8.4)
    Structure(lattice, species, places).to(str(path))
    found = read_host(path)
    assert moments_of(found) == [2, -2, 0, 0]
    assert [site.species_string for site in found] == ["Ni", "Ni", "O", "O"]
    names = ["Ni", "Ni", "O", "O"]
    along = np.array([1.0, 1, 0]) / np.sqrt(2)
    vectors = [(1.7 * along).tolist(), (-1.7 * along).tolist(), [0, 0, 0], [0, 0, 0]]
    Structure(lattice, names, places, site_properties={"magmom": vectors}).to(str(path))
    assert moments_of(read_host(path)) == pytest.approx([1.7, -1.7, 0, 0])
    vectors[1] = [0, 0, 1.7]
    Structure(lattice, names, places, site_properties={"magmom": vectors}).to(str(path))
    assert "not collinear" in refusal(path)


def test_an_order_of_nothing_is_none(tmp_path):
    path = tmp_path / "host.json"
    ROCK_SALT.copy(site_properties={"magmom": [0.0] * 8}).to(str(path))
    assert moments_of(read_host(path)) is None
    assert "magmom" not in json.dumps(read_host(path).as_dict())
