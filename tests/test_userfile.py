"""Files that users write: whatever they hold, they are read or refused in one line."""

import os
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.errors import InputError
from defect_workflows.userfile import MOST_BYTES, Section, read_file


class Plain(Section):
    """A file with one value of each kind."""

    host: str
    share: float = 0.5
    names: tuple[str, ...] = ()


def read(path, text):
    path.write_text(text)
    return read_file(path, Plain, "a file")


def laughs(merged=False):
    """Nine levels, each ten times the one before."""
    lines = ["a0: &a0 {k: 1, l: 2}" if merged else "a0: &a0 [x, x]"]
    for level in range(9):
        many = ", ".join([f"*a{level}"] * 10)
        lines.append(
            f"a{level + 1}: &a{level + 1} " + (f"{{<<: [{many}]}}" if merged else f"[{many}]")
        )
    return "\n".join([*lines, "host: x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (laughs(), "references"),
        (laughs(merged=True), "references"),
        ("host: &a [*a]", "line 1: found a value that refers to itself"),
        ("host: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("host: x #" + "x" * MOST_BYTES, "more than 1 MB"),
        ("host: x\nshare: 0.1\nshare: 0.2\n", "line 3: 'share': found a second time"),
        ('host: "a\\e[31m"', r"line 1: found 'a\x1b[31m', expected no control characters"),
        ('host: "a\\u202eb"', r"found 'a\u202eb', expected no control"),
        ('"ho\\ast": x', "expected no control"),
        ("host: x\0", "not YAML"),
        ("host: x\nshare: 2020-13-45\n", "found a value that YAML cannot read"),
        ("host: x\nshare: " + "z" * 9999, "share: found 'zzz"),
        ("host: x\n" + "q" * 900 + ": 1", "unknown key"),
        ("host: x\nnames: " + "y" * 9999, "names: found 'yyy"),
        ("host: !!python/name:os.system x", "not YAML"),
    ],
)
def test_refused_in_one_short_line(tmp_path, text, expected):
    start = time.perf_counter()
    with pytest.raises(InputError) as raised:
        read(tmp_path / "f.yaml", text)
    message = str(raised.value)
    assert expected in message
    assert "\n" not in message
    assert len(message) < 700 + len(str(tmp_path))
    assert time.perf_counter() - start < 30


def test_references_that_a_user_would_write_are_read(tmp_path):
    text = "host: &h MgO ü\nnames: &n [*h, *h]\n"
    assert read(tmp_path / "f.yaml", text).names == ("MgO ü", "MgO ü")


def test_what_has_no_size_is_not_read_for_ever(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=("host: x\n",)).start()
    assert read_file(pipe, Plain, "a file").host == "x"


@given(st.text(max_size=60))
def test_any_text(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(InputError):  # and nothing else
        assert read_file(path, Plain, "a file").host
