"""Users' text on a terminal is neither markup nor control sequence."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from defect_workflows.terminal import MOST, Terminal, one_line, printable


def shown(*things, **options):
    file = io.StringIO()
    Terminal(file=file, width=200, force_terminal=True, color_system=None).print(*things, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", ["v_O[/b]", "[red]v_O", "[link=x]", ":smile:", "a\x1b[31mb", "\a"])
def test_names_are_shown_as_they_are(name):
    expected = name.replace("\x1b", "\\x1b").replace("\a", "\\x07")
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    assert shown(f"failed: {name}", soft_wrap=True) == f"failed: {expected}\n"
    assert shown(table).count(expected) == 3


def test_what_cannot_be_encoded():
    name = b"run_\xff".decode("utf-8", "surrogateescape")  # of a folder
    assert printable(name) == "run_\\udcff"
    assert printable("Å\u00a0ü \n") == "Å\u00a0ü \n"


@given(st.text())
def test_one_line(text):
    line = one_line(text * 50)
    assert line.isprintable() or "\u00a0" in line or any(one.isspace() for one in line)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) <= MOST


def test_a_long_line_keeps_its_ends():
    line = one_line("file.yaml: " + "x" * 10000 + " expected less")
    assert line.startswith("file.yaml: xxx")
    assert line.endswith("xxx expected less")
