"""The result folder: levels.json, levels.csv, cost.json, data set, figures, page."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from defect_workflows.documents.campaign import CampaignResult
from defect_workflows.documents.labels import Label
from defect_workflows.documents.levels import DefectLevelsDocument, LevelsResult
from defect_workflows.errors import InputError
from defect_workflows.report.dataset import dataset_xyz
from defect_workflows.report.figures import campaign_figures
from defect_workflows.report.level_figures import level_figures
from defect_workflows.report.levels import levels_table
from defect_workflows.report.page import cost_shares, render, render_levels
from defect_workflows.terminal import printable

PACKAGES = ("defect-workflows", "doped", "pymatgen", "pydefect", "pymatgen-analysis-defects")
"""Packages whose versions decide on levels."""

RESOLUTION = 150
"""Of the figures, dots per inch."""


def write_report(directory: Path | str, result: CampaignResult, labels: Iterable[Label]) -> Path:
    """Write a campaign's result folder; files of an earlier report are replaced.

    Everything is made first and moved in place after, file by file: nothing is ever half-written,
    and other files of the folder are left alone. Figures of an earlier report are removed.

    Parameters
    ----------
    directory
        The folder.
    result
        The finished campaign.
    labels
        The labels of its data set, from the store.

    Raises
    ------
    InputError
        If the folder cannot be written.
    CampaignError
        If a label of the data set is missing.
    """
    figures = _images(campaign_figures(result))
    files = _figure_files(figures) | level_files(result.levels)
    files["cost.json"] = _json(cost(result))
    files["dataset.json"] = _json(result.dataset.model_dump(mode="json"))
    files["dataset.xyz"] = dataset_xyz(result.dataset, labels).encode()
    files["report.html"] = render(result, figures).encode()
    _replace(Path(directory), files)
    return Path(directory)


def write_levels(directory: Path | str, result: LevelsResult) -> Path:
    """Write the result folder of levels alone, as `write_report` does that of a campaign.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    figures = _images(level_figures(result))
    files = _figure_files(figures) | level_files(result)
    versions = {name: version(name) for name in PACKAGES}
    files["report.html"] = render_levels(result, figures, versions).encode()
    _replace(Path(directory), files)
    return Path(directory)


def level_files(result: LevelsResult) -> dict[str, bytes]:
    """Return contents of the files that levels alone need, by name."""
    return {
        "levels.json": _json(result.levels.model_dump(mode="json")),
        "levels.csv": levels_csv(result.levels).encode(),
        "thermodynamics.json": json.dumps(result.thermodynamics).encode(),
    }


def levels_csv(levels: DefectLevelsDocument) -> str:
    """Return the transition levels as CSV, one row each, energies in eV above the VBM."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["defect", "charge", "next_charge", "energy_eV", "error_eV", "in_gap", "verified",
         "converged", "energy_mlip_eV", "rehearsal"]
    )  # fmt: skip
    for level in levels.transition_levels:
        mlip = "" if level.energy_mlip is None else f"{level.energy_mlip:.4f}"
        writer.writerow(
            [_cell(level.defect), *level.charges, f"{level.energy:.4f}", f"{level.error:.4f}",
             level.in_gap, level.verified, level.converged, mlip, levels.rehearsal]
        )  # fmt: skip
    return stream.getvalue()


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: a ' before it says that it is text."""
    text = printable(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def cost(result: CampaignResult) -> dict[str, object]:
    """Return the contents of cost.json: single points per fidelity, wall time per stage in s."""
    return {
        "rehearsal": result.rehearsal,
        "single_points": [count.model_dump() for count in result.single_points],
        "stages": cost_shares(result.cost),
        "seconds": sum(record.seconds for record in result.cost),
        "rounds": len(result.rounds),
        "converged": result.converged,
    }


def summary_table(result: CampaignResult) -> Table:
    """Return a campaign's transition levels as a table for the terminal."""
    return levels_table(result.levels.levels, searched=True)


def _images(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    images = {}
    for name, figure in figures.items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=RESOLUTION)
        images[name] = stream.getvalue()
    return images


def _figure_files(images: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"figures/{name}.png": image for name, image in images.items()}


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _replace(directory: Path, files: dict[str, bytes]) -> None:
    """Move files in place after all of them were written next to it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".report-", dir=directory))
        try:
            for name, content in files.items():
                path = scratch / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            for name in files:
                (directory / name).parent.mkdir(exist_ok=True)
                os.replace(scratch / name, directory / name)
        finally:
            shutil.rmtree(scratch)
        for path in (directory / "figures").glob("*.png"):
            if f"figures/{path.name}" not in files:
                path.unlink()
    except OSError as error:
        raise InputError(
            f"{directory}: found {error.strerror or error}, expected a writable folder"
        ) from error
