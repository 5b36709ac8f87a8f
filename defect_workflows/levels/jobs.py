"""The jobs of the levels stage."""

from __future__ import annotations

from defect_workflows import reuse
from defect_workflows.campaign import LevelSettings
from defect_workflows.documents.defects import DefectState, HostDocument
from defect_workflows.documents.labels import Label
from defect_workflows.documents.levels import LevelCalculation, LevelsResult
from defect_workflows.documents.search import Candidate, VerifiedCandidate
from defect_workflows.documents.verification import RoundRecord
from defect_workflows.levels.states import choose_winners
from defect_workflows.levels.thermodynamics import defect_levels


@reuse.job(output_schema=LevelsResult, data=["thermodynamics"])
def assemble_levels(
    host: HostDocument,
    states: list[DefectState],
    bulk_label: Label,
    verified: list[VerifiedCandidate],
    settings: LevelSettings,
    candidates: list[Candidate] | None = None,
    bulk_energy_mlip: float | None = None,
    rounds: list[RoundRecord] | None = None,
    max_force: float = 0.05,
) -> LevelsResult:
    """Correct the winner of every state and assemble the transition levels.

    Parameters as in `choose_winners` and `defect_levels`; the last of the rounds tells the risks.
    """
    return defect_levels(
        host,
        LevelCalculation.from_label(bulk_label),
        choose_winners(states, verified, candidates or [], rounds[-1].risks if rounds else []),
        settings,
        bulk_energy_mlip=bulk_energy_mlip,
        max_force=max_force,
        rounds=rounds or [],
    )
