"""Errors and warnings of a result, one line for all of a kind; what is only a fact is left out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from defect_workflows.documents.warnings import LevelWarning, WarningClass
from defect_workflows.terminal import printable

COLOURS: dict[WarningClass, str] = {"error": "red", "warning": "yellow", "note": "cyan"}

MOST_STATES, MOST_TEXTS = 8, 3
"""So many states, and different texts of a kind, are shown in its line; all are in levels.json."""

_NUMBER = re.compile(r"(?<![\w./+-])[+-]?\d+(?:\.\d+)?(?![\w/]|\.\d)")
"""A number that stands alone: none in a name or in a path."""


@dataclass(frozen=True)
class WarningLine:
    """All warnings of one code.

    Attributes
    ----------
    kind
        Class of the code.
    code
        The code.
    text
        What they say, with the states that they are about.
    """

    kind: WarningClass
    code: str
    text: str


def warning_lines(warnings: Sequence[LevelWarning]) -> list[WarningLine]:
    """Return a line per code, errors first, no notes."""
    by_code: dict[str, list[LevelWarning]] = defaultdict(list)
    for warning in warnings:
        by_code[warning.code].append(warning)
    lines = [WarningLine(found[0].kind, code, _together(found)) for code, found in by_code.items()]
    return [line for kind in ("error", "warning") for line in lines if line.kind == kind]


def print_warnings(console: Console, warnings: Sequence[LevelWarning]) -> None:
    """Print errors and warnings, a line for all of a code."""
    for line in warning_lines(warnings):
        print_line(console, line.kind, f"{line.code}: {line.text}")


def print_line(console: Console, kind: WarningClass, text: str) -> None:
    """Print one line that begins with its class."""
    line = Text.assemble((f"{kind} ", COLOURS[kind]), printable(text))
    console.print(line, soft_wrap=True, highlight=False)


def _together(warnings: Sequence[LevelWarning]) -> str:
    """Return what warnings of one code say: states whose texts differ in numbers alone together."""
    alike: dict[tuple[str, ...], list[LevelWarning]] = defaultdict(list)
    for warning in warnings:
        alike[tuple(_NUMBER.split(_text(warning)))].append(warning)
    texts = [_merged(found) for found in alike.values()]
    if len(texts) <= MOST_TEXTS:
        return "; ".join(texts)
    others = dict.fromkeys(
        item.state for found in [*alike.values()][1:] for item in found if item.state
    )
    return f"{texts[0]} (and {len(texts) - 1} more{': ' if others else ''}{_listed([*others])})"


def _merged(warnings: Sequence[LevelWarning]) -> str:
    """Return one text of warnings that differ in states and numbers alone."""
    states = list(dict.fromkeys(item.state for item in warnings if item.state))
    texts = [_text(item) for item in warnings]
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ranges = iter([_range(column) for column in columns])
    text = _NUMBER.sub(lambda _: next(ranges), texts[0])
    return f"{_listed(states)}: {text}" if states else text


def _text(warning: LevelWarning) -> str:
    """Return what a warning says, without the state that it begins with."""
    return warning.message.removeprefix(f"{warning.state}: ")


def _range(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"


def _listed(states: Sequence[str]) -> str:
    more = len(states) - MOST_STATES
    shown = ", ".join(states[:MOST_STATES])
    return f"{shown} and {more} more" if more > 0 else shown
