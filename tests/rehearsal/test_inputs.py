from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Structure
from pymatgen.io.vasp import Incar as PymatgenIncar
from pymatgen.io.vasp import Poscar as PymatgenPoscar

from defect_workflows.errors import InputError
from defect_workflows.rehearsal.inputs import (
    Incar,
    Inputs,
    Poscar,
    read_potcar,
    unhonoured_kpoints,
)


def test_incar_syntax() -> None:
    incar = Incar.from_text(
        "# a comment = ignored\n"
        "NELECT = 476.0 ! electrons; NSW = 7\n"
        "NSW=3; ibrion = 2 ;EDIFF = 1d-6\n"
        "MAGMOM = 4*0.6 \\\n 4*0.0\n"
        "LHFCALC = .TRUE.\nLWAVE=F\nLVHAR = .f.\nSYSTEM = a T-shaped thing\n"
        "NSW = 99\n\n"
    )
    assert incar.number("NELECT", 0) == 476
    assert (incar.integer("NSW", 0), incar.integer("IBRION", 0)) == (3, 2)
    assert incar.number("EDIFF", 0) == 1e-6
    assert incar["MAGMOM"].split() == ["4*0.6", "4*0.0"]
    assert incar.flag("LHFCALC", False)
    assert not incar.flag("LWAVE", True)
    assert not incar.flag("LVHAR", True)
    assert incar["SYSTEM"] == "a T-shaped thing"
    assert incar.flag("LVTOT", True)


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("NSW = three", lambda i: i.integer("NSW", 0), "NSW is 'three', expected an integer"),
        ("NSW = 3.5", lambda i: i.integer("NSW", 0), "NSW is '3.5', expected an integer"),
        ("EDIFF = small", lambda i: i.number("EDIFF", 0), "EDIFF is 'small', expected a number"),
        ("LWAVE = yes", lambda i: i.flag("LWAVE", True), "LWAVE is 'yes', expected .TRUE."),
        ("NSW =", lambda i: i.integer("NSW", 0), "NSW is '', expected an integer"),
    ],
)
def test_incar_of_the_wrong_type(text, read, message) -> None:
    with pytest.raises(InputError, match=message):
        read(Incar.from_text(text))


def test_incar_without_equals() -> None:
    with pytest.raises(InputError, match="expected 'TAG = value'"):
        Incar.from_text("NSW 3")


@given(
    st.fixed_dictionaries(
        {
            "NELECT": st.floats(1, 1e4),
            "NSW": st.integers(0, 500),
            "EDIFFG": st.floats(-1, -1e-4),
            "LHFCALC": st.booleans(),
        }
    )
)
def test_incar_as_pymatgen_writes_it(values: dict) -> None:
    incar = Incar.from_text(str(PymatgenIncar(values)))
    assert incar.number("NELECT", 0) == pytest.approx(values["NELECT"], rel=1e-12)
    assert incar.integer("NSW", -1) == values["NSW"]
    assert incar.number("EDIFFG", 0) == pytest.approx(values["EDIFFG"], rel=1e-12)
    assert incar.flag("LHFCALC", not values["LHFCALC"]) is values["LHFCALC"]


# pymatgen multiplies Cartesian coordinates with a negative scale; VASP with what it stands for
@pytest.mark.parametrize(
    ("direct", "scale"),
    [(True, "1.0"), (True, "1.25"), (True, "-300.0"), (False, "1.0"), (False, "1.25")],
)
@pytest.mark.parametrize("selective", [True, False])
def test_poscar_agrees_with_pymatgen(vacancy, direct, scale, selective) -> None:
    flags = np.random.default_rng(0).random((len(vacancy), 3)) > 0.5
    poscar = PymatgenPoscar(vacancy, selective_dynamics=flags if selective else None)
    lines = poscar.get_str(direct=direct, significant_figures=16).splitlines()
    lines[1] = scale
    text = "\n".join(lines)
    ours, theirs = Poscar.from_text(text), PymatgenPoscar.from_str(text)
    np.testing.assert_allclose(ours.lattice, theirs.structure.lattice.matrix, atol=1e-12)
    difference = ours.fractional - theirs.structure.frac_coords
    np.testing.assert_allclose(difference, np.round(difference), atol=1e-12)
    assert ours.symbols == [site.specie.symbol for site in theirs.structure]
    if selective:
        np.testing.assert_array_equal(ours.movable, flags)
    else:
        assert ours.movable is None


def test_poscar_with_three_scale_factors() -> None:
    text = "c\n1 2 3\n4 0 0\n1 4 0\n0 1 4\nCd\n1\nCartesian\n1.0 1.0 1.0\n"
    poscar = Poscar.from_text(text)
    np.testing.assert_allclose(poscar.lattice, [[4, 0, 0], [1, 8, 0], [0, 2, 12]])
    np.testing.assert_allclose(poscar.fractional @ poscar.lattice, [[1, 2, 3]])


def test_poscar_with_an_atom_missing(vacancy: Structure) -> None:
    text = PymatgenPoscar(vacancy).get_str().rstrip().rsplit("\n", 1)[0]
    with pytest.raises(InputError, match="7 atoms announced, 6 found"):
        Poscar.from_text(text)


def test_poscar_of_an_element_without_parameters(vacancy: Structure) -> None:
    vacancy.replace_species({"Cd": "U"})
    with pytest.raises(InputError, match="'U' has no xTB parameters"):
        _ = Poscar.from_text(PymatgenPoscar(vacancy).get_str()).numbers


def test_potcar(potcar_dir: Path, write_inputs, vacancy, tmp_path) -> None:
    write_inputs(tmp_path, vacancy)
    cd, te = read_potcar((tmp_path / "POTCAR").read_text())
    assert (cd.element, cd.valence, cd.enmax) == ("Cd", 12, 274.336)
    assert (te.element, te.valence, te.enmax) == ("Te", 6, 174.982)
    assert te.titel == "PAW_PBE Te 08Apr2002"


def test_species_in_another_order(write_inputs, vacancy, tmp_path) -> None:
    write_inputs(tmp_path, vacancy)
    datasets = (tmp_path / "POTCAR").read_text().split("End of Dataset\n")
    (tmp_path / "POTCAR").write_text("End of Dataset\n".join([datasets[1], datasets[0], ""]))
    with pytest.raises(InputError, match="POTCAR: found Te Cd, POSCAR expects Cd Te"):
        Inputs.from_directory(tmp_path)


@pytest.mark.parametrize(
    ("kpoints", "asked"),
    [
        ("c\n0\nGamma\n1 1 1\n", None),
        ("c\n0\nMonkhorst-Pack\n1 1 1\n0 0 0\n", None),
        ("c\n1\nReciprocal\n0 0 0 1\n", None),
        ("c\n0\nGamma\n2 2 2\n", "Gamma mesh 2 2 2"),
        ("c\n0\nGamma\n1 1 1\n0.5 0 0\n", "shifted by 0.5 0 0"),
        ("c\n1\nReciprocal\n0.25 0.25 0.25 1\n", "1 explicit k-points"),
        ("c\n0\nAuto\n20\n", "Auto 20"),
        (None, "KSPACING = 0.3 (no KPOINTS file)"),
    ],
)
def test_kpoints(kpoints: str | None, asked: str | None) -> None:
    found = unhonoured_kpoints(kpoints, Incar({"KSPACING": "0.3"}))
    if asked is None:
        assert found is None
    else:
        assert found is not None
        assert asked in found
