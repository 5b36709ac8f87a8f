import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import toy_jobs
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore

from defect_workflows.errors import InputError, StoreNotWritableError, WorkdirBusyError
from defect_workflows.running.local import JobEvent, run_flow
from defect_workflows.running.state import is_running, job_records, status
from defect_workflows.running.stores import embedded_store

SCRIPT = Path(toy_jobs.__file__).with_name("squares_script.py")


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def lines(log: str) -> list[str]:
    return Path(log).read_text().split() if Path(log).exists() else []


def run(flow, folder: Path, **kwargs):
    store = embedded_store(folder)
    return run_flow(flow, store, folder, **kwargs), store


def states(result) -> dict[str, str]:
    return {job.name: job.state for job in result.jobs}


def memory_store() -> JobStore:
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore(key="blob_uuid")})


def test_same_result_as_jobflow(tmp_path: Path, log: str) -> None:
    flow = toy_jobs.squares_flow(4, log)
    result, store = run(flow, tmp_path / "here")
    assert result.complete
    theirs = toy_jobs.squares_flow(4, log)
    memory = memory_store()
    run_locally(theirs, store=memory, log=False, ensure_success=True)
    assert store.get_output(flow.jobs[1].uuid) == memory.get_output(theirs.jobs[1].uuid) == 14
    documents = store.count(), store.docs_store.count({"name": "square"})
    assert documents == (memory.count(), 4)
    blob = next(store.query({"name": "square", "output.value": 9}, load=True))["output"]["blob"]
    assert blob == "3" * 1000
    unloaded = next(store.query({"name": "square", "output.value": 9}))["output"]["blob"]
    assert unloaded["store"] == "data"


def test_dynamic_jobs_inherit_hosts_and_metadata(tmp_path: Path, log: str) -> None:
    flow = toy_jobs.squares_flow(2, log)
    result, store = run(flow, tmp_path / "w")
    for document in store.query({"name": "square"}):
        assert document["hosts"][-1] == flow.uuid
        assert document["metadata"]["stage"] == "label"
    stages = {stage.stage: stage.done for stage in status(tmp_path / "w")}
    assert stages == {"label": 4, "levels": 1}  # replaced, two squares, the collected output
    indices = [j.job_index for j in result.jobs if j.uuid == flow.jobs[0].uuid]
    assert indices == [1, 2]


def test_replace_again_and_again(tmp_path: Path) -> None:
    first = toy_jobs.countdown(3)
    after = toy_jobs.add(first.output, "!")
    result, store = run(Flow([first, after]), tmp_path / "w")
    assert result.complete
    assert store.get_output(after.uuid) == "lift-off!"


@pytest.mark.parametrize(
    ("maker", "order"),
    [(toy_jobs.detour, ["detour", "child"]), (toy_jobs.addition, ["child", "addition"])],
)
def test_children_wait_for_detours_not_additions(tmp_path: Path, log: str, maker, order) -> None:
    first = maker(log)
    child = toy_jobs.log_after(log, "child", first.output)
    result, _ = run(Flow([child, first]), tmp_path / "w")
    assert result.complete
    assert lines(log) == order


def test_failed_detour_blocks_children(tmp_path: Path, log: str) -> None:
    first = toy_jobs.detour_that_fails()
    child = toy_jobs.log_after(log, "child", first.output)
    result, _ = run(Flow([first, child]), tmp_path / "w")
    assert states(result) == {"detour_that_fails": "done", "log_after": "waiting", "fail": "failed"}


def test_stop_children(tmp_path: Path, log: str) -> None:
    first = toy_jobs.stop_children()
    child = toy_jobs.log_after(log, "child", first.output)
    grandchild = toy_jobs.add(child.output, 1)
    other = toy_jobs.look_around()
    result, _ = run(Flow([first, child, grandchild, other]), tmp_path / "w")
    expected = {"stop_children": "done", "log_after": "stopped", "add": "stopped"}
    assert states(result) == {**expected, "look_around": "done"}
    assert lines(log) == []


