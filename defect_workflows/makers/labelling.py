"""PBE single points, then HSE06 single points from their WAVECARs."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobflow import Flow, Job, Maker, Response

from defect_workflows.campaign import DftSettings
from defect_workflows.dft.jobs import SinglePointMaker, collect_labels
from defect_workflows.documents.defects import ChargedConfiguration
from defect_workflows.documents.labels import Label
from defect_workflows.fidelity import Fidelity
from defect_workflows.stored import StoredOutput, growing_job


def staged[T: Job | Flow](work: T, stage: str) -> T:
    """Write the stage of a campaign into the metadata of a job, or of every job of a flow.

    Jobs made later have a stage of their own.
    """
    work.update_metadata({"stage": stage}, dynamic=False)
    return work


@dataclass
class MultiFidelityMaker(Maker):
    """PBE single point followed by an HSE06 single point that starts from its WAVECAR.

    Parameters
    ----------
    name
        Name of the flows.
    pbe, hse06
        Makers of the two single points: same settings, different fidelity.

    Raises
    ------
    ValueError
        If the two makers are swapped, or differ in their settings.
    """

    name: str = "multi-fidelity single points"
    pbe: SinglePointMaker = field(
        default_factory=lambda: SinglePointMaker(name="PBE single point", fidelity="pbe")
    )
    hse06: SinglePointMaker = field(
        default_factory=lambda: SinglePointMaker(name="HSE06 single point", fidelity="hse06")
    )

    def __post_init__(self) -> None:
        """Refuse makers that would not share a level of theory."""
        found = (self.pbe.fidelity, self.hse06.fidelity)
        if found != ("pbe", "hse06"):
            raise ValueError(f"fidelities: found {found}, expected ('pbe', 'hse06')")
        if self.pbe.settings != self.hse06.settings:
            raise ValueError("settings: found two different ones, expected one level of theory")

    @classmethod
    def from_settings(cls, settings: DftSettings, potentials: bool = False) -> MultiFidelityMaker:
        """Make both single points from a campaign's DFT settings.

        Parameters
        ----------
        settings
            DFT settings common to both fidelities.
        potentials
            Keep what finite-size corrections need of the HSE06 single point.
        """
        return cls(
            pbe=SinglePointMaker("PBE single point", "pbe", settings),
            hse06=SinglePointMaker("HSE06 single point", "hse06", settings, potentials),
        )

    def make(self, configuration: ChargedConfiguration, insist: bool = True) -> Flow:
        """Make a flow whose output is ``{"pbe": label, "hse06": label}``.

        Parameters
        ----------
        configuration
            Structure with its charge.
        insist
            Whether HSE06 is tried where PBE was refused, whose electrons may be harder to converge.
        """
        low = self.pbe.make(configuration)
        high = self.hse06.make(
            configuration,
            prev_dir=low.output.directory,
            only_after=None if insist else low.output,
        )
        return Flow([low, high], {"pbe": low.output, "hse06": high.output}, name=self.name)


@dataclass
class LabellingMaker(Maker):
    """Single points of one fidelity on every configuration of a set.

    Parameters
    ----------
    name
        Name of the jobs.
    single_points
        Makers of the single points.
    """

    name: str = "label"
    single_points: MultiFidelityMaker = field(default_factory=MultiFidelityMaker)

    @growing_job
    def make(
        self, configurations: StoredOutput, fidelity: Fidelity, previous: StoredOutput
    ) -> Response:
        """Replace this job by one single point each, put together in a `LabelSet`.

        Parameters
        ----------
        configurations
            The `ConfigurationSet` to label.
        fidelity
            Level of theory.
        previous
            The `LabelSet` so far, which the new labels join; its PBE labels point to
            the WAVECARs that HSE06 starts from.
        """
        maker = self.single_points.pbe if fidelity == "pbe" else self.single_points.hse06
        known: list[Label] = previous.part("labels").value()
        start = {
            label.configuration.id: label.directory for label in known if label.fidelity == "pbe"
        }
        points = [
            maker.make(configuration, prev_dir=start.get(configuration.id))
            for configuration in configurations.value().configurations
        ]
        together = collect_labels([point.output for point in points], maker.settings, previous)
        flow = Flow([*points, together], together.output, name=f"{self.name} {fidelity}")
        return Response(replace=staged(flow, "label"))
