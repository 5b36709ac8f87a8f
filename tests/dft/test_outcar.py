"""OUTCARs as VASP's versions, verbosities and Fortran formats make them."""

import re

import numpy as np
import pytest
from dft_files import content, put, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.header import read_header, read_lattice, repeated
from defect_workflows.dft.outcar import parse_outcar, runs_in
from defect_workflows.dft.raw import numbers
from defect_workflows.errors import CalculationError, UnknownFidelityError
from defect_workflows.fidelity import fidelity_of

SILICON = "08_si_ccd_atomate2/Si_config_coord/relax_q2/outputs"


@pytest.fixture(scope="module")
def silicon(data_dir):
    return unpacked(data_dir / SILICON / "OUTCAR.gz")


@pytest.fixture(scope="module")
def reference(data_dir, tmp_path_factory, silicon):
    return read_calculation(put(tmp_path_factory.mktemp("whole"), OUTCAR=silicon))


@pytest.fixture
def read(tmp_path):
    """Read an OUTCAR that a test made."""

    def read(outcar, **others):
        return read_calculation(put(tmp_path / "run", OUTCAR=outcar, **others))

    return read


def replaced(data, *pairs):
    """Replace; each pattern must be there."""
    for pattern, new in pairs:
        data, count = re.subn(pattern, new, data)
        assert count, pattern
    return data


def low_verbosity(data):
    """Leave out what NWRITE < 2 does not print."""
    return replaced(
        data, (rb"(?m)^ +TITEL +=.*\n", b""), (rb"(?m)^.*ZVAL +=.*mass and valenz.*\n", b"")
    )


def as_vasp5(data):
    """Leave out the INCAR, which VASP 5 does not repeat."""
    return replaced(data, (rb"(?s) INCAR:\n.*?\n POTCAR:", b" INCAR:\n POTCAR:"))


def test_low_verbosity(read, silicon, reference):
    assert content(read(low_verbosity(silicon))) == content(reference)
    # with NWRITE = 0 forces and cell are printed at the first and the last step alone
    table = rb"(?s) POSITION +TOTAL-FORCE.*?total drift[^\n]*\n"
    _, second, _ = re.findall(table, silicon)
    found = read(low_verbosity(silicon.replace(second, b"")))
    assert [frame.step for frame in found.frames] == [1, 3]
    assert (found.energy, found.forces) == (reference.energy, reference.forces)
    assert found.left_out == ["step 2: forces: found no table of 7 rows"]


def test_low_verbosity_of_several_elements(cases_dir):
    found = read_calculation(cases_dir / "F02_nwrite" / "O_1")
    assert found.charge == 1
    assert found.valences == {"O": 6, "Sb": 5, "Se": 6}
    assert found.level_of_theory.potcars[1] == "PAW_PBE Sb 06Sep2000"
    assert found.level_of_theory.dispersion == 11
    bulk = read_calculation(cases_dir / "F02_nwrite" / "bulk")
    assert bulk.band_edges.vbm == pytest.approx(4.1926, abs=1e-4)
    assert bulk.band_edges.cbm - bulk.band_edges.vbm == pytest.approx(1.4734, abs=1e-4)
    assert len(bulk.level_of_theory.kpoints) == 8


@given(
    st.lists(st.floats(-9e3, 9e3), min_size=1, max_size=12),
    st.integers(2, 9),
    st.integers(0, 2),
)
def test_columns_that_touch(values, decimals, room):
    """Columns of a Fortran format that is as wide as its widest number, or little wider."""
    width = max(len(f"{value:.{decimals}f}") for value in values) + room
    row = "".join(f"{value:{width}.{decimals}f}" for value in values)
    assert numbers(row) == pytest.approx(values, abs=10.0**-decimals)


@given(st.lists(st.sampled_from([None, -13.5, 0.25, 120.125]), min_size=3, max_size=3))
def test_columns_that_overflow(values):
    row = "".join("*" * 13 if value is None else f"{value:13.9f}" for value in values)
    found = numbers(row, 13)
    assert [None if np.isnan(value) else value for value in found] == values


def test_what_is_no_column_is_no_number():
    for word in ("1.5.25", "0.12-3", "1.2e", "12.34.5678", "a1.0", "--1.0", "1-2"):
        assert np.isnan(numbers(word)).all(), word


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-250, 250), min_size=9, max_size=9))
def test_any_lattice(values):
    rows = ["".join(f"{x:13.9f}" for x in [*values[i : i + 3], 0.5, -10.5, 0.0]) for i in (0, 3, 6)]
    text = "      direct lattice vectors          reciprocal lattice vectors\n" + "\n".join(rows)
    found = read_lattice(text)
    assert found is not None
    assert found.ravel() == pytest.approx(values, abs=1e-8)


