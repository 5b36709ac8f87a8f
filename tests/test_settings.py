"""Settings of a machine: a file that is none is one line, and nothing of it is shown."""

import pytest

from defect_workflows.errors import InputError
from defect_workflows.settings import read_settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workers: [1, 2\npassword: hunter2\n", "in line 2"),
        ("hunter2", "expected YAML"),
        ("- hunter2\n", "expected YAML"),
        ("workers: many\n", "found 'many'"),
        ("workers: " + "x" * 5000, "WORKERS"),
        ("\0", "expected YAML"),
        ("x: \xff\udcff", "UnicodeDecodeError"),
    ],
)
def test_a_file_that_is_none(tmp_path, monkeypatch, text, expected):
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("DEFECT_WORKFLOWS_SETTINGS", str(path))
    with pytest.raises(InputError) as raised:
        read_settings()
    message = str(raised.value)
    assert str(path) in message
    assert expected in message
    assert "\n" not in message
    assert "hunter2" not in message
    assert len(message) < 500
