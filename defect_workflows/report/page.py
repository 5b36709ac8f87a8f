"""The report as one HTML page that carries its figures."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from defect_workflows.documents.campaign import CampaignResult, CostRecord
from defect_workflows.documents.search import SearchDocument, VerifiedCandidate


def render(result: CampaignResult, figures: Mapping[str, bytes]) -> str:
    """Return the page.

    Parameters
    ----------
    result
        The finished campaign.
    figures
        PNG images by name without suffix.
    """
    environment = Environment(
        loader=PackageLoader("defect_workflows.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "signed": lambda charge: f"{charge:+d}".replace("-", "−") if charge else "0",
        "number": _number,
        "duration": _duration,
    }
    images = {name: base64.b64encode(image).decode() for name, image in figures.items()}
    template = environment.get_template("template.html.jinja")
    return template.render(
        result=result,
        levels=result.levels.levels,
        criteria=criteria(result),
        searches=search_rows(result.searches[-1], result.verified) if result.searches else [],
        costs=cost_shares(result.cost),
        images=images,
    )


def criteria(result: CampaignResult) -> list[dict[str, Any]]:
    """Return what each round reached in every criterion, beside its threshold."""
    asked = result.convergence
    rows = []
    for record in result.rounds:
        energy = max((abs(check.energy_error) for check in record.checks), default=None)
        force = max((check.force_error for check in record.checks), default=None)
        rows += [
            {"round": record.round, "name": name, "value": value, "limit": limit, "unit": unit}
            for name, value, limit, unit in (
                ("energy error at a winner", energy, asked.energy_error, "eV"),
                ("force error at a winner", force, asked.force_error, "eV/Å"),
                ("change of a level", record.level_change, asked.level_change, "eV"),
            )
        ]
    return rows


def search_rows(search: SearchDocument, verified: list[VerifiedCandidate]) -> list[dict[str, Any]]:
    """Return a summary of the last search per state."""
    rows = []
    for state in dict.fromkeys(record.state for record in search.relaxations):
        records = [record for record in search.relaxations if record.state == state]
        minima = [item for item in search.candidates if item.state == state]
        checked = [item for item in verified if item.candidate.state == state]
        lowest = min(minima, key=lambda item: item.energy, default=None)
        untouched = [record for record in records if record.start == "Unperturbed"]
        rows.append(
            {
                "state": state,
                "starts": len(records),
                "verdicts": Counter(record.verdict.replace("_", " ") for record in records),
                "minima": len(minima),
                "lowest": lowest,
                "gain": untouched[0].energy - lowest.energy if untouched and lowest else None,
                "verified": checked,
            }
        )
    return rows


def cost_shares(cost: list[CostRecord]) -> list[dict[str, Any]]:
    """Return the wall time per stage with its share of the total, between 0 and 1."""
    total = sum(record.seconds for record in cost)
    return [
        {**record.model_dump(), "share": record.seconds / total if total else 0.0}
        for record in cost
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
