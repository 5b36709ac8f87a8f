"""Jobs: one VASP single point, and labels put together."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jobflow import CURRENT_JOB, Maker

from defect_workflows import reuse
from defect_workflows.campaign import DftSettings
from defect_workflows.charge import charge_of
from defect_workflows.dft.collect import collect
from defect_workflows.dft.ingest import formula_of, ingested_labels
from defect_workflows.dft.inputs import SinglePointSet, reordered, vasp_order
from defect_workflows.dft.read import SinglePointResult, read_single_point
from defect_workflows.dft.run import here, run_single_point
from defect_workflows.documents.defects import ChargedConfiguration, DefectSet
from defect_workflows.documents.labels import Label, LabelSet, RefusedLabel
from defect_workflows.documents.search import VerifiedCandidate
from defect_workflows.errors import CalculationError, about
from defect_workflows.fidelity import CAMPAIGN_FIDELITIES, Fidelity
from defect_workflows.settings import Settings, read_settings

logger = logging.getLogger(__name__)

# These bound what is accepted, not what is calculated.
_NOT_CALCULATED = {"max_energy_per_atom", "max_force", "max_refused_share"}

TOOK = "single_point"
"""Key of a job's metadata, in its document in the store too: what a single point took."""

TIMES_LONGEST = 4
"""A run that is silent for so many times what the longest like it took in all counts as hanging."""

LEAST_PATIENCE = 600.0
"""Seconds of silence after which a run may count as hanging, at least."""


@dataclass
class SinglePointMaker(Maker):
    """Energy, forces and stress of a charged configuration at one fidelity.

    Parameters
    ----------
    name
        Name of the jobs.
    fidelity
        Level of theory.
    settings
        DFT settings of the campaign.
    potentials
        Also write LOCPOT and keep site potentials, for the finite-size corrections.
    """

    name: str = "single point"
    fidelity: Fidelity = "pbe"
    settings: DftSettings = field(default_factory=DftSettings)
    potentials: bool = False

    @reuse.job
    def make(
        self,
        configuration: ChargedConfiguration,
        prev_dir: str | None = None,
        only_after: Label | RefusedLabel | None = None,
    ) -> Label | RefusedLabel:
        """Run the single point; what cannot be trusted is refused with its reason.

        Parameters
        ----------
        configuration
            Structure with its charge.
        prev_dir
            ``host:path`` of a run whose WAVECAR may serve as start.
        only_after
            A cheaper single point; where it was refused, this one is not calculated.
        """
        machine = read_settings()
        key = reuse.fingerprint(
            "single point",
            configuration.id,
            self.fidelity,
            # as one mapping: what is said of the other fidelity does not change this one
            self.settings.model_dump(exclude=_NOT_CALCULATED | {"pbe_incar", "hse06_incar"})
            | {"incar": self.settings.incar_of(self.fidelity)},
            self.potentials,
            machine.rehearsal,
        )
        if (finished := reuse.find_finished(key, Label)) is not None:
            return finished
        if isinstance(only_after, RefusedLabel):
            return RefusedLabel(
                fingerprint=key,
                configuration=configuration,
                fidelity=self.fidelity,
                reason=f"not calculated, as {only_after.fidelity} is refused: {only_after.reason}",
            )
        what = f"{self.fidelity} of {configuration.origin.state} ({configuration.origin.family})"
        with about(what):
            return self._calculated(configuration, key, machine, prev_dir, what)

    def _calculated(
        self,
        configuration: ChargedConfiguration,
        key: str,
        machine: Settings,
        prev_dir: str | None,
        what: str,
    ) -> Label | RefusedLabel:
        start = time.perf_counter()
        structure = configuration.structure
        order = vasp_order(structure)
        inputs = SinglePointSet.from_settings(self.settings, self.fidelity, self.potentials)
        kind = reuse.fingerprint(
            self.fidelity,
            len(structure),
            self.settings.model_dump(exclude=_NOT_CALCULATED),
            machine.rehearsal,
        )
        try:
            run_single_point(reordered(structure, order), inputs, machine, prev_dir, patience(kind))
            result = read_single_point(Path.cwd())
            self._check(result, charge_of(structure))
        except CalculationError as error:
            logger.warning("%s refused: %s", what, error)
            return RefusedLabel(
                fingerprint=key,
                configuration=configuration,
                fidelity=self.fidelity,
                reason=str(error),
                directory=here(),
                seconds=time.perf_counter() - start,
            )
        back = np.argsort(order)
        potentials = result.site_potentials if self.potentials else None
        seconds = time.perf_counter() - start
        remember(kind, seconds)
        return Label(
            fingerprint=key,
            configuration=configuration,
            fidelity=self.fidelity,
            energy=result.energy,
            forces=[tuple(force) for force in result.forces[back].tolist()],
            stress=result.stress,
            nelect=result.nelect,
            vbm=result.vbm,
            cbm=result.cbm,
            level_of_theory=result.level_of_theory,
            corrections=result.corrections,
            site_potentials=[potentials[i] for i in back] if potentials else None,
            planar_potential=result.planar_potential,
            directory=here(),
            seconds=seconds,
            rehearsal=result.rehearsal,
        )

    def _check(self, result: SinglePointResult, charge: int) -> None:
        """Refuse a calculation with another charge or beyond the stated bounds."""
        if result.charge != charge:
            raise CalculationError(
                f"NELECT {result.nelect:g} is charge {result.charge:+d}, expected {charge:+d}"
            )
        largest = float(np.linalg.norm(result.forces, axis=1).max())
        if largest > self.settings.max_force:
            raise CalculationError(
                f"force of {largest:.1f} eV/Å, expected at most {self.settings.max_force:g}"
            )


