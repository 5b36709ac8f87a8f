"""The commented campaign file that `init` writes: every key, its default, its meaning.

What has no default is left empty.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from defect_workflows.campaign import Campaign

_WIDTH = 96


def campaign_template(host: Path) -> str:
    """Return a campaign file for a host structure file, with every default written out."""
    lines = [
        "# A campaign: from the host crystal to the charge transition levels of its defects.",
        "# Give `levels.dielectric` too; every other key stands here with its default.",
        "",
    ]
    for name, field in Campaign.model_fields.items():
        if name == "host":
            lines += _entry(name, field, str(host), "")
            continue
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += ["", f"# {_first_line(section)}", f"{name}:"]
            for key, inner in section.model_fields.items():
                value = (
                    None if inner.is_required() else inner.get_default(call_default_factory=True)
                )
                lines += _entry(key, inner, value, "  ")
        else:
            lines += ["", *_entry(name, field, field.default, "")]
    return "\n".join(lines) + "\n"


def _entry(name: str, field: FieldInfo, value: Any, indent: str) -> list[str]:
    comment = textwrap.wrap(field.description or "", _WIDTH - len(indent))
    text = "" if field.is_required() and value is None else f" {_inline(value)}"
    return [*(f"{indent}# {line}" for line in comment), f"{indent}{name}:{text}"]


def _inline(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000).strip()
    return text.removesuffix("...").strip()


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]
