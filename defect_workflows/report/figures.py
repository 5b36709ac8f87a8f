"""The figures of a report: matplotlib without a display, colours of Okabe and Ito."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from defect_workflows.documents.campaign import CampaignResult, PotentialSummary
from defect_workflows.documents.levels import DefectLevelsDocument, StateEnergy, TransitionLevel
from defect_workflows.documents.potential import ParityPoint
from defect_workflows.documents.search import RelaxationRecord, SearchDocument, VerifiedCandidate
from defect_workflows.fidelity import Fidelity

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito: told apart by colour-blind readers."""

LINES = ("-", "--", "-.", ":")
MARGIN = 0.3
"""What is shown beyond the band edges in eV."""

FEW_DEFECTS = 4
"""With more of them, a formation energy diagram shows the stable charges only, unnamed."""

SPLITS = {"train": ("o", "#56B4E9"), "valid": ("s", "#E69F00"), "test": ("^", "#D55E00")}
VERDICTS = {
    "minimum": ("o", "#0072B2", "minimum"),
    "not_converged": ("s", "#E69F00", "not converged"),
    "runaway": ("x", "#CC79A7", "runaway"),
    "out_of_domain": ("+", "#CC79A7", "out of domain"),
}


def level_figures(levels: DefectLevelsDocument) -> dict[str, Figure]:
    """Return the figures that levels alone need, by file name without suffix."""
    return {
        "formation_energies": formation_energies(levels),
        "transition_levels": transition_levels(levels),
    }


def campaign_figures(result: CampaignResult) -> dict[str, Figure]:
    """Return all figures of a campaign, by file name without suffix."""
    figures = level_figures(result.levels.levels)
    if result.potentials:
        last = result.potentials[-1]
        for head in last.heads:
            if any(point.fidelity == head for point in last.parity):
                figures[f"parity_{head}"] = parity(last, head, rehearsal=result.rehearsal)
    if result.searches:
        search = result.searches[-1]
        for state in dict.fromkeys(record.state for record in search.relaxations):
            if state != "bulk":
                figures[f"distortions_{state}"] = distortions(
                    search, result.verified, state, rehearsal=result.rehearsal
                )
    return figures


def formation_energies(levels: DefectLevelsDocument) -> Figure:
    """Draw formation energies over the Fermi level: the stable charges of each defect.

    With few defects, every charge state is drawn too (dotted) and the stable ones are named.
    """
    figure, axes = _figure(7.0, 4.8, levels.rehearsal)
    few = len(_defects(levels)) <= FEW_DEFECTS
    fermi = np.linspace(-MARGIN, levels.band_gap + MARGIN, 600)
    _shade_bands(axes, levels.band_gap, vertical=True)
    lowest: list[float] = []
    highest: list[float] = []
    for index, defect in enumerate(_defects(levels)):
        colour, line = _style(index)
        states = _states_in_levels(levels, defect)
        energies = {state.charge: state.formation_energy + state.charge * fermi for state in states}
        if not energies:
            continue
        envelope = np.min(list(energies.values()), axis=0)
        verified = all(state.verified for state in states)
        label = _pretty(defect) + ("" if verified else " (not all verified)")
        axes.plot(fermi, envelope, line, color=colour, lw=2.2, label=label)
        if few:
            for values in energies.values():
                axes.plot(fermi, values, ":", color=colour, lw=0.8, alpha=0.7)
            _write_charges(axes, fermi, energies, envelope, colour)
        inside = [item for item in levels.transition_levels if item.defect == defect]
        axes.plot(
            [item.energy for item in inside],
            np.interp([item.energy for item in inside], fermi, envelope),
            "o",
            color=colour,
            ms=6,
            mec="white",
        )
        lowest.append(float(envelope.min()))
        highest.append(float(envelope.max()))
    span = max(max(highest) - min(lowest), 0.5)
    axes.set_xlim(fermi[0], fermi[-1])
    axes.set_ylim(min(lowest) - 0.12 * span, max(highest) + 0.12 * span)
    axes.set_xlabel("Fermi level above the VBM (eV)")
    reference = "" if levels.chemical_potentials else "\n(elemental references 0)"
    axes.set_ylabel(f"Formation energy (eV){reference}")
    axes.set_title(f"Defects in {_formula(levels.host)}")
    _legend(axes)
    return figure


