"""Errors and warnings: a line for all of a kind, notes not shown."""

import pytest
from rich.console import Console

from defect_workflows.documents.ingest import IngestReport
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.report.ingest import print_ingest
from defect_workflows.report.warnings import print_warnings, warning_lines


def warning(code, text, state=None):
    message = f"{state}: {text}" if state else text
    return LevelWarning(code=code, message=message, state=state)


def told(*warnings):
    return [(line.kind, line.code, line.text) for line in warning_lines(warnings)]


def test_states_of_a_kind_share_a_line_with_the_range_of_their_numbers():
    found = told(
        warning("residual_force", "a force of 0.061 eV/Å is left (> 0.05)", "v_Cd_0"),
        warning("residual_force", "a force of 0.072 eV/Å is left (> 0.05)", "v_Cd_-1"),
        warning("residual_force", "a force of 0.055 eV/Å is left (> 0.05)", "v_Cd_-2"),
    )
    assert found == [
        (
            "warning",
            "residual_force",
            "v_Cd_0, v_Cd_-1, v_Cd_-2: a force of 0.055 to 0.072 eV/Å is left (> 0.05)",
        )
    ]


def test_one_alone_is_said_as_it_is():
    text = "the correction of 0.751 eV is 50% of the gap"
    assert told(warning("correction_large", text, "v_Cd_-2"))[0][2] == f"v_Cd_-2: {text}"
    assert told(warning("dos_mismatch", "VBM 1.2"))[0][2] == "VBM 1.2"


def test_errors_come_first_and_notes_not_at_all():
    found = told(
        warning("no_chemical_potentials", "none"),
        warning("correction_error", "uncertain by 0.1 eV", "a_0"),
        warning("potcar_mismatch", "Cd, Cd_sv", "b_0"),
        warning("cell_shifted", "moved", "b_0"),
    )
    assert [(kind, code) for kind, code, _ in found] == [
        ("error", "potcar_mismatch"),
        ("warning", "correction_error"),
    ]


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        # names and paths have numbers that are none
        (["in run_1/v_Cd_-1: 400", "in run_2/v_Cd_-2: 400"],
         "s0: in run_1/v_Cd_-1: 400; s1: in run_2/v_Cd_-2: 400"),
        (["PAW_PBE Cd_sv 06Sep2000, found 1", "PAW_PBE Cd 06Sep2000, found 1"],
         "s0: PAW_PBE Cd_sv 06Sep2000, found 1; s1: PAW_PBE Cd 06Sep2000, found 1"),
        (["from -0.20 to 1e-5", "from +0.30 to 1e-5"], "s0, s1: from -0.20 to +0.30 to 1e-5"),
        (["(-1.5, 2)", "(3, 2)"], "s0, s1: (-1.5 to 3, 2)"),
        (["same", "same"], "s0, s1: same"),
        (["a", "b", "c", "d", "d"], "s0: a (and 3 more: s1, s2, s3, s4)"),
    ],
)  # fmt: skip
def test_texts_that_differ_in_more_than_numbers_stay_apart(texts, line):
    found = told(*(warning("ionic_not_converged", t, f"s{n}") for n, t in enumerate(texts)))
    assert found == [("warning", "ionic_not_converged", line)]


def test_many_states_are_counted_not_listed():
    found = told(*(warning("uncorrected_state", "none", f"v_{n}") for n in range(30)))
    assert found[0][2] == "v_0, v_1, v_2, v_3, v_4, v_5, v_6, v_7 and 22 more: none"


def test_what_is_about_no_state_is_told_too():
    found = told(*(warning("scf_not_converged", f"competing phase in {x}: SCF") for x in "abcd"))
    assert found[0][2] == "competing phase in a: SCF (and 3 more)"


def test_the_terminal_has_one_line_for_each():
    console = Console(width=60, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_warnings(
        console,
        [
            warning("unfinished_starts", "2 of 40 starts [/b] did not end", "v_Cd_0"),
            warning("unfinished_starts", "1 of 38 starts [/b] did not end", "v_O_+1"),
            warning("cell_shifted", "moved"),
            warning("functional_mismatch", "PE, PS", "v_Cd_0"),
        ],
    )
    assert console.export_text().splitlines() == [
        "error functional_mismatch: v_Cd_0: PE, PS",
        "warning unfinished_starts: v_Cd_0, v_O_+1: 1 to 2 of 38 to 40 starts [/b] did not end",
    ]


def test_ingest_prints_them_likewise():
    console = Console(width=60, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    found = [
        warning("nonstandard_hybrid", "hse06: AEXX 0.3 (a)"),
        warning("potcar_mismatch", "hse06: found 400 (a) and 350 (b)"),
        warning("potcar_mismatch", "hse06: found 520 (c) and 350 (b)"),
        warning("charge_guessed", "-1"),
    ]
    print_ingest(
        console, IngestReport(store="s", runs=[], refused=[], duplicates=[], warnings=found)
    )
    told = [x for x in console.export_text().splitlines() if x.startswith(("error", "warning"))]
    assert told == [
        "error potcar_mismatch: hse06: found 400 (a) and 350 (b); hse06: found 520 (c) and 350 (b)",
        "warning nonstandard_hybrid: hse06: AEXX 0.3 (a)",
    ]
    assert "charge_guessed" not in console.export_text()