def test_stop_everything(tmp_path: Path, log: str) -> None:
    first = toy_jobs.stop_all()
    others = [toy_jobs.log_after(log, str(i), first.output) for i in range(3)]
    result, _ = run(Flow([first, *others]), tmp_path / "w", workers=1)
    assert [job.state for job in result.jobs] == ["done", "stopped", "stopped", "stopped"]
    assert result.complete
    assert job_records(tmp_path / "w")[0].stored_data == '{"why": "enough"}'


def test_failure_stops_only_dependents(tmp_path: Path) -> None:
    broken = toy_jobs.fail()
    child = toy_jobs.add(broken.output, 1)
    grandchild = toy_jobs.countdown(child.output)
    tolerant = toy_jobs.accept_missing(child.output)
    independent = toy_jobs.look_around()
    flow = Flow([broken, child, grandchild, tolerant, independent])
    result, store = run(flow, tmp_path / "w")
    assert not result.complete
    waiting = {"add": "waiting", "countdown": "waiting"}
    ended = {"fail": "failed", "accept_missing": "done", "look_around": "done"}
    assert states(result) == waiting | ended
    assert store.get_output(tolerant.uuid) is None
    records = {record.name: record for record in job_records(tmp_path / "w")}
    assert records["fail"].error == "ValueError: it broke"
    assert "raise ValueError(message)" in records["fail"].traceback
    assert "with details" in Path(records["fail"].directory, "stderr.log").read_text()
    assert records["countdown"].error == "waits for 'fail', which failed"


def test_output_schema_is_enforced(tmp_path: Path) -> None:
    result, store = run(toy_jobs.wrong_schema(), tmp_path / "w")
    assert "ValidationError" in result.failed[0].error
    assert store.count() == 0


def test_replacement_may_not_refer_outside(tmp_path: Path) -> None:
    """FireWorks refuses it too: what runs here must run there."""
    one = toy_jobs.add(1, 1)
    result, _ = run(Flow([one, toy_jobs.outside(one.output)]), tmp_path / "w")
    assert "not found in the jobs array" in result.failed[0].error


def test_external_references(tmp_path: Path) -> None:
    one = toy_jobs.add(1, 1)
    run(one, tmp_path / "w")
    with pytest.raises(ValueError, match="not found in the jobs array"):
        run(toy_jobs.add(one.output, 1), tmp_path / "w")
    two = toy_jobs.add(one.output, 1)
    _, store = run(two, tmp_path / "w", allow_external_references=True)
    assert store.get_output(two.uuid) == 3


def test_directories_output_and_threads(tmp_path: Path, capfd) -> None:
    jobs = [toy_jobs.look_around(1.0) for _ in range(2)]
    jobs[0].update_metadata({"stage": "search"})
    last = toy_jobs.look_around()
    asks = toy_jobs.look_around()
    asks.update_config({"manager_config": {"threads": 3}})
    asks.name = "asks for 3"
    flow = Flow([Flow(jobs), Flow([last, asks], order="linear")], order="linear")
    result, store = run(flow, tmp_path / "w", workers=2, cores=8)
    one, two, alone, three = (store.get_output(uuid) for uuid, _ in _keys(result))
    assert one["ended"] > two["started"]
    assert two["ended"] > one["started"]
    assert one["pid"] != two["pid"]
    assert (one["threads"], two["threads"], alone["threads"], three["threads"]) == (4, 4, 8, 3)
    directory = Path(one["directory"])
    assert directory.parent == tmp_path / "w" / "jobs" / "search"
    assert (directory / "stdout.log").read_text() == "on stdout\nof a child\n"
    assert (directory / "stderr.log").read_text().count("on stderr\n") == 1
    assert not any(output["torch"] for output in (one, two, alone))
    assert alone["pid"] in (one["pid"], two["pid"])  # workers live on
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def _keys(result) -> list[tuple[str, int]]:
    return [(job.uuid, job.job_index) for job in result.jobs]


