"""The job of the direct route: one start relaxed at HSE06 by VASP itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jobflow import Maker
from pydantic import Field
from pymatgen.core import Structure
from pymatgen.io.vasp import Vasprun

from defect_workflows import reuse
from defect_workflows.campaign import DftSettings
from defect_workflows.charge import charge_of, with_charge
from defect_workflows.dft.inputs import SinglePointSet, reordered, vasp_order
from defect_workflows.dft.read import read_single_point
from defect_workflows.dft.run import here, run_single_point
from defect_workflows.documents.base import Document
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label
from defect_workflows.settings import read_settings

FORCE = 0.02  # eV/Å, EDIFFG of the relaxations


class Relaxation(Document):
    """One start of the direct route and its minimum."""

    fingerprint: str = Field(description="Fingerprint of start and settings.")
    state: str = Field(description="Defect state.")
    start: str = Field(description="Start geometry.")
    label: Label = Field(description="HSE06 label of the final structure.")
    ionic_steps: int = Field(description="Ionic steps, one HSE06 single point each.")
    converged: bool = Field(description="Forces below EDIFFG.")


@dataclass
class RelaxationMaker(Maker):
    """Relax a charged structure at HSE06 (NSW > 0), potentials written."""

    name: str = "HSE06 relaxation"
    settings: DftSettings = field(default_factory=DftSettings)

    @reuse.job(output_schema=Relaxation)
    def make(self, state: str, start: str, structure: Structure) -> Relaxation:
        key = reuse.fingerprint("direct route", structure, self.settings, FORCE)
        return reuse.finished_or(lambda: self._relax(state, start, structure, key), key, Relaxation)

    def _relax(self, state: str, start: str, structure: Structure, key: str) -> Relaxation:
        began = time.perf_counter()
        inputs = SinglePointSet.from_settings(self.settings, "hse06", potentials=True)
        inputs.user_incar_settings = {"NSW": 200, "IBRION": 2, "EDIFFG": -FORCE}
        order = vasp_order(structure)
        run_single_point(reordered(structure, order), inputs, read_settings())
        result = read_single_point(Path.cwd())
        vasprun = Vasprun(
            next(Path.cwd().glob("vasprun.xml*")), parse_dos=False, parse_potcar_file=False
        )
        back = np.argsort(order)
        charge = charge_of(structure)
        if result.charge != charge:
            raise ValueError(f"NELECT is of charge {result.charge}, expected {charge}")
        final = with_charge(
            Structure.from_sites([vasprun.final_structure[i] for i in back]), charge
        )
        configuration = ChargedConfiguration.of(
            final,
            Origin(state=state, family=f"direct/{start}", kind="search"),
        )
        label = Label(
            fingerprint=reuse.fingerprint(key, "label"),
            configuration=configuration,
            fidelity="hse06",
            energy=result.energy,
            forces=[tuple(force) for force in result.forces[back].tolist()],
            stress=result.stress,
            nelect=result.nelect,
            vbm=result.vbm,
            cbm=result.cbm,
            level_of_theory=result.level_of_theory,
            corrections=result.corrections,
            site_potentials=[result.site_potentials[i] for i in back],
            planar_potential=result.planar_potential,
            directory=here(),
            seconds=time.perf_counter() - began,
            rehearsal=result.rehearsal,
        )
        return Relaxation(
            fingerprint=key,
            state=state,
            start=start,
            label=label,
            ionic_steps=vasprun.nionic_steps,
            converged=vasprun.converged_ionic,
        )
