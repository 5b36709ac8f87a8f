"""Chemical potentials: given by the user, or limits from competing phases (doped)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymatgen.core import Composition
from pymatgen.entries.computed_entries import ComputedEntry

from defect_workflows.documents.levels import ChemicalPotentialLimit
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import InputError

GIVEN = "given"
"""Name of the limit that a user's own chemical potentials are."""


def given_potentials(potentials: Mapping[str, float] | None) -> list[ChemicalPotentialLimit]:
    """Return a user's own chemical potentials as the one limit; none as no limit."""
    if not potentials:
        return []
    return [
        ChemicalPotentialLimit(name=GIVEN, chemical_potentials=dict(potentials), chosen=True),
    ]


def limits_from_phases(
    host: Composition, phases: Iterable[tuple[Composition, float]], wanted: str | None = None
) -> tuple[list[ChemicalPotentialLimit], list[LevelWarning]]:
    """Return the limits of the chemical potentials that competing phases set.

    Parameters
    ----------
    host
        Composition of the host.
    phases
        Composition and energy in eV of each calculation, the host's own included.
    wanted
        Limit to choose: its name, or X-rich, X-poor. Default: the first.

    Raises
    ------
    InputError
        If phases are missing, or there is no such limit.
    """
    from doped.chemical_potentials import CompetingPhasesAnalyzer

    entries = [ComputedEntry(composition, energy) for composition, energy in phases]
    known = {
        element.symbol
        for entry in entries
        if len(entry.composition) == 1
        for element in entry.composition
    }
    if missing := sorted({element.symbol for element in host} - known):
        raise InputError(
            f"chemical_potentials.dirs: found no elemental phase of {', '.join(missing)}, "
            "expected one per element of the host"
        )
    if not any(e.composition.reduced_formula == host.reduced_formula for e in entries):
        raise InputError(
            f"chemical_potentials.dirs: found no calculation of {host.reduced_formula}, "
            "expected the host among the phases"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analyzer = CompetingPhasesAnalyzer(
            host.reduced_formula, entries, verbose=False, check_compatibility=False
        )
    found = []
    if analyzer.unstable_host:
        above = analyzer.phase_diagram.get_e_above_hull(analyzer.bulk_entry)
        found.append(
            LevelWarning(
                code="host_unstable",
                message=f"{host.reduced_formula} lies {above:.3f} eV/atom above the hull of its "
                "competing phases: its one limit is an approximation",
            )
        )
    limits = analyzer.chempots["limits"]
    chosen = _chosen(limits, wanted)
    return [
        ChemicalPotentialLimit(
            name=name,
            chemical_potentials=_floats(absolute),
            relative=_floats(analyzer.chempots["limits_wrt_el_refs"][name]),
            chosen=name == chosen,
        )
        for name, absolute in limits.items()
    ], found


def doped_potentials(limits: Sequence[ChemicalPotentialLimit]) -> dict[str, Any] | None:
    """Return limits as doped has them; None for none."""
    if not limits:
        return None
    (chosen,) = [limit for limit in limits if limit.chosen]
    if chosen.relative is None:
        return dict(chosen.chemical_potentials)
    return {
        "limits": {limit.name: dict(limit.chemical_potentials) for limit in limits},
        "elemental_refs": {
            symbol: chosen.chemical_potentials[symbol] - energy
            for symbol, energy in chosen.relative.items()
        },
        "limits_wrt_el_refs": {limit.name: dict(limit.relative or {}) for limit in limits},
    }


def _chosen(limits: Mapping[str, Mapping[str, float]], wanted: str | None) -> str:
    if wanted is None:
        return next(iter(limits))
    if wanted in limits:
        return wanted
    symbol, _, kind = wanted.rpartition("-")
    if kind in ("rich", "poor") and symbol in next(iter(limits.values())):
        extreme = max if kind == "rich" else min
        return extreme(limits, key=lambda name: limits[name][symbol])
    raise InputError(
        f"chemical_potentials.limit: found {wanted!r}, expected one of {', '.join(limits)}, "
        "or an element of them with -rich or -poor"
    )


def _floats(potentials: Mapping[str, float]) -> dict[str, float]:
    return {str(symbol): float(energy) for symbol, energy in potentials.items()}
