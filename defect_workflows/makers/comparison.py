"""What stands against using calculations together: settings, band edges, geometry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from defect_workflows.calculations import state_name
from defect_workflows.dft.differences import ELECTRONIC, PARTLY_OCCUPIED, Difference
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.levels import MetastableState
from defect_workflows.levels.checks import Notes
from defect_workflows.vacuum import VACUUM, vacuum_geometry


def without_edges(bulk: FinishedCalculation) -> str | None:
    """Return why a bulk shows no band edges, None where it does."""
    edges = bulk.band_edges
    if edges is None:
        return "no band edges"
    if edges.cbm <= edges.vbm:
        return (
            f"an empty state at {edges.cbm:.3f} eV below an occupied one at {edges.vbm:.3f} eV (a "
            "metal, or an excited state)"
        )
    if edges.partial > PARTLY_OCCUPIED:
        return (
            f"a state that is occupied by {edges.partial:.2f} or {1 - edges.partial:.2f} (a metal, "
            "or smearing wider than the gap)"
        )
    return None


def note_left_out(notes: Notes, metastable: Iterable[MetastableState]) -> None:
    """Note calculations that did not compete for the lowest of their state."""
    for item in metastable:
        if item.differs:
            name = state_name(item.defect, item.charge)
            notes.add(
                "calculation_left_out",
                f"{name}: {item.directory} did not compete for the lowest: "
                + "; ".join(item.differs),
                name,
            )


def note_vacuum(notes: Notes, bulk: FinishedCalculation, charges: Iterable[int]) -> None:
    """Note charged states in a cell with vacuum."""
    if not any(charges):
        return
    if geometry := vacuum_geometry(bulk.structure):
        notes.add(
            "charged_in_vacuum",
            f"{bulk.directory}: a {geometry} with more than {VACUUM:g} Å of vacuum: corrections of "
            "charged states hold for crystals only, their energies are not usable",
        )


def note_host_run(notes: Notes, run: str, folder: Path, differences: Sequence[Difference]) -> None:
    """Note in what a run of the host, 'dielectric' or 'dos', differs from the bulk."""
    for item in differences:
        kind = "mismatch" if item.setting in ELECTRONIC else "settings"
        notes.add(
            f"{run}_{kind}",
            f"{run}: {item.text} ({folder})",
        )
