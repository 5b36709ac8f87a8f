"""Is this machine ready? Each check with what was found and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from jobflow import JobStore

from defect_workflows.dft.run import vasp_command
from defect_workflows.errors import DefectWorkflowsError
from defect_workflows.running.damage import damaged_results
from defect_workflows.running.stores import embedded_store, ensure_writable, store_from_settings
from defect_workflows.settings import (
    PREFIX,
    Settings,
    open_store_file,
    read_settings,
    settings_file,
)

_PACKAGES = (
    "atomate2", "custodian", "doped", "fireworks", "jobflow", "mace-torch", "maggma", "pymatgen",
    "shakenbreak", "torch", "torch-sim-atomistic",
)  # fmt: skip

SHOWN = 5
"""Damaged results that are named."""


@dataclass(frozen=True)
class Check:
    """One thing that a campaign needs."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def examine(workdir: Path | None = None) -> list[Check]:
    """Check settings, VASP command, POTCARs, store, device and versions.

    Parameters
    ----------
    workdir
        Work folder whose results are looked through, beside those of the machine's store.
    """
    try:
        settings = read_settings()
    except DefectWorkflowsError as error:
        return [Check("settings", False, str(error), f"correct {settings_file()} or the variable")]
    return [
        Check("settings", True, f"{settings_file()} and {PREFIX}* variables"),
        _vasp(settings),
        _potcars(settings),
        *_store(settings),
        *([] if workdir is None else _workdir(workdir)),
        _device(),
        _rehearsal(),
        *_versions(),
    ]


def _vasp(settings: Settings) -> Check:
    try:
        return Check("VASP command", True, shlex.join(vasp_command(settings)))
    except DefectWorkflowsError as error:
        mend = f"set {PREFIX}VASP_COMMAND, e.g. 'srun vasp_std'; a rehearsal needs none"
        return Check("VASP command", False, str(error), mend)


def _potcars(settings: Settings) -> Check:
    from pymatgen.core import SETTINGS

    found = settings.potcar_directory or SETTINGS.get("PMG_VASP_PSP_DIR")
    mend = f"set {PREFIX}POTCAR_DIRECTORY or pymatgen's PMG_VASP_PSP_DIR; a rehearsal needs none"
    if not found:
        return Check("POTCARs", False, "no folder set", mend)
    if not any(Path(found).expanduser().glob("POT*/POTCAR*")) and not any(
        Path(found).expanduser().glob("POT*/*/POTCAR*")
    ):
        return Check("POTCARs", False, f"none in {found}", mend)
    return Check("POTCARs", True, str(found))


def _store(settings: Settings) -> list[Check]:
    try:
        store = store_from_settings(settings)
        if store is None:
            found = "none set: `run` keeps an embedded one in its work folder"
            return [Check("store", True, found)]
        if open_store_file() is not None:
            mend = f"chmod 600 {settings.store}: it may hold credentials"
            return [Check("store", False, f"{settings.store} can be read by others", mend)]
        ensure_writable(store)
        return [Check("store", True, str(settings.store)), _results(store)]
    except DefectWorkflowsError as error:
        mend = "start the database, or correct the store file"
        return [Check("store", False, str(error), mend)]


def _workdir(workdir: Path) -> list[Check]:
    """Look through the results in the embedded store of a work folder."""
    if not (workdir / "store.sqlite").is_file():
        mend = "name a work folder of `run` or `ingest`"
        return [Check("results", False, f"{workdir} holds no store.sqlite", mend)]
    store = embedded_store(workdir)
    try:
        store.connect()
        return [_results(store)]
    except DefectWorkflowsError as error:
        return [Check("results", False, str(error), "move store.sqlite away and run again")]


def _results(store: JobStore) -> Check:
    """Check that every result in a store can be read."""
    total, damaged = damaged_results(store)
    if not damaged:
        return Check("results", True, f"{total} in the store, all can be read")
    more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    mend = "run the campaign again: they are left out and computed again"
    return Check("results", False, "; ".join(damaged[:SHOWN]) + more, mend)


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", True, torch.cuda.get_device_name(0))
    return Check("device", True, f"no GPU, {os.cpu_count()} cores: use the preset 'small'")


def _rehearsal() -> Check:
    try:
        return Check("rehearsal", True, f"tblite {importlib.metadata.version('tblite')}")
    except importlib.metadata.PackageNotFoundError:
        mend = "pip install 'defect-workflows[rehearsal]'"
        return Check("rehearsal", False, "tblite is not installed", mend)


def _versions() -> list[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    checks = [Check("python", sys.version_info >= (3, 12), python, "install Python >= 3.12")]
    for name in _PACKAGES:
        try:
            checks.append(Check(name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(name, False, "not installed", "pip install defect-workflows"))
    return checks