def test_a_lattice_that_touches_after_every_step(cases_dir, read):
    """The columns as VASP prints them, and the same numbers with spaces between."""
    glued, spaced = (
        read_calculation(cases_dir / "F03_glued_lattice" / f"{name}_v", planes=False)
        for name in ("glued", "spaced")
    )
    assert content(glued) == content(spaced)
    assert min(glued.structure.lattice.matrix.ravel()) < -10
    data = unpacked(cases_dir / "F03_glued_lattice" / "glued_v" / "OUTCAR.gz")
    heading = data.rindex(b"direct lattice vectors")
    row = data[heading:].splitlines()[2]
    overflowed = data[:heading] + data[heading:].replace(row, b"*" * 13 + row[13:], 1)
    with pytest.raises(CalculationError, match=r"last ionic step: lattice not finite"):
        read(overflowed)


def test_other_columns_that_touch(read, silicon, reference):
    """Stress, forces and ions per type."""
    stress = b"  in kB -12345.12345-12345.12345-12345.12345  -12.34567 -123.45678    1.00000"
    forces = (
        b"      1.00000      2.00000      3.00000    -123456.123456-123456.654321-123456.000001"
    )
    data = replaced(silicon, (rb"  in kB[^\n]*", stress))
    table = data.rindex(b"TOTAL-FORCE")
    row = data[table:].splitlines()[2]
    found = read(data[:table] + data[table:].replace(row, forces, 1))
    assert found.frames[-1].stress[0][0] == pytest.approx(12345.12345 * 0.1 / 160.21766208)
    assert found.forces[0] == pytest.approx((-123456.123456, -123456.654321, -123456.000001))
    assert found.energy == reference.energy


def test_thousands_of_ions(cases_dir):
    text = unpacked(cases_dir / "F02_nwrite" / "O_1" / "OUTCAR.gz").decode()
    text = re.sub(r"NIONS = +\d+", "NIONS =   2347", text)
    row = "ions per type =            " + "   1" + "1002" + "1344"
    header = read_header(re.sub(r"ions per type = [ \d]+", row, text[: text.index("Iteration")]))
    assert [kind.count for kind in header.species] == [1, 1002, 1344]


def test_hubbard_correction_of_vasp_5(cases_dir):
    theory = read_calculation(cases_dir / "F04_hubbard_vasp5" / "real_MnO").level_of_theory
    (term,) = theory.hubbard
    assert (term.element, term.angular_momentum, term.u, term.j) == ("Mn", 2, 5, 0)
    assert theory.functional == "PS"
    bulk = read_calculation(cases_dir / "F04_hubbard_vasp5" / "bulk", planes=False)
    assert bulk.level_of_theory.hubbard == []


def hubbard(data, u, told=b""):
    lines = (
        b" LDA+U is selected, type is set to LDAUTYPE =  2\n"
        b"   angular momentum for each species LDAUL =     2\n"
        b"   U (eV)           for each species LDAUU = " + u + b"\n"
        b"   J (eV)           for each species LDAUJ =   0.0\n"
    )
    heading = b" Exchange correlation treatment"
    data = data.replace(heading, lines + heading, 1)
    return data.replace(b" INCAR:\n", b" INCAR:\n" + told, 1)


@pytest.mark.parametrize(
    ("echoed", "told", "expected"),
    [
        (b"  4.0", b"", 4.0),
        (b"-10.5", b"", -10.5),
        (b"  4.3", b"   LDAUU = 4.25\n", 4.25),  # VASP rounds
        (b"  4.3", b"   LDAUU = 1*4.25 # eV\n", 4.25),
        (b"  4.3", b"   LDAUU = 2.0\n", 4.3),  # what was asked for is not what was done
    ],
)
def test_u_as_it_was_asked_for(read, silicon, echoed, told, expected):
    (term,) = read(hubbard(silicon, echoed, told)).level_of_theory.hubbard
    assert term.u == expected


def test_repeated_numbers():
    assert repeated("2*4.0 0 -1 3*.5") == [4, 4, 0, -1, 0.5, 0.5, 0.5]


def test_two_runs_in_one_file(cases_dir):
    folder = cases_dir / "F06_two_runs_one_outcar"
    found = read_calculation(folder / "v", planes=False)
    assert (found.level_of_theory.functional, found.level_of_theory.encut) == ("PE+HF", 350)
    assert found.notes == ["OUTCAR.gz: holds 2 runs, the last one is used"]
    other = read_calculation(folder / "v_hse_first", planes=False).level_of_theory
    assert (other.functional, other.encut) == ("PE", 250)
    same = read_calculation(folder / "v_same", planes=False)
    assert len(same.frames) == 1


def test_a_restart_that_has_no_step_yet(read, silicon):
    begun = silicon[: silicon.index(b"Iteration")]
    with pytest.raises(CalculationError, match="2 runs, the last without a complete ionic step"):
        read(silicon + begun)
    with pytest.raises(CalculationError, match=r"run 2 of 2 in it: found no POTCARs"):
        read(silicon + silicon[:500])
    assert [len(parse_outcar(text).steps) for text in runs_in((silicon + begun).decode())] == [3, 0]


def test_where_a_run_begins(read, silicon, reference):
    died = silicon[: silicon.index(b"total drift")]  # in the middle of a line
    found = read(died + silicon)
    assert content(found) | {"notes": []} == content(reference)
    headless = silicon[silicon.index(b"executed on") :]
    with pytest.raises(CalculationError, match="holds 2 runs that are not told apart"):
        read(silicon + headless)


