"""How all figures look: matplotlib without a display, colours of Okabe and Ito."""

from __future__ import annotations

import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito: told apart by colour-blind readers."""

LINES = ("-", "--", "-.", ":")


def new_figure(width: float, height: float, rehearsal: bool) -> tuple[Figure, Axes]:
    """Return an empty figure with one panel, marked where it is of a rehearsal."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    if rehearsal:
        axes.text(0.5, 0.5, "REHEARSAL", transform=axes.transAxes, ha="center", va="center",
                  fontsize=44, color="0.88", rotation=25, zorder=-1)  # fmt: skip
    return figure, axes


def add_legend(axes: Axes) -> None:
    """Put the legend into headroom above the data, or beside it where it is long."""
    entries = len(axes.get_legend_handles_labels()[0])
    if entries > 6:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
        return
    axes.legend(loc="upper center", ncols=2, edgecolor="none", fontsize=8.5)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.09 * (high - low) * -(-entries // 2))


def style(index: int) -> tuple[str, str]:
    """Return colour and line of the defect of that number."""
    return COLOURS[index % len(COLOURS)], LINES[(index // len(COLOURS)) % len(LINES)]


def split_state(state: str) -> tuple[str, str]:
    """Split a state's name into defect and charge; 'bulk' has none."""
    defect, _, charge = state.rpartition("_")
    return (defect, charge) if defect and re.fullmatch(r"[+-]?\d+", charge) else (state, "")


def signed(charge: int) -> str:
    """Return a charge with its sign, typeset: +1, 0, −2."""
    return f"{charge:+d}".replace("-", "−") if charge else "0"


def formula_text(formula: str) -> str:
    """Return a formula with subscripts as matplotlib's math text."""
    return re.sub(r"(\d+)", r"$_{\1}$", formula)


def plain(text: str) -> str:
    """Return a user's text so that matplotlib reads no math text in it."""
    return text.replace("$", r"\$")


def pretty(defect: str, charge: str = "") -> str:
    """Write v_Cd as matplotlib's math text, with the charge as superscript.

    A name with characters that math text would read is written as it is.
    """
    if not re.fullmatch(r"[\w.+-]*", defect):
        return plain(f"{defect} {charge}".rstrip())
    head, _, site = defect.partition("_")
    site = site.replace("_", r"\_")
    upper = f"^{{{charge}}}" if charge else ""
    return rf"$\mathrm{{{head}}}_{{\mathrm{{{site}}}}}{upper}$" if site else defect
