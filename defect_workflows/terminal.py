"""What users wrote, on a terminal: never markup, never a control sequence, never endless."""

from __future__ import annotations

import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

MOST = 1000
"""Characters of an error line."""


class Terminal(Console):
    """A console that takes every string as it is: names and folders are users' text."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text without reading markup in it."""
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})


def printable(text: str) -> str:
    """Return a text with control characters, and what cannot be encoded, as escapes."""
    return "".join(
        one
        if one.isprintable() or one == "\n" or unicodedata.category(one) == "Zs"
        else one.encode("unicode_escape").decode()
        for one in text
    )


def one_line(text: str, most: int = MOST) -> str:
    """Return a text as one printable line, its middle left out where it is long."""
    line = printable(" ".join(text.split()))
    if len(line) <= most:
        return line
    return f"{line[: most * 2 // 3]} [...] {line[-most // 4 :]}"
