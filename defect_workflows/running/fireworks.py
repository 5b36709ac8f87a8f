"""The same graph on a cluster, through FireWorks.

Rockets open the store that jobflow's configuration names on *their* machine: set the environment
variable ``JOBFLOW_CONFIG_FILE`` to a file with the line ``JOB_STORE: /path/of/store.yaml``. So no
credential of the store is ever written into a FireWorks document.
"""

from __future__ import annotations

from typing import Any

from fireworks import LaunchPad
from fireworks.fw_config import LAUNCHPAD_LOC
from jobflow import Flow, Job
from jobflow.core.flow import get_flow
from jobflow.managers.fireworks import flow_to_workflow
from pymongo.errors import PyMongoError

from defect_workflows.errors import InputError
from defect_workflows.running.state import JobState, StageStatus
from defect_workflows.running.stores import database_reason

_STATES: dict[str, JobState] = {
    "WAITING": "waiting",
    "READY": "waiting",
    "RESERVED": "waiting",
    "RUNNING": "running",
    "COMPLETED": "done",
    "FIZZLED": "failed",
    "DEFUSED": "stopped",
    "PAUSED": "stopped",
    "ARCHIVED": "stopped",
}


def open_launchpad() -> LaunchPad:
    """Return the LaunchPad that FireWorks' configuration names, if jobs can be put on it.

    Raises
    ------
    InputError
        If its file cannot be read, its database not be reached, or it was never initialised.
    """
    where = LAUNCHPAD_LOC or "LaunchPad on this machine (found no my_launchpad.yaml)"
    try:
        launchpad = LaunchPad.auto_load()
        ready = launchpad.fw_id_assigner.find_one({}) is not None
    except PyMongoError as error:
        raise InputError(
            f"{where}: found {database_reason(error)}, expected a database that can be reached: "
            "correct its host, port, name, username and password"
        ) from None
    except Exception as error:  # of any YAML library; its text may hold a password
        raise InputError(
            f"{where}: found {type(error).__name__}, expected a file as 'lpad init' writes it"
        ) from None
    if not ready:
        raise InputError(f"{where}: was never initialised, expected 'lpad reset' once")
    return launchpad


def submit(
    flow: Flow | Job | list[Job],
    launchpad: LaunchPad,
    *,
    worker: str | None = None,
    category: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> list[int]:
    """Put a flow on a LaunchPad; jobs that it makes on the way inherit worker and category.

    Parameters
    ----------
    flow
        What to run.
    launchpad
        Where.
    worker, category
        FireWorks' name of the worker, or of the kind of worker, that may run it; default any.
    metadata
        Of the workflow, to find it again: see `status`.

    Returns
    -------
    list of int
        The FireWorks ids.
    """
    flow = get_flow(flow)
    wanted = {"_fworker": worker, "_category": category}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    for job, _ in flow.iterflow():
        job.config.manager_config.update(wanted)
    workflow = flow_to_workflow(flow, metadata=metadata or {})  # without the store, see above
    return sorted(launchpad.add_wf(workflow).values())


def status(launchpad: LaunchPad, metadata: dict[str, Any] | None = None) -> list[StageStatus]:
    """Return the state of each stage on a LaunchPad, oldest stage first.

    Parameters
    ----------
    launchpad
        Where.
    metadata
        Of the workflows that count, as given to `submit`; default all.
    """
    criteria = {f"metadata.{name}": value for name, value in (metadata or {}).items()}
    nodes = [
        i for found in launchpad.workflows.find(criteria, {"nodes": 1}) for i in found["nodes"]
    ]
    stages: dict[str, StageStatus] = {}
    wanted = {"spec.stage": 1, "name": 1, "state": 1}
    for firework in launchpad.fireworks.find({"fw_id": {"$in": nodes}}, wanted).sort("fw_id"):
        name = firework.get("spec", {}).get("stage", firework["name"])
        stages.setdefault(name, StageStatus(name)).count(_STATES[firework["state"]])
    return list(stages.values())
