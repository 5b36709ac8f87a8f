"""Is this machine ready? Each check with what was found and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from defect_workflows.dft.run import vasp_command
from defect_workflows.errors import DefectWorkflowsError
from defect_workflows.running.stores import ensure_writable, store_from_settings
from defect_workflows.settings import PREFIX, Settings, read_settings, settings_file

_PACKAGES = (
    "atomate2", "custodian", "doped", "fireworks", "jobflow", "mace-torch", "maggma", "pymatgen",
    "shakenbreak", "torch", "torch-sim-atomistic",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One thing that a campaign needs."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def examine() -> list[Check]:
    """Check settings, VASP command, POTCARs, store, device and versions."""
    try:
        settings = read_settings()
    except DefectWorkflowsError as error:
        return [Check("settings", False, str(error), f"correct {settings_file()} or the variable")]
    return [
        Check("settings", True, f"{settings_file()} and {PREFIX}* variables"),
        _vasp(settings),
        _potcars(settings),
        _store(settings),
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


def _store(settings: Settings) -> Check:
    try:
        store = store_from_settings(settings)
        if store is None:
            return Check("store", True, "none set: `run` keeps an embedded one in its work folder")
        if settings.store is not None and settings.store.expanduser().stat().st_mode & 0o077:
            mend = f"chmod 600 {settings.store}: it may hold credentials"
            return Check("store", False, f"{settings.store} can be read by others", mend)
        ensure_writable(store)
    except DefectWorkflowsError as error:
        return Check("store", False, str(error), "start the database, or correct the store file")
    return Check("store", True, str(settings.store))


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