def patience(kind: str) -> float | None:
    """Return after how many seconds of silence a single point counts as hanging.

    From what those like it took that are in the store of the running job: same fidelity, settings
    and number of atoms. None where there is none.

    Parameters
    ----------
    kind
        Fingerprint of what they share.
    """
    if CURRENT_JOB.store is None:
        return None
    CURRENT_JOB.store.ensure_index(f"metadata.{TOOK}.kind")
    found = CURRENT_JOB.store.query({f"metadata.{TOOK}.kind": kind}, properties=["metadata"])
    longest = max((record["metadata"][TOOK]["seconds"] for record in found), default=None)
    return None if longest is None else max(TIMES_LONGEST * longest, LEAST_PATIENCE)


def remember(kind: str, seconds: float) -> None:
    """Note in the running job's document what its single point took, for `patience`."""
    if CURRENT_JOB.job is not None:
        CURRENT_JOB.job.metadata[TOOK] = {"kind": kind, "seconds": seconds}


@reuse.job(data=["labels"], output_schema=LabelSet)
def collect_labels(
    results: list[Label | RefusedLabel], settings: DftSettings, previous: LabelSet | None = None
) -> LabelSet:
    """Put labels together: refused ones listed, one level of theory checked."""
    return collect(results, settings, previous)


@reuse.job(data=["labels"], output_schema=LabelSet)
def take_ingested(defects: DefectSet, settings: DftSettings) -> LabelSet:
    """Return the ingested labels of the job's own store that a campaign can learn from.

    Those of its fidelities, in cells with the atoms of its own.
    """
    cells = [defects.pristine.structure, *(state.structure for state in defects.states)]
    formulas = {formula_of(cell) for cell in cells}
    return ingested_labels(CURRENT_JOB.store, CAMPAIGN_FIDELITIES, formulas, settings.differing)


@reuse.job(data=["labels"], output_schema=LabelSet)
def collect_verified(
    verified: list[VerifiedCandidate], settings: DftSettings, previous: LabelSet
) -> LabelSet:
    """Add the single points of verified and refined candidates to the labels."""
    return collect([label for item in verified for label in item.labels], settings, previous)
