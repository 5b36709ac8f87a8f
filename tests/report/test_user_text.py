"""Names of users in the result folder: no formula, no markup, no math text, no shared file."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    CorrectionProfile,
    DefectLevelsDocument,
    LevelsResult,
    SiteProfile,
)
from defect_workflows.report.level_figures import correction_figure, limit_figure
from defect_workflows.report.levels import print_summary
from defect_workflows.report.results import levels_csv, write_levels
from defect_workflows.report.style import pretty
from defect_workflows.terminal import Terminal

from .conftest import levels

ODD = ["v a", "=cmd|' /C calc'!A0", "[/b]", "<b>x</b>", "v_$x", "$", "v_{O}^2", "a\\b", "%s", "é_è"]


def renamed(one: str, other: str = "v_a") -> DefectLevelsDocument:
    """The levels of two defects under other names."""
    names = {"v_Cd": one, "Te_Cd": other}
    document = levels(rehearsal=False)
    for item in [*document.states, *document.transition_levels]:
        item.defect = names[item.defect]
    return document


def profiles(document: DefectLevelsDocument) -> list[CorrectionProfile]:
    profile = SiteProfile(
        distances=[2.0, 5.0], elements=["Te", "Cd"], differences=[0.5, 0.2],
        point_charge=[None, 0.1], radius=4.0, alignment=0.09,
    )  # fmt: skip
    return [
        CorrectionProfile(
            state=f"{state.defect}_{state.charge:+d}", correction=state.correction, profile=profile
        )
        for state in document.states
        if state.charge == (-1 if state.defect == document.states[0].defect else 1)
    ]


@pytest.mark.parametrize("name", ODD)
def test_any_name_through_the_whole_folder(tmp_path, name):
    document = renamed(name)
    for state in document.states:
        state.formation_energies = {"a": 1.0, name: 2.0}
    document.limits = [
        ChemicalPotentialLimit(name=limit, chemical_potentials={"Cd": -1}, chosen=limit == "a")
        for limit in ("a", name)
    ]
    result = LevelsResult(levels=document, thermodynamics={}, profiles=profiles(document))
    write_levels(tmp_path, result)
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert len(figures) == 5
    assert {limit_figure(name), correction_figure(f"{name}_-1")} < figures
    page = (tmp_path / "report.html").read_text()
    assert "<b>x</b>" not in page
    rows = list(csv.DictReader((tmp_path / "levels.csv").open(newline="")))
    assert rows[0]["defect"].removeprefix("'") == name
    shown = io.StringIO()
    print_summary(Terminal(file=shown, width=400), document)
    assert name in shown.getvalue()


@pytest.mark.parametrize(
    ("name", "cell"),
    [(f"{start}cmd", f"'{start}cmd") for start in "=+-@"]
    + [("\t=cmd", r"\t=cmd"), ("\r=cmd", r"\r=cmd"), ("v_Cd", "v_Cd"), ("a=b", "a=b")],
)
def test_a_cell_is_no_formula(name, cell):
    rows = list(csv.reader(io.StringIO(levels_csv(renamed(name)), newline="")))
    assert rows[1][0] == cell
    assert rows[1][2] == "-2"  # numbers stay numbers


@given(st.lists(st.text(max_size=300), unique=True, min_size=2, max_size=8))
def test_every_name_has_a_file_of_its_own(names):
    files = [correction_figure(name) for name in names]
    assert len(set(files)) == len(files)
    assert all(len(file) < 200 and file.isascii() and "/" not in file for file in files)


def test_usual_names_are_math_text():
    assert pretty("v_Cd", "-2") == r"$\mathrm{v}_{\mathrm{Cd}}^{-2}$"
    assert pretty("v_$x", "+1") == r"v_\$x +1"
    assert correction_figure("Te_i_C3v_+2") == "correction_Te_i_C3v_+2"
