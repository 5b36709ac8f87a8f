"""INCAR settings that cannot work, or mislead, are refused in one line with what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from defect_workflows.campaign import DftSettings
from defect_workflows.incar import KNOWN, check_hubbard, check_incar

U = {"LDAU": True, "LDAUL": {"Ni": 2}, "LDAUU": {"Ni": 6.3}, "LDAUJ": {"Ni": 0}}


def refusal(**settings):
    with pytest.raises(ValidationError) as caught:
        DftSettings(**settings)
    (error, *_) = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("incar", "expected"),
    [
        ({"ENCTU": 400}, "found ENCTU, which is no INCAR setting: did you mean 'ENCUT'?"),
        ({"ISMAER": 0}, "found ISMAER, which is no INCAR setting: did you mean 'ISMEAR'?"),
        ({"LMAXMX": 4}, "found LMAXMX, which is no INCAR setting: did you mean 'LMAXMIX'?"),
        ({"NKERD": 2}, "found NKERD, which is no INCAR setting: did you mean 'NKRED'?"),
        ({"QQQQQQ": 1}, "found QQQQQQ, which is no INCAR setting: VASP would ignore it"),
        ({"encut": 400}, "found ENCUT, which this package sets itself (dft.encut)"),
        ({"KSPACING": 0.2}, "found KSPACING, which this package sets itself (dft.kpoints)"),
        ({"ICHARG": 11}, "found ICHARG, which this package sets itself"),
        ({"METAGGA": "R2SCAN"}, "found METAGGA, which changes the functional that the fidelities "
         "pbe and hse06 are named after"),
        ({"GGA": "PS"}, "found GGA, which changes the functional"),
        ({"LMONO": True}, "found LMONO, which puts into the energy what the finite-size"),
        ({"NUPDOWN": 2}, "found NUPDOWN, which would be the same for the host and every charge"),
        ({"LSORBIT": True}, "found LSORBIT, which needs noncollinear runs"),
        ({"RWIGS": [1.2, 0.8]}, "found RWIGS, which needs a value for each atom or element"),
        ({"MAGMOM": [2, -2, 0, 0]}, "found '[2, -2, 0, 0]' for MAGMOM, expected a mapping by "
         "element like {Ni: 2}: cells differ in number and order of atoms"),
        ({"MAGMOM": "2*2 2*-2 4*0"}, "found '2*2 2*-2 4*0' for MAGMOM, expected a mapping"),
        ({"MAGMOM": 2}, "found '2' for MAGMOM, expected a mapping"),
        ({"MAGMOM": {"Ni2+": 2}}, "found 'Ni2+': 2 for MAGMOM, expected elements"),
        ({"MAGMOM": {"Ni": "up"}}, "found 'up' for MAGMOM of Ni, expected a number"),
        ({"LDAUL": [2, -1]}, "found '[2, -1]' for LDAUL, expected a mapping"),
        ({"LDAUU": {"O": {"Ni": 6}}}, "found 'O': {'Ni': 6} for LDAUU, expected elements"),
        ({"LDAUL": {"Ni": 5}}, "found 5 for LDAUL of Ni, expected -1, 0, 1, 2 or 3"),
        ({"NELM": 0}, "found 0 for NELM, expected at least 1"),
        ({"NELM": 60.5}, "found 60.5 for NELM, expected an integer"),
        ({"NELM": True}, "found True for NELM, expected an integer"),
        ({"LASPH": "yes"}, "found 'yes' for LASPH, expected true or false"),
        ({"LASPH": 1}, "found 1 for LASPH, expected true or false"),
        ({"SIGMA": "wide"}, "found 'wide' for SIGMA, expected a number"),
        ({"SIGMA": 5}, "found 5 for SIGMA, expected 0.0001 to 0.5"),
        ({"AMIX": [0.1, 0.2]}, "found [0.1, 0.2] for AMIX, expected a number"),
        ({"ALGO": None}, "found None for ALGO, expected a word"),
        ({"ALGO": "GW0"}, "found 'GW0' for ALGO, expected one of a ground state (Normal)"),
        ({"PREC": "Exact"}, "found 'Exact' for PREC, expected one of Low, Medium"),
        ({"ISMEAR": -2}, "found -2 for ISMEAR, expected occupations that VASP finds itself"),
        ({"LREAL": "often"}, "found 'often' for LREAL, expected one of"),
        ({"ISYM": 7}, "found 7 for ISYM, expected one of"),
        ({"nelm": 100, "NELM": 60}, "found NELM twice, expected it once"),
        (U, "found LDAU, expected DFT+U under pbe_incar, and under hse06_incar too if the hybrid"),
    ],
)  # fmt: skip
def test_refused_settings(incar, expected):
    message = refusal(incar=incar)
    assert message.startswith(expected)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pbe_incar": {"PREC": "Normal"}}, "found PREC, which both fidelities share, expected it"),
        ({"hse06_incar": {"MAGMOM": {"Ni": 2}}}, "found MAGMOM, which both fidelities share"),
        ({"hse06_incar": {"METAGGA": "SCAN"}}, "found METAGGA, which changes the functional"),
        ({"incar": {"ALGO": "All"}, "hse06_incar": {"ALGO": "Damped"}},
         "hse06_incar: found ALGO under incar too, expected it once"),
        ({"pbe_incar": {**U, "LDAU": False}}, "pbe_incar: found LDAU without LDAU: true"),
        ({"pbe_incar": {"LDAUU": {"Ni": 6}}}, "pbe_incar: found LDAUU without LDAU: true"),
        ({"pbe_incar": {"LDAU": True}}, "pbe_incar: found LDAUU nowhere, expected U > 0"),
        ({"pbe_incar": {**U, "LDAUU": {"Ni": -3}}}, "pbe_incar: found LDAUU {'Ni': -3}, expected"),
        ({"pbe_incar": {**U, "LDAUU": {"Ni": 0}}}, "pbe_incar: found LDAUU {'Ni': 0}, expected"),
        ({"pbe_incar": {**U, "LDAUL": {"O": 1}}}, "pbe_incar: found no LDAUL of Ni, expected one "
         "beside LDAUU (l = 0 would be taken)"),
        ({"hse06_incar": {key: U[key] for key in ("LDAU", "LDAUL", "LDAUU")}},
         "hse06_incar: found no LDAUJ of Ni, expected one beside LDAUU (J = 1 eV would be taken)"),
        ({"spin": False, "incar": {"MAGMOM": {"Mn": 5}}}, "spin: found false, expected true"),
        ({"incar": {"NKRED": 2}}, "kpoints: found 1 divisions along x and NKRED 2, expected a mul"),
        ({"incar": {"ISMEAR": -5}}, "incar: found ISMEAR -5, expected 0: the tetrahedron method"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(settings, expected):
    assert refusal(**settings).startswith(expected)


def test_settings_get_the_types_of_vasp():
    found = check_incar(
        {"sigma": "1e-2", "LASPH": ".FALSE.", "lreal": "Auto", "nelm": "80", "AMIX": 1, "algo": "a"}
    )
    assert found == {
        "SIGMA": 0.01, "LASPH": False, "LREAL": "Auto", "NELM": 80, "AMIX": 1.0, "ALGO": "a",
    }  # fmt: skip
    assert DftSettings(incar={"MAGMOM": {"Mn": 5}}).incar == {"MAGMOM": {"Mn": 5}}


def test_hubbard_terms_belong_to_the_fidelity_that_the_user_names():
    settings = DftSettings(pbe_incar=U, incar={"NELM": 80}, hse06_incar={"ALGO": "All"})
    assert settings.incar_of("pbe") == {"NELM": 80, **U}
    assert settings.incar_of("hse06") == {"NELM": 80, "ALGO": "All"}
    assert settings.differing == {"hubbard"}
    assert DftSettings(pbe_incar=U, hse06_incar=U).differing == set()
    assert DftSettings().differing == set()
    check_hubbard(U)


@given(st.sampled_from(sorted(KNOWN)), st.data())
def test_no_misspelt_setting_passes(tag, data):
    place = data.draw(st.integers(0, len(tag) - 1))
    letter = data.draw(st.sampled_from("XQZ7"))
    misspelt = tag[:place] + letter + tag[place + 1 :]
    if misspelt in KNOWN or misspelt.startswith(("ML_", "PHON_", "ELPH_", "TRANSPORT_")):
        return
    with pytest.raises(ValueError, match=f"found {misspelt}, which is no INCAR setting"):
        check_incar({misspelt: 1})
