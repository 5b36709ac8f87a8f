"""Labels put together: refused ones listed, one level of theory checked."""

from __future__ import annotations

from collections.abc import Iterable

from defect_workflows.campaign import DftSettings
from defect_workflows.dft.consistency import check_one_level_of_theory
from defect_workflows.documents.defects import PRISTINE
from defect_workflows.documents.labels import Label, LabelSet, RefusedLabel
from defect_workflows.errors import CampaignError


def collect(
    results: Iterable[Label | RefusedLabel], settings: DftSettings, previous: LabelSet | None = None
) -> LabelSet:
    """Return all labels so far, without those far above the lowest of their kind.

    Raises
    ------
    CampaignError
        If a larger share is refused than the campaign allows, names the first reason; or if the
        pristine supercell has no band gap at HSE06: all that would follow is for nothing.
    LevelOfTheoryError
        If two labels differ in a setting.
    """
    results = list(results)
    labels = [result for result in results if isinstance(result, Label)]
    refused = [result for result in results if isinstance(result, RefusedLabel)]
    for label in labels:
        if label.configuration.origin.family == PRISTINE and label.fidelity == "hse06":
            _check_gap(label)
    if previous is not None:
        known = {label.fingerprint for label in labels}
        labels = [label for label in previous.labels if label.fingerprint not in known] + labels
        refused = previous.refused + refused
    lowest: dict[tuple[str, str, int], float] = {}
    for label in labels:
        key = _kind(label)
        lowest[key] = min(label.energy, lowest.get(key, label.energy))
    kept = []
    for label in labels:
        above = (label.energy - lowest[_kind(label)]) / len(label.configuration.structure)
        if above <= settings.max_energy_per_atom:
            kept.append(label)
        else:
            refused.append(
                refuse(label, f"energy {above:.2f} eV/atom above the lowest of its kind")
            )
    total = len(kept) + len(refused)
    if refused and len(refused) > settings.max_refused_share * total:
        raise CampaignError(
            f"{len(refused)} of {total} labels refused, expected at most "
            f"{settings.max_refused_share:.0%}; the first: {_described(refused[0])}"
        )
    check_one_level_of_theory(kept, settings.differing)
    return LabelSet(labels=kept, refused=refused)


def _described(refused: RefusedLabel) -> str:
    """Return which calculation of which state it is, why it is refused and where it ran."""
    origin = refused.configuration.origin
    where = f" (in {refused.directory})" if refused.directory else ""
    return f"{refused.fidelity} of {origin.state} ({origin.family}): {refused.reason}{where}"


def _check_gap(label: Label) -> None:
    """Stop at a host without a gap; the stand-in's gap is not the host's, a rehearsal goes on."""
    gapless = label.vbm is None or label.cbm is None or label.cbm <= label.vbm
    if gapless and not label.rehearsal:
        raise CampaignError(
            f"no_band_gap: {label.directory}: found VBM {label.vbm} and CBM {label.cbm} eV of the "
            "pristine supercell at HSE06, expected a gap: no level could be referred to it"
        )


def refuse(label: Label, reason: str) -> RefusedLabel:
    """Return the refusal of a label."""
    return RefusedLabel(
        fingerprint=label.fingerprint,
        configuration=label.configuration,
        fidelity=label.fidelity,
        reason=reason,
        directory=label.directory,
        seconds=label.seconds,
    )


def _kind(label: Label) -> tuple[str, str, int]:
    formula = label.configuration.structure.composition.formula
    return label.fidelity, formula, label.charge
