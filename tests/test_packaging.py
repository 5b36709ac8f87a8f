"""What the package imports is declared, and the Pythons it names are the ones it is tested on."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {"tblite": "rehearsal"}


def imported(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"defect_workflows"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", line)[0].lower().replace("_", "-") for line in requirements}


def test_every_import_is_a_declared_dependency():
    distributions = packages_distributions()
    declared = names(PROJECT["dependencies"])
    optional = {
        package: names(PROJECT["optional-dependencies"][extra])
        for package, extra in OPTIONAL.items()
    }

    undeclared = {
        package
        for package in imported(ROOT / "defect_workflows")
        if not {name.lower().replace("_", "-") for name in distributions.get(package, [package])}
        & (declared | optional.get(package, set()))
    }

    assert undeclared == set()


def find_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "find_python"), *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def fake_python(folder: Path, version: str) -> Path:
    """A Python that says that it is another version than it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    claim = f"import sys; sys.version_info = ({version.replace('.', ', ')})"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{claim}; exec(\\"\\"\\"$2\\"\\"\\")"\n')
    path.chmod(0o755)
    return path


def test_only_the_supported_pythons_are_taken(tmp_path):
    versions = {
        name: fake_python(tmp_path / name, name) for name in ("3.11", "3.12", "3.13", "3.14")
    }

    found = {name: find_python(PYTHON=str(path)) for name, path in versions.items()}

    assert [name for name, one in found.items() if one.returncode == 0] == ["3.12", "3.13"]
    assert found["3.13"].stdout.strip() == str(versions["3.13"])
    assert found["3.14"].stderr.count("\n") == 1
    assert f"found {versions['3.14']}, expected 3.12 or 3.13" in found["3.14"].stderr


def test_an_environment_of_another_python_is_made_again(tmp_path):
    for name in ("3.11", "3.12", "3.13"):
        fake_python(tmp_path / name / "bin", name)
    other = str(tmp_path / "3.13" / "bin" / "python")

    assert find_python(str(tmp_path / "3.11")).returncode == 1
    assert find_python(str(tmp_path / "missing")).returncode == 1
    assert find_python(str(tmp_path / "3.12")).returncode == 0
    assert find_python(str(tmp_path / "3.12"), PYTHON=other).returncode == 1
    assert find_python(str(tmp_path / "3.13"), PYTHON=other).returncode == 0