def transition_levels(levels: DefectLevelsDocument) -> Figure:
    """Draw the transition levels between the band edges, those of the potential alone beside."""
    defects = [
        defect
        for defect in _defects(levels)
        if any(item.defect == defect for item in levels.transition_levels)
    ]
    figure, axes = _figure(max(5.0, 2.4 + 1.5 * len(defects)), 4.8, levels.rehearsal)
    low, high = -MARGIN, levels.band_gap + MARGIN
    _shade_bands(axes, levels.band_gap, vertical=False)
    hidden: list[TransitionLevel] = []
    for position, defect in enumerate(defects):
        mine = [item for item in levels.transition_levels if item.defect == defect]
        shown = [item for item in mine if low + 0.05 < item.energy < high - 0.05]
        hidden += [item for item in mine if item not in shown]
        heights = _spread([item.energy for item in shown], 0.05 * (high - low))
        for item, height in zip(shown, heights, strict=True):
            style = "-" if item.verified else "--"
            axes.plot([position - 0.3, position], [item.energy] * 2, style, color="black", lw=2.2)
            axes.errorbar(
                position - 0.15, item.energy, yerr=item.error, color="black", capsize=3, lw=1
            )
            if item.energy_mlip is not None:
                axes.plot(position - 0.36, item.energy_mlip, "D", mfc="none", mec=COLOURS[1], ms=6)
            axes.text(position + 0.04, height, _level_name(item), va="center", fontsize=9)
    axes.plot([], [], "-", color="black", lw=2.2, label="HSE06 single points")
    axes.plot([], [], "--", color="black", lw=2.2, label="not verified")
    axes.plot([], [], "D", mfc="none", mec=COLOURS[1], label="potential alone")
    axes.set_xlim(-0.6, max(len(defects), 1) - 0.35)
    axes.set_ylim(low, high)
    axes.set_xticks(range(len(defects)), [_pretty(defect) for defect in defects])
    axes.set_ylabel("Energy above the VBM (eV)")
    axes.set_title(f"Charge transition levels in {_formula(levels.host)}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    if hidden:
        names = "; ".join(f"{item.defect} {_level_name(item)} eV" for item in hidden)
        width = int(15 * figure.get_figwidth())
        axes.set_xlabel(textwrap.fill(f"Outside this range: {names}", width), fontsize=8)
    elif not defects:
        axes.text(0.0, levels.band_gap / 2, "no transition levels", ha="center", va="center")
    return figure


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
                yerr=[point.spread for point in some],
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
        axes.set_title(f"charge {_signed(charge)}", fontsize=10)
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
    figure, axes = _figure(max(6.5, 2.2 + 0.33 * len(records)), 4.6, rehearsal)
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
    axes.set_title(f"{_pretty(*_split(state))}, round {search.round}")
    _legend(axes)
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


def _figure(width: float, height: float, rehearsal: bool) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    if rehearsal:
        axes.text(0.5, 0.5, "REHEARSAL", transform=axes.transAxes, ha="center", va="center",
                  fontsize=44, color="0.88", rotation=25, zorder=-1)  # fmt: skip
    return figure, axes


def _shade_bands(axes: Axes, gap: float, *, vertical: bool) -> None:
    span = axes.axvspan if vertical else axes.axhspan
    span(-100, 0, color="#56B4E9", alpha=0.18, lw=0)
    span(gap, 100 + gap, color="#E69F00", alpha=0.18, lw=0)


def _write_charges(
    axes: Axes,
    fermi: np.ndarray,
    energies: dict[int, np.ndarray],
    envelope: np.ndarray,
    colour: str,
) -> None:
    """Write the charge over its part of the envelope where there is room."""
    for charge, values in energies.items():
        stable = np.flatnonzero(np.isclose(values, envelope))
        if len(stable) > 0.06 * len(fermi):
            middle = stable[len(stable) // 2]
            axes.annotate(_signed(charge), (fermi[middle], envelope[middle]), xytext=(0, 6),
                          textcoords="offset points", ha="center", color=colour,
                          fontsize=10)  # fmt: skip


def _legend(axes: Axes) -> None:
    """Put the legend into headroom above the data, or beside it where it is long."""
    entries = len(axes.get_legend_handles_labels()[0])
    if entries > 6:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
        return
    axes.legend(loc="upper center", ncols=2, edgecolor="none", fontsize=8.5)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.09 * (high - low) * -(-entries // 2))


def _style(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], LINES[(index // len(COLOURS)) % len(LINES)]


def _defects(levels: DefectLevelsDocument) -> list[str]:
    return list(dict.fromkeys(state.defect for state in levels.states))


def _states_in_levels(levels: DefectLevelsDocument, defect: str) -> list[StateEnergy]:
    """Return the states that levels are made of: not the unverified, uncorrected ones."""
    return [
        state
        for state in levels.states
        if state.defect == defect and (state.verified or state.charge == 0)
    ]


def _kind(point: ParityPoint) -> tuple[str, int, int]:
    """Return what labels of comparable energy share: defect (or bulk), atoms and charge."""
    return _split(point.state)[0], point.atoms, point.charge


def _split(state: str) -> tuple[str, str]:
    """Split a state's name into defect and charge; 'bulk' has none."""
    defect, _, charge = state.rpartition("_")
    return (defect, charge) if defect and re.fullmatch(r"[+-]?\d+", charge) else (state, "")


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


def _spread(values: Iterable[float], distance: float) -> list[float]:
    """Return heights for labels of ascending values that keep a distance from each other."""
    heights = list(values)
    order = np.argsort(heights)
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + distance)
    return heights


def _level_name(level: TransitionLevel) -> str:
    upper, lower = map(_signed, level.charges)
    return f"({upper}/{lower}) {level.energy:.2f}".replace("-", "−")


def _signed(charge: int) -> str:
    return f"{charge:+d}".replace("-", "−") if charge else "0"


def _formula(formula: str) -> str:
    return re.sub(r"(\d+)", r"$_{\1}$", formula)


def _pretty(defect: str, charge: str = "") -> str:
    """Write v_Cd as matplotlib's math text, with the charge as superscript."""
    head, _, site = defect.partition("_")
    site = site.replace("_", r"\_")
    upper = f"^{{{charge}}}" if charge else ""
    return rf"$\mathrm{{{head}}}_{{\mathrm{{{site}}}}}{upper}$" if site else defect
