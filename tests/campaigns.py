"""One rehearsal of a whole campaign, which many tests inspect: MgO, v_O, 16-atom supercell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from jobflow import JobStore

from defect_workflows import cli
from defect_workflows.running.stores import embedded_store

CAMPAIGN = """\
host: MgO.vasp
supercell: {matrix: [2, 2, 2], min_atoms: 10}
defects: {include: [{name: v_O, charges: [0, 1, 2]}]}
dft: {spin: false, encut: 400}
sampling: {per_state: 6, bulk: 3, distortions: [-0.2, 0.3]}
hse06_share: 0.5
potential: {preset: small, epochs: 26}
search: {distortions: [-0.3, 0.3], dimer: false, max_steps: 60, shortlist: 1, uncertain: 1,
  unresolved_hse06: 1}
convergence: {max_rounds: 2, max_refinements: 2, round_refinements: 1}
levels: {dielectric: 9.8}
"""


@dataclass(frozen=True)
class Rehearsal:
    """A finished rehearsal: its folder, what the command printed, and its store."""

    campaign: Path
    workdir: Path
    output: str

    def levels(self) -> dict:
        return json.loads((self.workdir / "levels.json").read_text())

    def store(self) -> JobStore:
        store = embedded_store(self.workdir)
        store.connect()
        return store


def write_campaign(folder: Path, repository: Path, text: str = CAMPAIGN) -> Path:
    (folder / "MgO.vasp").write_text((repository / "flows/MgO_v_O/MgO.vasp").read_text())
    path = folder / "campaign.yaml"
    path.write_text(text)
    return path


def command(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; half an hour is too long."""
    return subprocess.run(
        [sys.executable, "-m", "defect_workflows.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        check=False,
        timeout=1800,
    )


@pytest.fixture
def refusal_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What the command line answers to bad input, in this process: the one line on stderr."""

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["defect-workflows", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr().err
        assert ended.value.code == 2, printed
        (line,) = printed.splitlines()
        return line.removeprefix("error: ")

    return run


@pytest.fixture(scope="session")
def rehearsal_run(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Rehearsal:
    folder = tmp_path_factory.mktemp("campaign")
    campaign = write_campaign(folder, repository)
    workdir = folder / "work"
    done = command("run", campaign, "--workdir", workdir, "--rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    return Rehearsal(campaign, workdir, done.stdout)
