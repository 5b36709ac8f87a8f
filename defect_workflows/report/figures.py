"""The figures of a campaign: those of its levels, of the potential and of the search."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from defect_workflows.documents.campaign import CampaignResult, PotentialSummary
from defect_workflows.documents.defects import BULK
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.documents.search import RelaxationRecord, SearchDocument, VerifiedCandidate
from defect_workflows.fidelity import Fidelity
from defect_workflows.report.level_figures import level_figures
from defect_workflows.report.style import (
    COLOURS,
    add_legend,
    new_figure,
    pretty,
    signed,
    split_state,
)

SPLITS = {"train": ("o", "#56B4E9"), "valid": ("s", "#E69F00"), "test": ("^", "#D55E00")}
VERDICTS = {
    "minimum": ("o", "#0072B2", "minimum"),
    "not_converged": ("s", "#E69F00", "not relaxed to the end"),
    "runaway": ("x", "#CC79A7", "runaway"),
    "out_of_domain": ("+", "#CC79A7", "out of domain"),
}


SMALLEST_ERROR = 1e-2
"""Smaller errors are drawn here, in sigma: a logarithmic axis has no zero."""


def campaign_figures(result: CampaignResult) -> dict[str, Figure]:
    """Return all figures of a campaign, by file name without suffix."""
    figures = level_figures(result.levels)
    if result.potentials:
        last = result.potentials[-1]
        for head in last.heads:
            if any(point.fidelity == head for point in last.parity):
                figures[f"parity_{head}"] = parity(last, head, rehearsal=result.rehearsal)
        if last.calibration is not None:
            figures["calibration"] = calibration(last, rehearsal=result.rehearsal)
    if result.searches:
        search = result.searches[-1]
        for state in dict.fromkeys(record.state for record in search.relaxations):
            if state != "bulk":
                figures[f"distortions_{state}"] = distortions(
                    search, result.verified, state, rehearsal=result.rehearsal
                )
    return figures


def parity(potential: PotentialSummary, head: Fidelity, *, rehearsal: bool) -> Figure:
    """Draw predicted over calculated energies of one head, a panel per charge.

    Label and prediction are both taken relative to the lowest label of the same defect and
    charge: so cells of different composition fit on one axis and every error stays visible.
    """
    points = [point for point in potential.parity if point.fidelity == head]
    charges = sorted({point.charge for point in points}, reverse=True)
    columns = min(len(charges), 4)
    rows = -(-len(charges) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.6, 3.3 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    references: dict[tuple[str, int, int], float] = {}
    for point in points:
        references[_kind(point)] = min(point.energy, references.get(_kind(point), np.inf))
    for axes, charge in zip(panels, charges, strict=False):
        mine = [point for point in points if point.charge == charge]
        for split, (marker, colour) in SPLITS.items():
            some = [point for point in mine if point.split == split]
            if not some:
                continue
            zero = np.array([references[_kind(point)] for point in some])
            axes.errorbar(
                np.array([point.energy for point in some]) - zero,
                np.array([point.predicted for point in some]) - zero,
                yerr=[point.spread if point.sigma is None else point.sigma for point in some],
                fmt=marker,
                color=colour,
                ms=5,
                mec="black",
                mew=0.4,
                elinewidth=0.8,
                label=split,
            )
        low, high = np.sort([*axes.get_xlim(), *axes.get_ylim()])[[0, -1]]
        axes.plot([low, high], [low, high], "-", color="0.5", lw=0.8, zorder=0)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_title(f"charge {signed(charge)}", fontsize=10)
        axes.text(0.04, 0.96, _errors(potential, head, charge), va="top", fontsize=8,
                  transform=axes.transAxes)  # fmt: skip
        axes.set_xlabel("label (eV per cell)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    for axes in panels[len(charges) :]:
        axes.set_axis_off()
    panels[0].set_ylabel("potential (eV per cell)")
    panels[0].legend(loc="lower right", fontsize=8, frameon=False)
    title = f"Energies on the {head} head, round {potential.round}"
    figure.suptitle(title + (" – REHEARSAL" if rehearsal else ""))
    return figure


def calibration(potential: PotentialSummary, *, rehearsal: bool) -> Figure:
    """Draw errors of energies over the distance from what was trained on, in units of sigma.

    Of defect cells that were not trained on: held out, or made since the potential of the round
    before. Each error is divided by the sigma of the potential that made it: potentials of two
    rounds have two sigmas, and no line in eV holds for both.
    """
    figure, axes = new_figure(5.6, 4.0, rehearsal)
    held_out = [point for point in potential.parity if point.split != "train"]
    groups = {"held out": held_out, "made since the round before": potential.later}
    largest, within, shown = 0.0, 0, 0
    for (name, points), marker in zip(groups.items(), "o^", strict=True):
        for head, colour in zip(potential.heads, COLOURS, strict=False):
            mine = [
                (point, point.sigma)
                for point in points
                if point.fidelity == head and point.state != BULK and point.sigma
            ]
            if not mine:
                continue
            distances = [point.distance for point, _ in mine]
            errors = [
                max(abs(point.predicted - point.energy) / sigma, SMALLEST_ERROR)
                for point, sigma in mine
            ]
            within += sum(error <= 1 for error in errors)
            shown += len(errors)
            axes.semilogy(distances, errors, marker, color=colour, ms=5, mec="black", mew=0.4,
                          label=f"{head}, {name}")  # fmt: skip
            largest = max(largest, *distances)
    share = f", holds {within / shown:.0%} of {shown}" if shown else ""
    axes.axhline(1, color="black", lw=1.2, label=f"one sigma{share}")
    axes.set_xlim(0, 1.05 * largest or 1)
    axes.set_xlabel("distance from what was trained on (standard deviations)")
    axes.set_ylabel("error of the energy (sigma of its potential)")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.set_title(f"Errors where it was not trained, round {potential.round}", fontsize=10)
    return figure


def distortions(
    search: SearchDocument, verified: Sequence[VerifiedCandidate], state: str, *, rehearsal: bool
) -> Figure:
    """Draw where every start of a state ended, with the HSE06 single points on it.

    All energies share one zero, the lowest minimum on the potential: the height between a circle
    and the diamond above or below it is the error of the potential.
    """
    records = sorted(
        (record for record in search.relaxations if record.state == state), key=_start_order
    )
    figure, axes = new_figure(max(6.5, 2.2 + 0.33 * len(records)), 4.6, rehearsal)
    # runaways are far below everything: they must not set the scale
    usable = [item.energy for item in records if item.verdict in ("minimum", "not_converged")]
    zero = min(usable, default=min(record.energy for record in records))
    places = {record.start: index for index, record in enumerate(records)}
    for verdict, (marker, colour, label) in VERDICTS.items():
        some = [record for record in records if record.verdict == verdict]
        heights = [record.energy - zero for record in some]
        if some and verdict in ("minimum", "not_converged"):
            axes.plot([places[item.start] for item in some], heights, marker, color=colour,
                      label=f"potential, {label}", ms=7)  # fmt: skip
        elif some:
            axes.plot([places[item.start] for item in some], [0.03] * len(some), marker,
                      color=colour, label=f"stopped: {label} (not to scale)", ms=8, mew=2,
                      transform=axes.get_xaxis_transform())  # fmt: skip
    _draw_single_points(axes, search, verified, state, places, zero)
    axes.set_xticks(
        range(len(records)), [_start_name(item.start) for item in records], rotation=60,
        ha="right", rotation_mode="anchor", fontsize=8.5,
    )  # fmt: skip
    axes.set_xlim(-0.7, len(records) - 0.3)
    axes.margins(y=0.18)
    axes.set_xlabel("start geometry (bond distortion, or how it was made)")
    axes.set_ylabel("energy above the lowest\nminimum of the potential (eV)")
    axes.axhline(0, color="0.6", lw=0.7, zorder=0)
    axes.set_title(f"{pretty(*split_state(state))}, round {search.round}")
    add_legend(axes)
    return figure


def _draw_single_points(
    axes: Axes,
    search: SearchDocument,
    verified: Sequence[VerifiedCandidate],
    state: str,
    places: dict[str, int],
    zero: float,
) -> None:
    """Draw the HSE06 points of the candidates that this search found."""
    found = {item.energy for item in search.candidates if item.state == state}
    first = True
    for item in verified:
        starts = [places[start] for start in item.candidate.starts if start in places]
        if item.candidate.state != state or item.candidate.energy not in found or not starts:
            continue
        points = [item.labels[0].energy - zero] * len(starts)
        axes.plot(starts, points, "D", mfc="none", mec=COLOURS[1], ms=9, mew=1.5,
                  label="HSE06 at that minimum" if first else None)  # fmt: skip
        if len(item.labels) > 1:
            axes.plot(starts, [item.energy - zero] * len(starts), "_", color="black", ms=14, mew=2,
                      label="HSE06, refined" if first else None)  # fmt: skip
        first = False


def _kind(point: ParityPoint) -> tuple[str, int, int]:
    """Return what labels of comparable energy share: defect (or bulk), atoms and charge."""
    return split_state(point.state)[0], point.atoms, point.charge


def _errors(potential: PotentialSummary, head: Fidelity, charge: int) -> str:
    lines = [
        f"{error.split}: {1000 * error.energy_rmse:.1f} meV/atom, "
        f"{1000 * error.force_rmse:.0f} meV/Å"
        for error in potential.errors
        if error.fidelity == head and error.charge == charge
    ]
    return "\n".join(lines)


def _start_order(record: RelaxationRecord) -> tuple[int, float, str]:
    """Sort distortions by size, everything else after them by name."""
    size = _distortion(record.start)
    return (1, 0.0, record.start) if size is None else (0, size, record.start)


def _distortion(start: str) -> float | None:
    match = re.search(r"(-?\d+(?:\.\d+)?)%", start)
    return float(match[1]) if match else None


def _start_name(start: str) -> str:
    """Return a short name that stays unique: '-40.0%', 'Unperturbed'."""
    return start.replace("Bond_Distortion_", "")