def test_a_functional_that_is_not_named(read, silicon, reference):
    """VASP 5 does not tell METAGGA: without GGA it may be any functional."""
    old = as_vasp5(silicon)
    assert read(old).level_of_theory.functional == "PS"
    unnamed = replaced(old, (rb"GGA     =    PS", b"GGA     =    --"))
    theory = read(unnamed).level_of_theory
    assert theory.functional is None
    assert (theory.dispersion, theory.hubbard) == (0, [])
    with pytest.raises(UnknownFidelityError, match="not named"):
        fidelity_of(theory)
    hybrid = replaced(unnamed, (rb"LHFCALC =     F", b"LHFCALC =     T"))
    assert read(hybrid).level_of_theory.functional == "PE+HF"
    # VASP 6 repeats the INCAR: what is not there has its default
    told = replaced(silicon, (rb"GGA     =    PS", b"GGA     =    --"))
    assert read(told).level_of_theory.functional == "PE"


INCAR = """ENCUT = 500
ISPIN = 2
ISMEAR = 0
SIGMA = 0.05
NSW = 99
NELECT = 27.0
METAGGA = Scan
"""


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (("ENCUT = 500", "ENCUT = 520"), "ENCUT"),
        (("NELECT = 27.0", ""), "NELECT"),
        (("NELECT = 27.0", "NELECT = 28"), "NELECT"),
        (("ISPIN = 2", ""), "ISPIN"),
        (("SIGMA = 0.05", "SIGMA = 0.2"), "SIGMA"),
        (("NSW = 99", ""), "NSW"),
        (("ENCUT = 500", "LHFCALC = .TRUE."), "LHFCALC"),
        (("METAGGA = Scan", "GGA = PE"), "GGA"),
        (("ENCUT = 500", "LDAU = .TRUE."), "LDAU"),
        (("ENCUT = 500", "IVDW = 12"), "IVDW"),
    ],
)
def test_an_incar_helps_where_it_can_be_of_the_run(read, silicon, wrong, name):
    old = replaced(as_vasp5(silicon), (rb"GGA     =    PS", b"GGA     =    --"))
    found = read(old, INCAR=INCAR.encode())
    assert found.level_of_theory.functional == "SCAN"
    assert found.files == ["OUTCAR", "INCAR"]
    found = read(old, INCAR=INCAR.replace(*wrong).encode())
    assert found.level_of_theory.functional is None
    assert found.notes == [f"INCAR: has another {name} than the calculation, is not used"]


def test_an_incar_names_dispersion(read, silicon):
    old = as_vasp5(silicon).replace(b"\n  FREE ENERGIE", b"\n  Edisp (eV)  -1.23\n  FREE ENERGIE")
    assert read(old).level_of_theory.dispersion == -1
    incar = INCAR.replace("METAGGA = Scan", "GGA = PS\nIVDW = 12")
    found = read(old, INCAR=incar.encode())
    assert (found.level_of_theory.functional, found.level_of_theory.dispersion) == ("PS", 12)
    found = read(old, INCAR=bytes(range(256)))
    assert found.level_of_theory.dispersion == -1


def test_charge_is_a_sum_over_potcars(cases_dir):
    folder = cases_dir / "F11_pseudo_hydrogen"
    bulk, defect = (read_calculation(folder / name, planes=False) for name in ("bulk", "v"))
    assert (bulk.charge, defect.charge) == (0, -2)
    assert defect.valences == {"Cd": 12, "Te": 6, "H1.25": 1.25, "H.75": 0.75}
    assert read_calculation(folder / "v_split", planes=False).charge == -2


@pytest.mark.parametrize(("electrons", "ends"), [("554.0000", 0), ("554.5000", None)])
def test_a_charge_is_an_integer(cases_dir, read, electrons, ends):
    data = unpacked(cases_dir / "F11_pseudo_hydrogen" / "v" / "OUTCAR.gz")
    data = replaced(data, (rb"NELECT = +556.0000", f"NELECT =     {electrons}".encode()))
    if ends is None:
        with pytest.raises(CalculationError, match="expected an integer charge"):
            read(data)
    else:
        assert read(data).charge == ends


@pytest.mark.parametrize("occupation", [b"4.00000", b"1.05000", b"-0.50000", b"*******"])
def test_impossible_occupations(read, silicon, occupation):
    block = silicon.rindex(b"band No.")
    row = silicon[block:].splitlines()[1]
    assert row.endswith(b"1.00000")
    broken = silicon[:block] + silicon[block:].replace(row, row[:-8] + b" " + occupation, 1)
    with pytest.raises(CalculationError, match=r"occupations: found|eigenvalues not finite"):
        read(broken)
    if occupation == b"1.05000":  # Methfessel and Paxton's function goes that far
        smeared = replaced(broken, (rb"ISMEAR = +0", b"ISMEAR =     2"))
        assert read(smeared).band_edges is not None