def test_wide_jobs_do_not_overlap(tmp_path: Path) -> None:
    wide = [toy_jobs.look_around(0.3) for _ in range(2)]
    for job in wide:
        job.update_config({"manager_config": {"threads": 2}})
    _, store = run(Flow(wide), tmp_path / "w", cores=3)
    one, two = sorted((store.get_output(job.uuid) for job in wide), key=lambda o: o["started"])
    assert two["started"] >= one["ended"]


def test_events(tmp_path: Path, log: str) -> None:
    events: list[JobEvent] = []
    flow = Flow([toy_jobs.squares_flow(1, log), toy_jobs.fail()])
    run(flow, tmp_path / "w", workers=1, on_event=events.append)
    seen = [(event.kind, event.job.name) for event in events]
    # all that is known at first comes first, a job after those that it waits for
    assert sorted(seen[:3]) == [("submitted", name) for name in ("fail", "squares", "total")]
    assert seen.index(("submitted", "squares")) < seen.index(("submitted", "total"))
    ends = {"fail": "failed", "squares": "finished", "square": "finished", "total": "finished"}
    for name, end in ends.items():
        first = [seen.index((kind, name)) for kind in ("submitted", "started", end)]
        assert first == sorted(first)
    # what a job is replaced by is known when it has ended, and the next job waits for that
    assert seen.index(("finished", "squares")) < seen.index(("submitted", "square"))
    assert seen.index(("finished", "square")) < seen.index(("started", "total"))
    counts = Counter(kind for kind, _ in seen)
    assert counts == {"submitted": 5, "started": 5, "finished": 4, "failed": 1}
    square = next(event for event in events if event.job.name == "square")
    assert square.metadata == {"stage": "label"}


def test_killed_worker_is_replaced_and_leaves_no_orphans(tmp_path: Path, log: str) -> None:
    flow = Flow([toy_jobs.die(log), toy_jobs.leave(), *(toy_jobs.add(1, i) for i in range(4))])
    result, _ = run(flow, tmp_path / "w", workers=1)
    errors = {job.name: job.error for job in result.failed}
    expected = {"die": "WorkerDied: killed by SIGKILL (out of memory?)", "leave": "SystemExit: 3"}
    assert errors == expected
    assert sum(job.state == "done" for job in result.jobs) == 4
    time.sleep(2)
    assert lines(log) == []


def test_run_again_reuses(tmp_path: Path, log: str) -> None:
    run(toy_jobs.squares_flow(3, log), tmp_path / "w")
    events: list[JobEvent] = []
    flow = toy_jobs.squares_flow(5, log)
    result, store = run(flow, tmp_path / "w", on_event=events.append)
    assert sorted(lines(log)) == ["0", "1", "2", "3", "4"]
    assert store.get_output(flow.jobs[1].uuid) == 30
    assert Counter(job.state for job in result.jobs) == {"reused": 3, "done": 5}
    assert sum(event.kind == "reused" for event in events) == 3
    label = status(tmp_path / "w")[0]
    assert (label.stage, label.done, label.reused) == ("label", 7, 3)
    reused = list(store.query({"metadata.reused_from": {"$exists": True}}, ["uuid"]))
    outputs = [store.get_output(document["uuid"], load=True) for document in reused]
    assert sorted(output.blob[0] for output in outputs) == ["0", "1", "2"]


def start_script(workdir: Path, log: str, n: int, seconds: float) -> subprocess.Popen:
    arguments = [str(workdir), log, str(n), str(seconds)]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        # a test run in the background of a shell hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "condition was never met"
        time.sleep(0.02)


