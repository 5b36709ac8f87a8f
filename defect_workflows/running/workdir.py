"""The work folder of a campaign: which campaign it holds, and what identifies it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from defect_workflows.campaign import Campaign
from defect_workflows.errors import InputError, StoreNotWritableError
from defect_workflows.reuse import fingerprint

RECORD = "campaign.json"
# What may change between two runs in the same folder: nothing that was calculated depends on it.
_MAY_CHANGE = {"convergence", "levels"}


def refuse_other(workdir: Path, campaign: Campaign, rehearsal: bool) -> None:
    """Look, without writing, whether a work folder may be taken for a campaign.

    Raises
    ------
    InputError
        If the folder holds another campaign; names what differs.
    StoreNotWritableError
        If it is no folder.
    """
    if workdir.exists() and not workdir.is_dir():
        raise StoreNotWritableError(f"{workdir}: found a file, expected a folder")
    record = workdir / RECORD
    if record.is_file():
        mine, theirs = _identity(campaign, rehearsal), _recorded(record)
        different = [key for key in mine if mine[key] != theirs.get(key)]
        if different:
            key = different[0]
            raise InputError(
                f"{workdir}: holds another campaign ({key}: found {_short(theirs.get(key))}, "
                f"expected {_short(mine[key])}), give another folder"
            )


def claim(workdir: Path, campaign: Campaign, rehearsal: bool) -> None:
    """Take a work folder for a campaign, or take it up again.

    Raises
    ------
    InputError, StoreNotWritableError
        As `refuse_other`, or if the folder cannot be written.
    """
    refuse_other(workdir, campaign, rehearsal)
    record = workdir / RECORD
    if record.is_file():
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        partial = record.with_suffix(".partial")
        partial.write_text(json.dumps(_identity(campaign, rehearsal), indent=1))
        os.replace(partial, record)
    except OSError as error:
        raise StoreNotWritableError(
            f"{workdir}: found {error.strerror}, expected a writable folder"
        ) from None


def _recorded(record: Path) -> dict[str, Any]:
    """Return what identifies the campaign of a work folder."""
    try:
        found = json.loads(record.read_text())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    else:
        if isinstance(found, dict):
            return found
        reason = f"found {type(found).__name__}"
    raise InputError(
        f"{record}: is damaged ({reason}): if the folder is of this campaign, delete the file, "
        "nothing is lost"
    )


def _identity(campaign: Campaign, rehearsal: bool) -> dict[str, Any]:
    plain = json.loads(campaign.model_dump_json(exclude={"host", *_MAY_CHANGE}))
    settings = {
        f"{section}.{key}" if isinstance(values, dict) else section: value
        for section, values in plain.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
    return {
        "host": fingerprint(campaign.host_structure()),
        "rehearsal": rehearsal,
        **settings,
    }


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
