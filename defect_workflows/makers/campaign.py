"""The whole campaign as one graph that grows while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Maker, Response

from defect_workflows.campaign import Campaign
from defect_workflows.defects.jobs import generate_defects, sample_configurations
from defect_workflows.dft.jobs import collect_labels, collect_verified, take_ingested
from defect_workflows.documents.verification import RoundRecord
from defect_workflows.levels.jobs import assemble_levels
from defect_workflows.makers.competition import CompetitionMaker
from defect_workflows.makers.labelling import LabellingMaker, MultiFidelityMaker, staged
from defect_workflows.makers.learning import TrainingMaker
from defect_workflows.makers.refinement import NEARLY, RefinementDepth, RefinementMaker
from defect_workflows.makers.verification import VerificationMaker
from defect_workflows.mlip.jobs import index_labels, select_configurations
from defect_workflows.report.jobs import summarise
from defect_workflows.search.jobs import conclude_round, gather, search_states
from defect_workflows.stored import StoredOutput, growing_job, part

EXCHANGES = 8
"""How often winners are exchanged between charge states in a round, at most."""

LONGER_WAY = 2
"""A start that the potential lost may take so many times the single points of a refinement: it
begins far from its minimum."""


@dataclass
class CampaignMaker(Maker):
    """From a host crystal to the charge transition levels of its defects.

    Parameters
    ----------
    name
        Name of the flow.
    campaign
        What the user asked for.
    single_points
        Makers of the PBE and HSE06 single points that train the potential.
    verified_points
        The same for pristine supercell and candidates, with the potentials that corrections need.
    training, verification, refinement, competition
        Makers of the parts of a round, of the last step to the hybrid minimum, and of what the last
        round verifies besides.
    """

    name: str = "campaign"
    campaign: Campaign = field(kw_only=True)
    single_points: MultiFidelityMaker = field(default_factory=MultiFidelityMaker)
    verified_points: MultiFidelityMaker = field(default_factory=MultiFidelityMaker)
    training: TrainingMaker = field(default_factory=TrainingMaker)
    verification: VerificationMaker = field(default_factory=VerificationMaker)
    refinement: RefinementMaker = field(default_factory=RefinementMaker)
    competition: CompetitionMaker = field(default_factory=CompetitionMaker)

    @classmethod
    def from_campaign(cls, campaign: Campaign) -> CampaignMaker:
        """Make every part from the settings of a campaign."""
        verified_points = MultiFidelityMaker.from_settings(campaign.dft, potentials=True)
        refinement = RefinementMaker.from_settings(campaign.dft, campaign.convergence)
        return cls(
            name=f"campaign {campaign.host.stem}",
            campaign=campaign,
            single_points=MultiFidelityMaker.from_settings(campaign.dft),
            verified_points=verified_points,
            training=TrainingMaker(settings=campaign.potential),
            verification=VerificationMaker(
                single_points=verified_points,
                search=campaign.search,
                convergence=campaign.convergence,
            ),
            refinement=refinement,
            competition=CompetitionMaker(refinement=refinement),
        )

    def make(self) -> Flow:
        """Make the flow; its output is the `CampaignResult`.

        Raises
        ------
        InputError
            If the host structure cannot be read.
        """
        campaign = self.campaign
        defects = staged(
            generate_defects(
                campaign.host_structure(),
                campaign.supercell,
                campaign.defects,
                campaign.levels.tensor,
            ),
            "defects",
        )
        host = staged(self.verified_points.make(defects.output.pristine), "host")
        ingested = (
            [staged(take_ingested(defects.output, campaign.dft), "label")]
            if campaign.training.ingested
            else []
        )
        reference = staged(
            collect_labels(
                [host.output["pbe"], host.output["hse06"]],
                campaign.dft,
                ingested[0].output if ingested else None,
            ),
            "host",
        )
        sampled = staged(sample_configurations(defects.output, campaign.sampling), "sample")
        label = LabellingMaker(single_points=self.single_points)
        low = staged(label.make(sampled.output, "pbe", reference.output), "label")
        selected = staged(
            select_configurations(low.output, campaign.hse06_share),
            "select",
        )
        high = staged(label.make(selected.output, "hse06", low.output), "label")
        rounds = self.round(
            labels=high.output,
            defects=defects.output,
            bulk_label=host.output["hse06"],
            done={"potentials": [], "searches": [], "rounds": []},
        )
        jobs = [defects, host, *ingested, reference, sampled, low, selected, high, rounds]
        return Flow(jobs, rounds.output, name=self.name)

    def round(
        self,
        labels: Any,
        defects: Any,
        bulk_label: Any,
        done: dict[str, list],
        known: StoredOutput | None = None,
    ) -> Flow:
        """Make one round of training, search, verification, refinement, and the decision after it.

        Parameters
        ----------
        labels, defects, bulk_label
            References to the `LabelSet`, the `DefectSet` and the HSE06 label of the pristine
            supercell.
        done
            ``potentials`` and ``searches``: references to those of the rounds before; ``rounds``:
            their records.
        known
            Verified candidates of the rounds before.
        """
        convergence = self.campaign.convergence
        number = len(done["potentials"])
        previous = done["potentials"][-1] if number else None
        potential = staged(self.training.make(labels, round=number, previous=previous), "train")
        found = staged(
            search_states(
                potential.output,
                part(defects, "states"),
                part(part(defects, "host"), "supercell"),
                self.campaign.search,
                seed=self.campaign.sampling.seed,
                round=number,
                known=known or [],
                window=convergence.refine_window,
            ),
            "search",
        )
        verification = staged(
            self.verification.make(found.output, potential.output, labels, number, known), "verify"
        )
        together = staged(gather(known or [], verification.output.verified), "verify")
        settled = staged(
            self.refinement.settle(
                potential.output, together.output, part(defects, "states"), self.depth(number)
            ),
            "refine",
        )
        settled.name = f"settle round {number}"
        jobs = [potential, found, verification, together, settled]
        if convergence.is_last(number):
            settled = staged(
                self.competition.make(
                    found.output.candidates,
                    potential.output,
                    settled.output,
                    part(defects, "states"),
                    self.depth(number),
                ),
                "verify",
            )
            jobs.append(settled)
        learnt = staged(
            collect_verified(settled.output, self.campaign.dft, verification.output.labels),
            "refine",
        )
        concluded = staged(
            conclude_round(
                found.output.candidates,
                settled.output,
                learnt.output,
                part(defects, "states"),
                done["rounds"],
                convergence,
                found.output.relaxations,
            ),
            "verify",
        )
        decision = staged(
            self.decide(
                concluded.output,
                defects,
                bulk_label,
                [*done["potentials"], potential.output],
                [*done["searches"], found.output],
            ),
            "verify",
        )
        decision.name = f"decide after round {number}"
        jobs += [learnt, concluded, decision]
        return Flow(jobs, decision.output, name=f"round {number}")

    def depth(self, number: int) -> RefinementDepth:
        """Return how far a round's candidates are settled.

        The last round's potential shall have learned all ground states, so that its search tells
        whether one was missed: the round before finds them, as far as is needed to compare. Rounds
        before that only gather what the next potential learns from. In all of them, starts that
        left the domain of the potential are followed where HSE06 leads below what was found, and
        what is found is offered to the neighbours: the next search then knows it in all of them.

        Parameters
        ----------
        number
            Number of the round, from 0.
        """
        convergence = self.campaign.convergence
        left = convergence.max_rounds - 1 - number
        thorough = left <= 1
        return RefinementDepth(
            limit=convergence.max_refinements
            if thorough
            else min(convergence.round_refinements, convergence.max_refinements),
            exchanges=EXCHANGES,
            trial=convergence.round_refinements if thorough else 0,
            lost_trial=convergence.round_refinements,
            lost_limit=LONGER_WAY * convergence.max_refinements,
            to_the_end=left <= 0,
        )

    @growing_job
    def decide(
        self,
        concluded: StoredOutput,
        defects: StoredOutput,
        bulk_label: StoredOutput,
        potentials: list[StoredOutput],
        searches: list[StoredOutput],
    ) -> Response:
        """Go on to another round, or to the levels.

        Parameters
        ----------
        concluded, defects, bulk_label
            The `RoundDocument` of this round; the rest as in `round`.
        potentials, searches
            Those of all rounds.
        """
        records: list[RoundRecord] = concluded.part("rounds").value()
        if records[-1].converged or self.campaign.convergence.is_last(records[-1].round):
            flow = self.finish(concluded, defects, bulk_label, potentials, searches)
        else:
            done: dict[str, list] = {
                "potentials": potentials,
                "searches": searches,
                "rounds": records,
            }
            flow = self.round(
                concluded.part("labels"), defects, bulk_label, done, concluded.part("verified")
            )
        return Response(replace=flow)

    def finish(
        self,
        concluded: StoredOutput,
        defects: StoredOutput,
        bulk_label: StoredOutput,
        potentials: list[StoredOutput],
        searches: list[StoredOutput],
    ) -> Flow:
        """Make the last part: winners of all rounds refined, levels assembled, all summarised."""
        convergence = self.campaign.convergence
        settled = staged(
            self.refinement.settle(
                potentials[-1],
                concluded.part("verified"),
                defects.part("states"),
                self.depth(convergence.max_rounds),
            ),
            "refine",
        )
        settled.name = "settle winners"
        levels = staged(
            assemble_levels(
                defects.part("host"),
                defects.part("states"),
                bulk_label,
                settled.output,
                self.campaign.levels,
                candidates=searches[-1].part("candidates"),
                bulk_energy_mlip=searches[-1].part("bulk_energy"),
                rounds=concluded.part("rounds"),
                max_force=NEARLY * convergence.final_force,
            ),
            "levels",
        )
        dataset = staged(
            index_labels(concluded.part("labels"), settled.output, potentials[-1]), "levels"
        )
        summary = staged(
            summarise(
                self.campaign,
                levels.output,
                potentials,
                searches,
                concluded.part("rounds"),
                settled.output,
                concluded.part("labels"),
                dataset.output,
            ),
            "levels",
        )
        return Flow([settled, levels, dataset, summary], summary.output, name="levels")
