"""The same graph on a cluster, through FireWorks.

Rockets open the store that jobflow's configuration names on *their* machine: set the environment
variable ``JOBFLOW_CONFIG_FILE`` to a file with the line ``JOB_STORE: /path/of/store.yaml``. So no
credential of the store is ever written into a FireWorks document.
"""

from __future__ import annotations

from typing import Any

from fireworks import LaunchPad
from jobflow import Flow, Job
from jobflow.core.flow import get_flow
from jobflow.managers.fireworks import flow_to_workflow

from defect_workflows.running.state import JobState, StageStatus

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
