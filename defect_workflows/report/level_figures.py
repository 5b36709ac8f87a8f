"""The figures that levels alone need: formation energies, levels, corrections."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    CorrectionProfile,
    DefectLevelsDocument,
    LevelsResult,
    PlanarProfile,
    SiteProfile,
    StateEnergy,
    TransitionLevel,
)
from defect_workflows.report.style import (
    COLOURS,
    add_legend,
    formula_text,
    new_figure,
    plain,
    pretty,
    signed,
    split_state,
    style,
)

MARGIN = 0.3
"""What is shown beyond the band edges in eV."""

FEW_DEFECTS = 4
"""With more of them, a formation energy diagram shows the stable charges only, unnamed."""


def level_figures(result: LevelsResult) -> dict[str, Figure]:
    """Return the figures that levels alone need, by file name without suffix."""
    levels = result.levels
    figures = {
        "formation_energies": formation_energies(levels),
        "transition_levels": transition_levels(levels),
    }
    for limit in levels.limits:
        if not limit.chosen:
            figures[limit_figure(limit.name)] = formation_energies(levels, limit)
    for item in result.profiles:
        figures[correction_figure(item.state)] = correction(item, levels.rehearsal)
    return figures


def limit_figure(limit: str) -> str:
    """Return the file name of the formation energies at a limit."""
    return f"formation_energies_{_file_name(limit)}"


def correction_figure(state: str) -> str:
    """Return the file name of the correction plot of a state."""
    return f"correction_{_file_name(state)}"


def formation_energies(
    levels: DefectLevelsDocument, limit: ChemicalPotentialLimit | None = None
) -> Figure:
    """Draw formation energies over the Fermi level: the stable charges of each defect.

    With few defects, every charge state is drawn too (dotted) and the stable ones are named.

    Parameters
    ----------
    levels
        The levels.
    limit
        Limit of the chemical potentials. Default: the chosen one.
    """
    figure, axes = new_figure(7.0, 4.8, levels.rehearsal)
    few = len(_defects(levels)) <= FEW_DEFECTS
    fermi = np.linspace(-MARGIN, levels.band_gap + MARGIN, 600)
    _shade_bands(axes, levels.band_gap, vertical=True)
    lowest: list[float] = []
    highest: list[float] = []
    for index, defect in enumerate(_defects(levels)):
        colour, line = style(index)
        states = _states_in_levels(levels, defect)
        energies = {
            state.charge: _formation_energy(state, limit) + state.charge * fermi for state in states
        }
        if not energies:
            continue
        envelope = np.min(list(energies.values()), axis=0)
        verified = all(state.verified for state in states)
        label = pretty(defect) + ("" if verified else " (not all verified)")
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
    shown = limit or next((one for one in levels.limits if one.chosen), None)
    at = f" at {plain(shown.name)}" if shown is not None and len(levels.limits) > 1 else ""
    axes.set_title(f"Defects in {formula_text(levels.host)}{at}")
    add_legend(axes)
    return figure


def transition_levels(levels: DefectLevelsDocument) -> Figure:
    """Draw the transition levels between the band edges, those of the potential alone beside."""
    defects = [
        defect
        for defect in _defects(levels)
        if any(item.defect == defect for item in levels.transition_levels)
    ]
    figure, axes = new_figure(max(5.0, 2.4 + 1.5 * len(defects)), 4.8, levels.rehearsal)
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
    if searched := any(item.energy_mlip is not None for item in levels.transition_levels):
        axes.plot([], [], "-", color="black", lw=2.2, label="HSE06 single points")
        axes.plot([], [], "--", color="black", lw=2.2, label="not verified")
        axes.plot([], [], "D", mfc="none", mec=COLOURS[1], label="potential alone")
    axes.set_xlim(-0.6, max(len(defects), 1) - 0.35)
    axes.set_ylim(low, high)
    axes.set_xticks(range(len(defects)), [pretty(defect) for defect in defects])
    axes.set_ylabel("Energy above the VBM (eV)")
    axes.set_title(f"Charge transition levels in {formula_text(levels.host)}")
    if searched:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    if hidden:
        names = "; ".join(f"{plain(item.defect)} {_level_name(item)} eV" for item in hidden)
        width = int(15 * figure.get_figwidth())
        axes.set_xlabel(textwrap.fill(f"Outside this range: {names}", width), fontsize=8)
    elif not defects:
        axes.text(0.0, levels.band_gap / 2, "no transition levels", ha="center", va="center")
    return figure


def correction(item: CorrectionProfile, rehearsal: bool) -> Figure:
    """Draw what the correction of a charged state was made of."""
    made = item.correction
    error = "" if made.error is None else f" ± {made.error:.3f}"
    title = (
        f"{pretty(*split_state(item.state))}: {made.scheme} {made.energy:.3f}{error} eV".replace(
            "-", "−"
        )
    )
    if isinstance(item.profile, SiteProfile):
        return _site_potentials(item.profile, title, rehearsal)
    return _planar_averages(item.profile, title, rehearsal)


def _site_potentials(profile: SiteProfile, title: str, rehearsal: bool) -> Figure:
    figure, axes = new_figure(6.2, 4.4, rehearsal)
    distances, differences = np.array(profile.distances), np.array(profile.differences)
    elements = np.array(profile.elements)
    axes.axvspan(profile.radius, distances.max() + 0.3, color="0.92", lw=0, label="sampling region")
    for element, colour in zip(sorted(set(profile.elements)), COLOURS[2:], strict=False):
        mine = elements == element
        axes.plot(distances[mine], differences[mine], "o", ms=4.5, color=colour, mec="white",
                  mew=0.4, label=f"{element}: defect − bulk")  # fmt: skip
    sampled = np.array([value is not None for value in profile.point_charge])
    model = np.array([value for value in profile.point_charge if value is not None])
    axes.plot(distances[sampled], model, "+", ms=6, color=COLOURS[0], label="periodic charges")
    axes.plot(distances[sampled], differences[sampled] - model, "x", ms=4.5, color=COLOURS[1],
              label="difference of both")  # fmt: skip
    axes.plot([profile.radius, distances.max() + 0.3], [profile.alignment] * 2, "--",
              color=COLOURS[1], lw=1.2, label=f"alignment {profile.alignment:.3f} V")  # fmt: skip
    axes.axhline(0, color="0.6", lw=0.7, zorder=0)
    axes.set_xlim(0, distances.max() + 0.3)
    axes.set_xlabel("distance from the defect (Å)")
    axes.set_ylabel("potential (V)")
    axes.set_title(title)
    axes.legend(fontsize=8, edgecolor="none", loc="best")
    return figure


def _planar_averages(profile: PlanarProfile, title: str, rehearsal: bool) -> Figure:
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, made, name in zip(panels, profile.axes, "abc", strict=True):
        first, last = (made.positions[i] for i in made.sampling)
        axes.axvspan(first, last, color="0.92", lw=0, label="sampling region")
        axes.plot(made.positions, made.difference, color=COLOURS[2], label="defect − bulk")
        axes.plot(made.positions, made.long_range, color=COLOURS[0], label="periodic charges")
        axes.plot(made.positions, made.short_range, color=COLOURS[1], label="difference of both")
        axes.axhline(made.alignment, ls="--", color=COLOURS[1], lw=1.2,
                     label="alignment")  # fmt: skip
        axes.text(0.03, 0.97, f"alignment {made.alignment:.3f} V", va="top", fontsize=8,
                  transform=axes.transAxes)  # fmt: skip
        axes.set_xlim(made.positions[0], made.positions[-1])
        axes.set_xlabel(f"position along {name} (Å)")
    panels[0].set_ylabel("planar average (V)")
    figure.suptitle(title + (" – REHEARSAL" if rehearsal else ""))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
    return figure


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
            axes.annotate(signed(charge), (fermi[middle], envelope[middle]), xytext=(0, 6),
                          textcoords="offset points", ha="center", color=colour,
                          fontsize=10)  # fmt: skip


def _defects(levels: DefectLevelsDocument) -> list[str]:
    return list(dict.fromkeys(state.defect for state in levels.states))


def _states_in_levels(levels: DefectLevelsDocument, defect: str) -> list[StateEnergy]:
    """Return the states that levels are made of: not the unverified, uncorrected ones."""
    return [
        state
        for state in levels.states
        if state.defect == defect and (state.verified or state.charge == 0)
    ]


def _spread(values: Iterable[float], distance: float) -> list[float]:
    """Return heights for labels of ascending values that keep a distance from each other."""
    heights = list(values)
    order = np.argsort(heights)
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + distance)
    return heights


def _level_name(level: TransitionLevel) -> str:
    upper, lower = map(signed, level.charges)
    return f"({upper}/{lower}) {level.energy:.2f}".replace("-", "−")


def _formation_energy(state: StateEnergy, limit: ChemicalPotentialLimit | None) -> float:
    return state.formation_energy if limit is None else state.formation_energies[limit.name]


def _file_name(text: str) -> str:
    """Return a text as part of a file name, another one for every text.

    What is odd in a file name is replaced, and what is long is cut; a part of the text's hash then
    tells it from others that would be written the same.
    """
    kept = re.sub(r"[^A-Za-z0-9_.+-]+", "_", text)[:80]
    return text if kept == text else f"{kept}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