def test_kill_and_run_again(tmp_path: Path, log: str) -> None:
    workdir, n = tmp_path / "w", 16
    process = start_script(workdir, log, n, 0.4)
    wait_for(lambda: len(lines(log)) >= 4)
    assert is_running(workdir)
    assert status(workdir)[0].running == 2
    with pytest.raises(WorkdirBusyError, match="found a run that is alive"):
        run_flow(toy_jobs.add(1, 1), embedded_store(workdir), workdir)
    # right after a look: a worker may be between two jobs at any other time
    wait_for(lambda: status(workdir)[0].running == 2)
    process.kill()
    process.wait()
    store = embedded_store(workdir)
    store.connect()
    time.sleep(0.1)
    before = store.count(), len(lines(log))
    time.sleep(0.8)  # longer than a job takes: workers that survived would have finished one
    assert (store.count(), len(lines(log))) == before
    assert len(lines(log)) < n
    finished = {str(d["output"]["value"] ** 0.5)[0] for d in store.query({"name": "square"})}
    assert finished
    label = status(workdir)[0]
    assert (label.running, label.interrupted) == (0, 2)

    assert start_script(workdir, log, n, 0.0).wait() == 0
    counts = Counter(lines(log))
    assert set(counts) == {str(x) for x in range(n)}
    assert all(counts[x] == 1 for x in finished)
    assert sum(counts.values()) - n <= 2  # at most the jobs in flight, one a worker
    assert all(stage.running == stage.interrupted == 0 for stage in status(workdir))
    assert not is_running(workdir)
    total = store.query_one({"name": "total"})
    assert total["output"] == sum(x * x for x in range(n))


def test_interrupt(tmp_path: Path, log: str) -> None:
    workdir = tmp_path / "w"
    process = start_script(workdir, log, 8, 60.0)  # none ends by itself, however slow the machine
    wait_for(lambda: len(lines(log)) == 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT  # KeyboardInterrupt came through
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert len(lines(log)) == 2
    label = status(workdir)[0]
    assert (label.running, label.interrupted) == (0, 2)


@pytest.mark.parametrize("victim", ["run", "worker"])
def test_no_vasp_outlives_run_or_worker(tmp_path: Path, repository: Path, victim: str) -> None:
    heard = tmp_path / "heard"
    heard.mkdir()
    script = (
        "import sys, toy_jobs; from pathlib import Path\n"
        "from defect_workflows.running.local import run_flow\n"
        "from defect_workflows.running.stores import embedded_store\n"
        "program, heard, workdir = sys.argv[1:]\n"
        "job = toy_jobs.start_vasp(program, heard)\n"
        "run_flow(job, embedded_store(Path(workdir)), Path(workdir), workers=1)\n"
    )
    arguments = [repository / "tests/dft/fake_vasp.py", heard, tmp_path / "w"]
    run_ = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], cwd=SCRIPT.parent)
    wait_for(lambda: len([path for path in heard.iterdir() if path.read_text()]) == 4, 60)
    found = [psutil.Process(int(path.read_text())) for path in heard.iterdir()]
    process = psutil.Process(run_.pid)
    (process if victim == "run" else process.children()[0]).kill()
    _, alive = psutil.wait_procs(found, timeout=20)
    assert not alive
    assert run_.wait(20) == (-signal.SIGKILL if victim == "run" else 0)


def test_memory_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found MemoryStore"):
        run_flow(toy_jobs.add(1, 1), memory_store(), tmp_path)


def test_not_writable(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StoreNotWritableError, match="expected a writable") as caught:
        run(toy_jobs.add(1, 1), blocked)
    assert "\n" not in str(caught.value)
    workdir = tmp_path / "w"
    workdir.mkdir()
    (workdir / "store.sqlite").write_text("this is no database, " * 100)
    with pytest.raises(StoreNotWritableError, match="file is not a database"):
        run(toy_jobs.add(1, 1), workdir)


def test_status_of_nothing(tmp_path: Path) -> None:
    assert status(tmp_path) == []
    assert not is_running(tmp_path)
    assert os.listdir(tmp_path) == []
