from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from custodian import Custodian
from custodian.custodian import NonRecoverableError, ValidationError
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
)
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Structure
from pymatgen.io.vasp import Incar, Oszicar, Vasprun

from defect_workflows.errors import InputError
from defect_workflows.rehearsal.faults import (
    COUNTER_VARIABLE,
    FAULT_VARIABLE,
    KINDS,
    Fault,
    fault_of_this_call,
    parse_faults,
)
from defect_workflows.rehearsal.mock_vasp import CRASH_STATUS

from .conftest import MOCK_VASP, InputWriter, run_mock_vasp

pytestmark = pytest.mark.filterwarnings("ignore")


def test_syntax() -> None:
    assert parse_faults("scf; crash@3;nan@2,5 ; hang@p=0.1;truncate@p=.25,seed=7") == [
        Fault("scf"),
        Fault("crash", frozenset({3})),
        Fault("nan", frozenset({2, 5})),
        Fault("hang", probability=0.1),
        Fault("truncate", probability=0.25, seed=7),
    ]
    assert parse_faults("") == []


@pytest.mark.parametrize("text", ["explode", "scf@", "scf@p=", "scf@x", "crash@p=2", "scf@p=1.1.1"])
def test_bad_syntax(text: str) -> None:
    with pytest.raises(InputError, match=FAULT_VARIABLE):
        parse_faults(text)


@given(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 99), st.integers(1, 10**6))
def test_probability_is_reproducible(kind: str, p: float, seed: int, call: int) -> None:
    fault = Fault(kind, probability=p, seed=seed)
    assert fault.strikes(call) == Fault(kind, probability=p, seed=seed).strikes(call)


def test_probability_is_met() -> None:
    counts = [
        sum(Fault("scf", probability=p, seed=3).strikes(call) for call in range(2000))
        for p in (0, 0.1, 0.5, 1)
    ]
    assert counts[0] == 0
    assert counts[1] == pytest.approx(200, abs=45)
    assert counts[2] == pytest.approx(1000, abs=90)
    assert counts[3] == 2000


def test_calls_are_counted_across_processes(tmp_path: Path) -> None:
    environment = {FAULT_VARIABLE: "scf@7", COUNTER_VARIABLE: str(tmp_path / "calls")}
    with ThreadPoolExecutor(8) as pool:
        faults = list(pool.map(lambda _: fault_of_this_call(environment), range(20)))
    assert sorted(map(str, faults)) == ["None"] * 19 + ["scf"]
    assert (tmp_path / "calls").read_text() == "20"


def test_a_counter_is_needed() -> None:
    with pytest.raises(InputError, match=COUNTER_VARIABLE):
        fault_of_this_call({FAULT_VARIABLE: "scf@3"})
    assert fault_of_this_call({FAULT_VARIABLE: "scf"}) == "scf"
    assert fault_of_this_call({}) is None


def test_unknown_fault_is_one_line(tmp_path: Path) -> None:
    result = run_mock_vasp(tmp_path, MOCK_VASP_FAULT="explode@3")
    assert result.returncode == 2
    assert "found 'explode@3', expected one of scf, crash, hang, truncate, nan" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def inputs(write_inputs: InputWriter, vacancy: Structure, tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "run", vacancy, charge=-2, LHFCALC=True, NELM=25, ALGO="Normal")


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Set the fault of the calls to come."""

    def set_fault(text: str) -> Path:
        counter = tmp_path / "calls"
        monkeypatch.setenv(FAULT_VARIABLE, text)
        monkeypatch.setenv(COUNTER_VARIABLE, str(counter))
        return counter

    return set_fault


def custodian(directory: Path, **handlers) -> Custodian:
    frozen = FrozenJobErrorHandler(timeout=handlers.get("timeout", 3600))
    return Custodian(
        [VaspErrorHandler(), UnconvergedErrorHandler(), frozen],
        [VaspJob(MOCK_VASP, auto_gamma=False, terminate_timeout=2)],
        validators=[VasprunXMLValidator(), VaspFilesValidator()],
        max_errors=3,
        polling_time_step=0.2,
        monitor_freq=2,
        directory=str(directory),
    )


def test_without_fault(inputs: Path) -> None:
    assert custodian(inputs).run()[0]["corrections"] == []
    assert Vasprun(inputs / "vasprun.xml").converged


def test_scf_is_mended_by_custodian(inputs: Path, fault) -> None:
    counter = fault("scf@1")
    log = custodian(inputs).run()
    assert log[0]["corrections"][0]["errors"] == ["Unconverged"]
    assert Incar.from_file(inputs / "INCAR")["ALGO"] == "All"
    assert counter.read_text() == "2"
    assert Vasprun(inputs / "vasprun.xml").converged_electronic


def test_scf_writes_what_is_written_when_unconverged(inputs: Path, fault) -> None:
    fault("scf")
    result = run_mock_vasp(inputs)
    assert result.returncode == 0
    assert not Vasprun(inputs / "vasprun.xml").converged_electronic
    assert len(Oszicar(inputs / "OSZICAR").electronic_steps[0]) == 25
    assert "because EDIFF is reached" not in (inputs / "OUTCAR").read_text()


def test_crash(inputs: Path, fault) -> None:
    counter = fault("crash@1,2")
    assert run_mock_vasp(inputs).returncode == CRASH_STATUS
    with pytest.raises(ValidationError, match="VasprunXMLValidator"):
        custodian(inputs).run()
    assert counter.read_text() == "2"
    assert "SIGSEGV" in (inputs / "std_err.txt").read_text()
    assert (inputs / "OUTCAR").stat().st_size > 0
    assert "</modeling>" not in (inputs / "vasprun.xml").read_text()
    custodian(inputs).run()  # the third call is a good one
    assert Vasprun(inputs / "vasprun.xml").converged


def test_hang_is_frozen(inputs: Path, fault) -> None:
    fault("hang")
    start = time.monotonic()
    with pytest.raises(NonRecoverableError):
        custodian(inputs, timeout=2).run()
    assert time.monotonic() - start < 20
    assert "</modeling>" not in (inputs / "vasprun.xml").read_text()


def test_killed_run_leaves_a_truncated_file(inputs: Path, fault) -> None:
    fault("hang")
    with subprocess.Popen(MOCK_VASP, cwd=inputs, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "entering main loop" not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
    text = (inputs / "vasprun.xml").read_text()
    assert text.startswith("<?xml")
    assert "</modeling>" not in text


def test_truncate_fails_validation(inputs: Path, fault) -> None:
    fault("truncate@1")
    with pytest.raises(ValidationError, match="VasprunXMLValidator"):
        custodian(inputs).run()


def test_nan_passes_custodian_and_shows_in_the_result(inputs: Path, fault) -> None:
    fault("nan@1")
    custodian(inputs).run()
    run = Vasprun(inputs / "vasprun.xml")
    assert run.final_energy != run.final_energy
    assert (run.ionic_steps[-1]["forces"] != run.ionic_steps[-1]["forces"]).all()
