"""The command line: `defect-workflows`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from defect_workflows.errors import DefectWorkflowsError, InputError, MachineError, SettingError
from defect_workflows.terminal import Terminal, one_line, printable

if TYPE_CHECKING:
    from defect_workflows.documents.campaign import CampaignResult

app = typer.Typer(
    help="From a host crystal to the charge transition levels of its point defects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
rehearsal = typer.Typer(help="Tools of the rehearsal.", no_args_is_help=True)
app.add_typer(rehearsal, name="rehearsal")
console = Terminal()

CampaignFile = Annotated[Path, typer.Argument(help="The campaign file.", show_default=False)]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log lines.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.ERROR,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    if not debug:
        warnings.simplefilter("ignore")  # dependencies warn of what a user can do nothing about
    from defect_workflows.settings import open_store_file

    if (warning := open_store_file()) is not None:
        print(f"warning: {warning}", file=sys.stderr)


@app.command()
def init(
    host: Annotated[Path, typer.Argument(help="Structure file of the host.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Campaign file to write.")] = Path(
        "campaign.yaml"
    ),
) -> None:
    """Write a commented campaign for a structure file."""
    from defect_workflows.host import read_host
    from defect_workflows.template import campaign_template

    structure = read_host(host)
    if output.exists():
        raise InputError(f"{output}: exists already, expected a new file")
    relative = Path(os.path.relpath(host.absolute(), output.absolute().parent))
    _write_file(output, campaign_template(relative))
    console.print(
        f"{output}: campaign for {structure.composition.reduced_formula}. "
        f"Next: give levels.dielectric there, then defect-workflows plan {output}"
    )


@app.command()
def plan(
    campaign_file: CampaignFile,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the plan to this file.")
    ] = None,
) -> None:
    """Show what would run: states, labels per fidelity, estimated cost. Runs nothing."""
    from defect_workflows.campaign import Campaign
    from defect_workflows.plan import make_plan

    with _naming(campaign_file):
        found = make_plan(Campaign.from_file(campaign_file))
    table = Table(title=f"{found.host}, {found.atoms} atoms: {len(found.states)} defect states")
    for heading in ("stage", "what", "PBE single points", "HSE06 single points"):
        table.add_column(heading, justify="right" if "points" in heading else "left")
    for step in found.steps:
        table.add_row(step.stage, step.what, str(step.pbe or ""), str(step.hse06 or ""))
    table.add_section()
    table.add_row("", "about, rather less", str(found.pbe), str(found.hse06))
    console.print(table)
    console.print("States: " + ", ".join(found.states))
    for note in found.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    if json_file is not None:
        _write_file(json_file, found.model_dump_json(indent=1))


@app.command()
def run(
    campaign_file: CampaignFile,
    workdir: Annotated[
        Path, typer.Option("--workdir", help="Work folder: store, jobs and results.")
    ],
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="The stand-in runs instead of VASP.")
    ] = False,
) -> None:
    """Run a campaign on this machine. The same command again resumes."""
    from defect_workflows.campaign import Campaign
    from defect_workflows.running.campaign import finished_before, run_campaign
    from defect_workflows.running.progress import StageProgress

    campaign = Campaign.from_file(campaign_file)
    result = finished_before(campaign, workdir, rehearse=rehearse)
    if result is not None:
        console.print(f"{workdir}: finished before, nothing has changed since", soft_wrap=True)
    else:
        with _naming(campaign_file), StageProgress(console) as progress:
            result = run_campaign(campaign, workdir, rehearse=rehearse, on_event=progress.update)
    _write(workdir, result)


@app.command()
def status(
    campaign_or_dir: Annotated[
        Path, typer.Argument(help="A work folder, or the campaign file of a submitted campaign.")
    ],
) -> None:
    """Show per stage what is done, running, failed, waiting."""
    from defect_workflows.running.campaign import campaign_status

    records, failures = campaign_status(campaign_or_dir)
    table = Table(title=str(campaign_or_dir))
    table.add_column("stage")
    for heading in ("done", "of these reused", "running", "failed", "waiting", "interrupted"):
        table.add_column(heading, justify="right")
    for stage in records:
        counts = (stage.done, stage.reused, stage.running, stage.failed, stage.waiting)
        table.add_row(stage.stage, *map(str, counts), str(stage.interrupted))
    console.print(table)
    for failure in failures:
        console.print(f"failed: {failure.stage}: {failure.name}: {failure.error}", soft_wrap=True)


@app.command()
def submit(
    campaign_file: CampaignFile,
    manager: Annotated[str, typer.Option("--manager", help="fireworks.")] = "fireworks",
    worker: Annotated[
        str | None, typer.Option("--worker", help="FireWorks' name of the worker.")
    ] = None,
) -> None:
    """Put a campaign on a cluster: the same graph, through FireWorks' LaunchPad."""
    from defect_workflows.campaign import Campaign
    from defect_workflows.running.campaign import submit_campaign

    if manager != "fireworks":
        raise InputError(f"--manager: found {manager!r}, expected fireworks")
    with _naming(campaign_file):
        numbers = submit_campaign(Campaign.from_file(campaign_file), worker=worker)
    console.print(f"{len(numbers)} jobs on the LaunchPad; more will follow as the graph grows.")


