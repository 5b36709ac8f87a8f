"""A campaign run here, submitted to a cluster, looked at, or read again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import batched
from pathlib import Path

from jobflow import JobStore
from pymatgen.core import Structure

from defect_workflows.campaign import Campaign
from defect_workflows.decoding import read_output
from defect_workflows.dft.ingest import stored_labels
from defect_workflows.documents.campaign import CampaignResult, CostRecord
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.documents.labels import Label
from defect_workflows.errors import (
    CampaignError,
    DamagedDocumentError,
    InputError,
    MachineError,
    UntrustedDocumentError,
)
from defect_workflows.makers.campaign import CampaignMaker
from defect_workflows.precheck import campaign_elements, check_campaign
from defect_workflows.report.jobs import campaign_fingerprint
from defect_workflows.reuse import FINGERPRINT_FIELD
from defect_workflows.running import fireworks
from defect_workflows.running.ingest import ingest
from defect_workflows.running.local import JobEvent, RunResult, run_flow
from defect_workflows.running.state import JobRecord, StageStatus, job_records, status
from defect_workflows.running.stores import embedded_store, store_from_settings
from defect_workflows.running.workdir import RECORD, claim, refuse_other
from defect_workflows.settings import read_settings

logger = logging.getLogger(__name__)

_SUMMARY = "summarise"

LABELS_AT_ONCE = 500
"""Labels asked for in one query of the store."""


def run_campaign(
    campaign: Campaign,
    workdir: Path,
    *,
    rehearse: bool = False,
    on_event: Callable[[JobEvent], None] | None = None,
) -> CampaignResult:
    """Run a campaign on this machine; what had finished in the folder is taken from its store.

    Parameters
    ----------
    campaign
        What to run.
    workdir
        Work folder, new or of the same campaign.
    rehearse
        The stand-in runs instead of VASP.
    on_event
        Called with everything that happens.

    Raises
    ------
    InputError
        If host, supercell, defects, VASP command, POTCARs or work folder are not as expected.
    CampaignError
        If a job failed; names stage, job and reason.
    MachineError
        If the disk is full, or there are no processes or files to be had.
    """
    refuse_other(workdir, campaign, rehearse)
    host = check_campaign(campaign)
    flow = CampaignMaker.from_campaign(campaign).make()
    try:
        with _environment(workdir, campaign, rehearse):
            check_machine(campaign, host)
            claim(workdir, campaign, rehearse)
            store = _store(workdir)
            _ingest(campaign, store)
            workers = read_settings().workers
            result = run_flow(flow, store, workdir, workers=workers, on_event=on_event)
    except OSError as error:  # a full disk does not say which file it was
        raise MachineError(
            f"{error.filename or workdir}: {error.strerror or error}: once that is mended, the "
            "same command resumes"
        ) from error
    _raise_on_failure(result)
    return finished_result(workdir)


def finished_before(
    campaign: Campaign, workdir: Path, *, rehearse: bool = False
) -> CampaignResult | None:
    """Return the result of a work folder if the campaign ended well there and nothing has changed.

    Neither settings nor host, code or versions. None if anything is missing or was left to do, or
    the campaign reads further files (finished calculations, a foundation model), whose content may
    be another one by now.

    Parameters
    ----------
    campaign, workdir, rehearse
        As in `run_campaign`.

    Raises
    ------
    InputError, StoreNotWritableError
        If the folder holds another campaign, or is none.
    """
    refuse_other(workdir, campaign, rehearse)
    records = job_records(workdir)
    if (
        campaign.training.ingested
        or campaign.potential.foundation
        or not RunResult(records).complete
    ):
        return None
    try:
        result = finished_result(workdir)
    except InputError:
        return None
    if result.fingerprint != campaign_fingerprint(campaign):
        return None
    wanted = {record.fingerprint for record in result.dataset.labels}
    found = {label.fingerprint for label in dataset_labels(workdir, result.dataset)}
    return result if wanted <= found else None  # a damaged label is calculated again


def check_machine(campaign: Campaign, host: Structure) -> None:
    """Check, before anything runs, that VASP and the POTCARs of every element are there.

    Raises
    ------
    InputError
        Names what is missing.
    """
    from defect_workflows.dft.run import check_potcars, vasp_command

    settings = read_settings()
    for gamma in (False, True):
        vasp_command(settings, gamma=gamma)
    check_potcars(campaign.dft, campaign_elements(campaign, host), settings)


def finished_result(workdir: Path) -> CampaignResult:
    """Return the result of the newest run in a work folder, with the cost of its stages.

    Raises
    ------
    InputError
        If the folder holds no finished campaign, or one of another version of the package.
    """
    records = job_records(workdir)
    done = [job for job in records if job.name == _SUMMARY and job.state in ("done", "reused")]
    if not done:
        raise InputError(f"{workdir}: holds no finished campaign, expected one")
    store = _store(workdir)
    store.connect()
    try:
        result = read_output(store, done[-1].uuid, done[-1].job_index)
        if not isinstance(result, CampaignResult):
            result = CampaignResult.model_validate(result)
    except (ValueError, DamagedDocumentError, UntrustedDocumentError) as error:
        raise InputError(
            f"{workdir}: found a result that is damaged or of another version of this package: "
            f"{' '.join(str(error).split())[:300]}: run the campaign again, what was calculated is "
            "reused"
        ) from error
    return result.model_copy(update={"cost": _cost(records)})


def dataset_labels(workdir: Path, dataset: DatasetDocument) -> list[Label]:
    """Return the labels that a data set points to, as far as the store has them."""
    store = _store(workdir)
    store.connect()
    wanted = sorted({record.fingerprint for record in dataset.labels})
    return [
        label
        for some in batched(wanted, LABELS_AT_ONCE)
        for label in stored_labels(store, {FINGERPRINT_FIELD: {"$in": list(some)}})
    ]


def campaign_status(path: Path) -> tuple[list[StageStatus], list[JobRecord]]:
    """Return stages and failed jobs of a work folder, or of a submitted campaign file.

    Raises
    ------
    InputError
        If the path is neither.
    """
    if path.is_dir():
        if not (path / RECORD).is_file():
            raise InputError(f"{path}: holds no campaign, expected a work folder")
        return status(path), [job for job in job_records(path) if job.state == "failed"]
    campaign = Campaign.from_file(path)
    return fireworks.status(_launchpad(), {"campaign": campaign.host.stem}), []


def submit_campaign(campaign: Campaign, worker: str | None = None) -> list[int]:
    """Put a campaign on FireWorks' LaunchPad and return the numbers of its first jobs.

    Raises
    ------
    InputError
        If a setting does not fit the host, or it learns from finished calculations and the settings
        name no store to put them in.
    """
    check_campaign(campaign)
    flow = CampaignMaker.from_campaign(campaign).make()
    if campaign.training.ingested:
        _ingest(campaign, _machine_store())
    metadata = {"campaign": campaign.host.stem}
    return fireworks.submit(flow, _launchpad(), worker=worker, metadata=metadata)


def _ingest(campaign: Campaign, store: JobStore) -> None:
    """Put the labels that a campaign learns from into its store, each once.

    Raises
    ------
    InputError
        As `ingest`, or if a calculation cannot be used.
    """
    if not campaign.training.ingested:
        return
    store.connect()
    report = ingest(campaign.training.ingested, store)
    for item in report.refused:
        logger.warning("%s: refused: %s", item.directory, item.reason)


def _launchpad() -> fireworks.LaunchPad:
    return fireworks.open_launchpad()


def _machine_store() -> JobStore:
    store = store_from_settings(read_settings())
    if store is None:
        raise InputError(
            "training.ingested: found no store in the settings of this machine, expected the one "
            "that the workers use (DEFECT_WORKFLOWS_STORE)"
        )
    return store


def _store(workdir: Path) -> JobStore:
    return store_from_settings(read_settings()) or embedded_store(workdir)


def _cost(records: list[JobRecord]) -> list[CostRecord]:
    stages: dict[str, CostRecord] = {}
    for job in records:
        stage = stages.setdefault(job.stage, CostRecord(stage=job.stage, seconds=0.0, jobs=0))
        stage.seconds += job.seconds
        stage.jobs += 1
    return list(stages.values())


def _raise_on_failure(result: RunResult) -> None:
    if result.failed:
        first = result.failed[0]
        raise CampaignError(
            f"{len(result.failed)} jobs failed; the first: {first.stage}: {first.name}: "
            f"{first.error} (see {first.directory})"
        )
    if not result.complete:
        raise CampaignError("the campaign is incomplete: jobs are still waiting")


@contextmanager
def _environment(workdir: Path, campaign: Campaign, rehearse: bool) -> Iterator[None]:
    """Set the variables that worker processes inherit, for the time of a run."""
    variables: dict[str, str] = {}
    if rehearse:
        from defect_workflows.rehearsal.environment import rehearsal_environment

        variables = rehearsal_environment(workdir, campaign.dft.potcar_functional)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
