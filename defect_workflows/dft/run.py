"""One VASP run in the working directory, by atomate2's and custodian's ordinary machinery."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import shutil
import socket
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atomate2.common.files import gunzip_files, gzip_output_folder
from atomate2.vasp.files import write_vasp_input_set
from atomate2.vasp.run import DEFAULT_HANDLERS, run_vasp
from custodian.custodian import CustodianError, NonRecoverableError
from custodian.vasp.handlers import FrozenJobErrorHandler
from pymatgen.core import SETTINGS as PYMATGEN_SETTINGS
from pymatgen.core import Structure
from pymatgen.io.vasp import PotcarSingle

from defect_workflows.campaign import DftSettings
from defect_workflows.dft.inputs import SinglePointSet, potcar_symbol
from defect_workflows.dft.supervise import supervised
from defect_workflows.errors import CalculationError, InputError, SettingError
from defect_workflows.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

_FILES_TO_ZIP = [
    "CHGCAR", "CONTCAR", "DOSCAR", "EIGENVAL", "INCAR", "INCAR.orig", "KPOINTS", "KPOINTS.orig",
    "LOCPOT", "OSZICAR", "OUTCAR", "POSCAR", "POSCAR.orig", "WAVECAR", "XDATCAR", "custodian.json",
    "vasp.out", "vasprun.xml",
]  # fmt: skip


HANGS = 2
"""Runs of one calculation that may hang, one after the other, before it is given up."""


def run_single_point(
    structure: Structure,
    inputs: SinglePointSet,
    settings: Settings,
    prev_dir: str | None = None,
    patience: float | None = None,
) -> None:
    """Write the input files, run VASP under custodian and compress what it wrote.

    A run that hangs is repeated once, from the same input files.

    Parameters
    ----------
    structure
        Charged structure, its sites in the order of the POSCAR.
    inputs
        Input set.
    settings
        Machine facts: the VASP command, POTCARs, time limits.
    prev_dir
        ``host:path`` of a run whose WAVECAR may serve as start; used only when it is within reach.
    patience
        Seconds of silence after which VASP counts as hanging. Default: the machine's.

    Raises
    ------
    InputError
        If no VASP command is set, it does not exist, or a POTCAR is missing.
    CalculationError
        If custodian gave up.
    """
    command = shlex.join(supervised(vasp_command(settings)))
    gamma = shlex.join(supervised(vasp_command(settings, gamma=True)))
    handlers = [
        handler for handler in DEFAULT_HANDLERS if not isinstance(handler, FrozenJobErrorHandler)
    ]
    patience = min(patience or settings.vasp_timeout, settings.vasp_timeout)
    scratch: dict[str, Any] = {"scratch_dir": str(settings.scratch)} if settings.scratch else {}
    try:
        for left in reversed(range(HANGS)):
            _write_inputs(structure, inputs, settings, prev_dir)
            try:
                run_vasp(
                    vasp_cmd=command,
                    vasp_gamma_cmd=gamma,
                    max_errors=settings.vasp_max_errors,
                    handlers=[*handlers, FrozenJobErrorHandler(timeout=patience)],
                    **scratch,
                    custodian_kwargs={"polling_time_step": settings.custodian_poll},
                )
                return
            except NonRecoverableError as error:
                if not isinstance(error.handler, FrozenJobErrorHandler):
                    raise
                if not left:
                    raise CalculationError(
                        f"custodian gave up: VASP wrote nothing for {patience:.0f} s, in "
                        f"{HANGS} runs"
                    ) from None
                logger.warning("VASP wrote nothing for %.0f s, it is started again", patience)
                for name in _FILES_TO_ZIP:  # half a WAVECAR is no start
                    Path(name).unlink(missing_ok=True)
    except CustodianError as error:
        raise CalculationError(
            f"custodian gave up ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        ) from None
    finally:
        gzip_output_folder(Path.cwd(), setting="atomate", files_list=_FILES_TO_ZIP)


def _write_inputs(
    structure: Structure, inputs: SinglePointSet, settings: Settings, prev_dir: str | None
) -> None:
    if settings.potcar_directory is not None:
        PYMATGEN_SETTINGS["PMG_VASP_PSP_DIR"] = str(settings.potcar_directory)
    _fetch_wavecar(prev_dir)
    try:
        write_vasp_input_set(structure, inputs)
    except (OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # the disk, no missing POTCAR
        raise InputError(
            f"POTCAR: {' '.join(str(error).split())[:160]} (expected in PMG_VASP_PSP_DIR or "
            "DEFECT_WORKFLOWS_POTCAR_DIRECTORY)"
        ) from None


def vasp_command(settings: Settings, *, gamma: bool = False) -> list[str]:
    """Return program and arguments of vasp_std, or of vasp_gam where one is set.

    As a shell reads them: a path with a space is quoted, ``$VARIABLE`` is replaced.

    Raises
    ------
    InputError
        If none is set, its quotes do not match, or its program cannot be found.
    """
    name, text = f"{PREFIX}VASP_COMMAND", settings.vasp_command
    if gamma and settings.vasp_gamma_command:
        name, text = f"{PREFIX}VASP_GAMMA_COMMAND", settings.vasp_gamma_command
    try:
        command = shlex.split(os.path.expandvars(text or ""))
    except ValueError as error:
        raise InputError(
            f"{name}: found {text!r} ({error}), expected a command as a shell reads it"
        ) from None
    if not command:
        raise InputError(
            f"{name}: found nothing, expected the command that runs VASP (or --rehearse)"
        )
    if shutil.which(command[0]) is None:
        hint = ", expected quotes around a path with spaces" if len(command) > 1 else ""
        raise InputError(f"{name}: found {command[0]!r}, which is no program on this machine{hint}")
    return command


def check_potcars(dft: DftSettings, elements: Iterable[str], settings: Settings) -> list[str]:
    """Check that there is a POTCAR of every element, and that ENCUT is not far too low for it.

    Returns
    -------
    list of str
        One line for each POTCAR whose ENMAX is above ENCUT.

    Raises
    ------
    InputError
        Names the folder and the POTCAR that is not there.
    SettingError
        Names the POTCAR that ENCUT is below the ENMIN of, or the element that has none.
    """
    folder = settings.potcar_directory or PYMATGEN_SETTINGS.get("PMG_VASP_PSP_DIR")
    if not folder:
        raise InputError(
            "DEFECT_WORKFLOWS_POTCAR_DIRECTORY: found nothing, expected the folder of the POTCARs "
            "(or pymatgen's PMG_VASP_PSP_DIR)"
        )
    if settings.potcar_directory is not None:
        PYMATGEN_SETTINGS["PMG_VASP_PSP_DIR"] = str(settings.potcar_directory)
    notes = []
    for element in elements:
        symbol = potcar_symbol(dft, element)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # placeholders are unknown to pymatgen
                found = PotcarSingle.from_symbol_and_functional(symbol, dft.potcar_functional)
        except (OSError, ValueError, KeyError):
            raise InputError(
                f"{folder}: found no POTCAR {symbol} of {dft.potcar_functional}, expected one "
                "(dft.potcars, dft.potcar_functional, DEFECT_WORKFLOWS_POTCAR_DIRECTORY)"
            ) from None
        lowest, enough = (float(found.keywords.get(key, 0.0)) for key in ("ENMIN", "ENMAX"))
        if dft.encut < lowest:
            raise SettingError(
                f"dft.encut: found {dft.encut:g} eV, expected at least ENMIN {lowest:g} eV of the "
                f"POTCAR {symbol}, better its ENMAX {enough:g} eV"
            )
        if dft.encut < enough:
            notes.append(
                f"dft.encut: {dft.encut:g} eV is below ENMAX {enough:g} eV of the POTCAR {symbol}"
            )
    return notes


def here() -> str:
    """Return host:path of the working directory."""
    return f"{socket.gethostname()}:{Path.cwd()}"


def _fetch_wavecar(prev_dir: str | None) -> None:
    """Copy the WAVECAR of an earlier run, if it is within reach: it saves time, nothing else."""
    if prev_dir is None:
        return
    source = Path(prev_dir.split(":", 1)[-1])
    for name in ("WAVECAR.gz", "WAVECAR"):
        if (source / name).is_file():
            shutil.copy(source / name, name)
            gunzip_files(Path.cwd(), include_files=[name], allow_missing=True)
            return
    logger.info("no WAVECAR at %s, starting from scratch", prev_dir)