@app.command()
def levels(
    calculations_file: Annotated[
        Path, typer.Argument(help="The file of finished calculations.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="States side by side. Default: one per core."),
    ] = None,
) -> None:
    """Make corrected levels of finished VASP calculations, without a campaign."""
    from defect_workflows.calculations import Calculations
    from defect_workflows.report.levels import StepProgress, print_summary

    calculations = Calculations.from_file(calculations_file)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: found a file at {out}, expected a folder")
    from defect_workflows.makers.levels import FinishedLevels
    from defect_workflows.report.results import write_levels

    with StepProgress(console) as progress:
        maker = FinishedLevels(calculations, processes=processes, progress=progress.update)
        try:
            result = maker.make()
        except InputError as error:
            raise InputError(f"{calculations_file}: {error}") from error
    write_levels(out, result)
    print_summary(console, result.levels)
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    if result.levels.errors:
        raise typer.Exit(1)


@app.command()
def ingest(
    directories: Annotated[
        list[Path],
        typer.Argument(help="Folders with finished VASP calculations.", show_default=False),
    ],
    store_dir: Annotated[
        Path | None,
        typer.Option(
            "--store-dir",
            help="Work folder with the store. Default: the machine's store, else ./ingested.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the report to this file.")
    ] = None,
) -> None:
    """Put every converged ionic step of finished VASP calculations into the store as a label."""
    from defect_workflows.report.ingest import print_ingest, refusals
    from defect_workflows.running import ingest as ingestion

    ingestion.check_folders(directories)
    store, where = ingestion.open_store(store_dir)
    with console.status("reading") if console.is_terminal else nullcontext() as line:
        found = ingestion.ingest(
            directories,
            store,
            where=where,
            on_run=lambda run: line.update(_reading(run.directory)) if line else None,
        )
    if json_file is not None:
        _write_file(json_file, found.model_dump_json(indent=1))
    if not found.runs:
        raise InputError("; ".join(refusals(found.refused)))
    print_ingest(console, found)
    if found.unreadable or not found.found:
        raise typer.Exit(1)


@app.command()
def report(
    workdir: Annotated[Path, typer.Argument(help="A work folder with a finished campaign.")],
) -> None:
    """Write the report of a finished campaign again."""
    from defect_workflows.running.campaign import finished_result

    _write(workdir, finished_result(workdir))


def _reading(directory: Path) -> Text:
    return Text(f"reading {printable(str(directory))}")


def _write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; what is no file, as a pipe, is written to."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text)
            return
        try:
            partial.write_text(text)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


@contextmanager
def _naming(campaign_file: Path) -> Iterator[None]:
    """Put the campaign file before what is wrong with a setting in it."""
    try:
        yield
    except SettingError as error:
        raise InputError(f"{campaign_file}: {error}") from error


def _write(workdir: Path, result: CampaignResult) -> None:
    """Write the result folder of a finished campaign and say what it found."""
    from defect_workflows.report.results import summary_table, write_report
    from defect_workflows.report.warnings import print_warnings
    from defect_workflows.running.campaign import dataset_labels

    write_report(workdir, result, dataset_labels(workdir, result.dataset))
    console.print(summary_table(result))
    print_warnings(console, result.levels.levels.warnings)
    console.print(f"Report: {workdir / 'report.html'}")


@app.command()
def doctor(
    workdir: Annotated[
        Path | None,
        typer.Option("--workdir", help="Also look through the results in this work folder."),
    ] = None,
) -> None:
    """Check VASP command, POTCARs, store, device and versions; each line with its mend."""
    from defect_workflows.running.doctor import examine

    checks = examine(workdir)
    for check in checks:
        mark = ("ok  ", "green") if check.ok else ("mend", "red")
        line = Text.assemble(mark, f" {check.what}: {printable(check.found)}")
        console.print(line, highlight=False, soft_wrap=True)
        if not check.ok:
            console.print(f"       {check.mend}", highlight=False, soft_wrap=True)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@rehearsal.command()
def potcars(
    directory: Annotated[Path, typer.Argument(help="Folder to write to.")],
    functional: Annotated[str, typer.Option(help="POTCAR family.")] = "PBE_54",
) -> None:
    """Write placeholder POTCARs (no potential data) for rehearsals."""
    from defect_workflows.rehearsal.potcars import write_potcars

    console.print(f"{write_potcars(directory, functional=functional)}: placeholders written")


_interrupted = False


def main() -> None:
    """Run the command line; errors of our own are one line and an exit status."""
    debug = "--debug" in sys.argv
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background of a shell
            signal.signal(number, _interrupt)
    try:
        app(standalone_mode=True)
    except InputError as error:
        _fail(error, 2, debug)
    except DefectWorkflowsError as error:
        _fail(error, 1, debug)
    except (KeyboardInterrupt, SystemExit):
        if not _interrupted:
            raise
        print("interrupted; the same command again resumes", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        reason = _machine(error)
        if reason is None:
            raise
        _fail(MachineError(reason), 1, debug, error)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the command; a second Ctrl-C must not end what tidies up after the first."""
    global _interrupted
    _interrupted = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise KeyboardInterrupt


def _machine(error: Exception) -> str | None:
    """Return what the machine is at fault for; None for an error of this program."""
    if isinstance(error, MemoryError):
        return "the memory of this machine is full"
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}: once that is mended, the same command goes on"
    if type(error).__module__.partition(".")[0] == "pymongo":
        from defect_workflows.running.stores import database_reason

        return f"database: {database_reason(error)}"
    return None


def _fail(
    error: DefectWorkflowsError, status: int, debug: bool, cause: Exception | None = None
) -> None:
    if debug:
        raise error from cause
    print(f"error: {one_line(str(error))}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
