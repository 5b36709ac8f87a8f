"""The report as one HTML page that carries its figures: of a campaign, or of levels alone."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from defect_workflows.documents.campaign import CampaignResult, CostRecord
from defect_workflows.documents.levels import LevelsResult, PlanarProfile
from defect_workflows.documents.search import SearchDocument, VerifiedCandidate
from defect_workflows.documents.warnings import CLASSES
from defect_workflows.report.dataset import count_rows, theory_rows
from defect_workflows.report.figures import VERDICTS
from defect_workflows.report.level_figures import correction_figure, limit_figure
from defect_workflows.report.warnings import warning_lines
from defect_workflows.search.risks import NEGLIGIBLE


def render(result: CampaignResult, figures: Mapping[str, bytes]) -> str:
    """Return the page of a campaign.

    Parameters
    ----------
    result
        The finished campaign.
    figures
        PNG images by name without suffix.
    """
    return _page(
        "campaign.html.jinja",
        result.levels,
        figures,
        result.versions,
        searched=True,
        result=result,
        criteria=criteria(result),
        potential_errors=potential_errors(result),
        data=count_rows(result.dataset),
        levels_of_theory=theory_rows(result.dataset),
        searches=search_rows(result.searches[-1], result.verified) if result.searches else [],
        relaxations=relaxation_rows(result.searches[-1]) if result.searches else {},
        costs=cost_shares(result.cost),
    )


def render_levels(
    result: LevelsResult, figures: Mapping[str, bytes], versions: Mapping[str, str]
) -> str:
    """Return the page of levels alone.

    Parameters
    ----------
    result
        The levels.
    figures
        PNG images by name without suffix.
    versions
        Versions of the packages that decide on the numbers.
    """
    return _page("levels.html.jinja", result, figures, versions, searched=False)


def _page(
    template: str,
    found: LevelsResult,
    figures: Mapping[str, bytes],
    versions: Mapping[str, str],
    **content: Any,
) -> str:
    levels = found.levels
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
        "scientific": lambda value: f"{value:.1e}".replace("-", "−"),
        "duration": _duration,
    }
    return environment.get_template(template).render(
        levels=levels,
        warning_lines=warning_lines(levels.warnings),
        classes=CLASSES,
        images={name: base64.b64encode(image).decode() for name, image in figures.items()},
        limit_figures={limit.name: limit_figure(limit.name) for limit in levels.limits},
        corrections={item.state: correction_figure(item.state) for item in found.profiles},
        wide_corrections={
            item.state: isinstance(item.profile, PlanarProfile) for item in found.profiles
        },
        versions=versions,
        **content,
    )


def criteria(result: CampaignResult) -> list[dict[str, Any]]:
    """Return what each round reached in every criterion, beside its threshold."""
    limit = result.convergence.level_change
    rows = []
    for record in result.rounds:
        lower = max((risk.energy for risk in record.risks), default=0.0)
        open_starts = sum(risk.unresolved + risk.unfinished for risk in record.risks)
        missing = len(record.risks) - len(record.checks)
        rows += [
            {"round": record.round, "name": name, "value": value, "limit": limit, "unit": unit}
            for name, value, limit, unit in (
                ("change of a level", record.level_change, limit, "eV"),
                ("unverified minimum expected to be lower", lower, NEGLIGIBLE, "eV"),
                ("starts whose end is not known", open_starts, 0, ""),
                ("states without a single point", missing, 0, ""),
            )
        ]
    return rows


def potential_errors(result: CampaignResult) -> list[dict[str, Any]]:
    """Return the largest errors of each round's potential at the winners: no criterion."""
    return [
        {
            "round": record.round,
            "energy": max((abs(check.energy_error) for check in record.checks), default=None),
            "force": max((check.force_error for check in record.checks), default=None),
        }
        for record in result.rounds
    ]


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
                "verdicts": Counter(VERDICTS[record.verdict][2] for record in records),
                "minima": len(minima),
                "lowest": lowest,
                "gain": untouched[0].energy - lowest.energy if untouched and lowest else None,
                "verified": checked,
            }
        )
    return rows


def relaxation_rows(search: SearchDocument) -> dict[str, list[dict[str, Any]]]:
    """Return every start of a search by state: minima first, by cluster, then the others.

    Energies are relative to the lowest minimum of the state, or to its lowest start without one.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    for state in dict.fromkeys(record.state for record in search.relaxations):
        records = [record for record in search.relaxations if record.state == state]
        minima = [record.energy for record in records if record.cluster is not None]
        zero = min(minima or [record.start_energy for record in records])
        tables[state] = [
            {
                "record": record,
                "start_energy": record.start_energy - zero,
                "energy": record.energy - zero,
                "verdict": VERDICTS[record.verdict][2],
            }
            for record in sorted(
                records,
                key=lambda record: (
                    record.cluster is None,
                    record.cluster or 0,
                    record.verdict,
                    record.start,
                ),
            )
        ]
    return tables


def cost_shares(cost: list[CostRecord]) -> list[dict[str, Any]]:
    """Return the wall time per stage with its share of the total, between 0 and 1."""
    total = sum(record.seconds for record in cost)
    return [
        {**record.model_dump(), "share": record.seconds / total if total else 0.0}
        for record in cost
    ]


def _number(value: float | None, digits: int = 3) -> str:
    if isinstance(value, int):
        return str(value)
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
