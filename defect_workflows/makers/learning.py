"""The committee: one training per seed, side by side, then the probed potential."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Maker

from defect_workflows.campaign import PotentialSettings
from defect_workflows.mlip.jobs import make_potential, train_member


@dataclass
class TrainingMaker(Maker):
    """Train a committee of MACE models on both fidelities and every charge.

    Parameters
    ----------
    name
        Name of the flows.
    settings
        Settings of the potential.
    """

    name: str = "train"
    settings: PotentialSettings = field(default_factory=PotentialSettings)

    def make(self, labels: Any, round: int = 0, previous: Any | None = None) -> Flow:
        """Make a flow whose output is the `PotentialDocument`.

        Parameters
        ----------
        labels
            Reference to, or address of, the `LabelSet`.
        round
            Round of the campaign.
        previous
            Reference to, or address of, the potential of the round before, to start from.
        """
        members = []
        for index in range(self.settings.committee):
            seed = self.settings.seed + index
            member = train_member(labels, self.settings, seed, previous, index)
            member.name = f"train seed {seed}"
            members.append(member)
        potential = make_potential(
            labels, self.settings, [member.output for member in members], round, previous
        )
        return Flow([*members, potential], potential.output, name=f"{self.name} round {round}")
