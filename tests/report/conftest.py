"""A made-up finished campaign: test data, no physics."""

from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.charge import with_charge
from defect_workflows.documents.campaign import (
    CampaignResult,
    CostRecord,
    PotentialSummary,
    SinglePointCount,
)
from defect_workflows.documents.dataset import (
    DatasetDocument,
    DuplicateRecord,
    LabelCount,
    LabelRecord,
    OutlierRecord,
    RefusedRecord,
)
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.documents.levels import (
    Correction,
    DefectLevelsDocument,
    LevelsResult,
    StateEnergy,
    TransitionLevel,
)
from defect_workflows.documents.potential import (
    Calibration,
    EnergyShift,
    ErrorRecord,
    ParityPoint,
    Probe,
)
from defect_workflows.documents.search import (
    Candidate,
    RelaxationRecord,
    SearchDocument,
    StateRisk,
    VerifiedCandidate,
)
from defect_workflows.documents.verification import RoundRecord, StateCheck
from defect_workflows.documents.warnings import LevelWarning

CHARGES = (0, -1, -2)
ENERGY = {0: -205.2, -1: -203.4, -2: -201.6}
THEORY = LevelOfTheory(
    functional="PE+HF", exact_exchange=0.25, screening=0.208, encut=350, precision="Normal",
    spin_polarized=True, dispersion=0, kpoints=[(0, 0, 0)], potcars=["PAW_PBE Cd", "PAW_PBE Te"],
)  # fmt: skip


STRESS = ((0.01, 0.002, 0.003), (0.002, 0.04, 0.005), (0.003, 0.005, 0.06))


def structure(charge: int) -> Structure:
    cell = Structure(Lattice.cubic(6.48), ["Cd", "Te"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    return with_charge(cell, charge)


def configuration(charge: int, family: str = "v_Cd/Rattled") -> ChargedConfiguration:
    return ChargedConfiguration(
        id=f"{family}{charge}",
        structure=structure(charge),
        origin=Origin(state=f"v_Cd_{charge}", family=family, kind="search"),
    )


def label(
    charge: int, energy: float, fingerprint: str, family: str = "v_Cd/Rattled", head: str = "hse06"
) -> Label:
    return Label(
        fingerprint=fingerprint, configuration=configuration(charge, family), fidelity=head,
        energy=energy, forces=[(0.01, 0, 0)] * 2, stress=STRESS, nelect=376,
        level_of_theory=THEORY, seconds=12.0, rehearsal=True,
    )  # fmt: skip


LABELS = [
    label(
        charge, ENERGY[charge] + number, f"{head} {charge} {number}", f"v_Cd/Rattled/{number}", head
    )
    for charge in CHARGES
    for number in range(3)
    for head in ("pbe", "hse06")
]


def dataset(*, rehearsal: bool = True) -> DatasetDocument:
    """Index of `LABELS`, made by hand: this is what the report gets."""
    sides = ("train", "test", None)
    records = [
        LabelRecord(
            id=item.configuration.id, fingerprint=item.fingerprint, charge=item.charge,
            fidelity=item.fidelity, split=sides[index // 2 % 3], atoms=2, directory="host:/there",
            level_of_theory=0, **item.configuration.origin.model_dump(),
        )
        for index, item in enumerate(LABELS)
    ]  # fmt: skip
    counts = Counter((item.state, item.charge, item.fidelity, item.split) for item in records)
    about = {"id": "v_Cd/Rattled/00", "charge": 0, "fidelity": "pbe"}
    odd = {"state": "v_Cd_0", "energy_per_atom": -1.0, "force": 3.0, "force_deviation": 9.0}
    return DatasetDocument(
        labels=records, levels_of_theory=[THEORY], rehearsal=rehearsal, unjudged=6,
        counts=[
            LabelCount(state=state, charge=charge, fidelity=head, split=split, labels=number)
            for (state, charge, head, split), number in counts.items()
        ],
        duplicates=[
            DuplicateRecord(
                same_as="the other id", family="v_Cd/Rattled/0", same_as_family="v_Cd/<i>copy</i>",
                distance=2e-4, energy_difference=0.0123, conflict=True, leak=False, **about,
            )
        ],
        outliers=[
            OutlierRecord(family="v_Cd/Odd", energy_deviation=9.0, geometry=False,
                          reason="energy 0.5 eV/atom above", **odd, **about),
            OutlierRecord(family="v_Cd/Crushed", energy_deviation=9.0, geometry=True,
                          reason="RMS force 4 eV/Å above", **odd, **about),
        ],
        refused=[
            RefusedRecord(
                id="refused", state="v_Cd_-1", charge=-1, fidelity="pbe",
                family="v_Cd/Bond_Distortion_-60.0%", kind="distortion", round=0,
                reason="SCF not converged in 60 steps", directory="host:/there",
            )
        ],
    )  # fmt: skip


def levels(*, rehearsal: bool = True) -> DefectLevelsDocument:
    states = [
        StateEnergy(
            defect="v_Cd", charge=charge, energy=ENERGY[charge],
            formation_energy={0: 2.10, -1: 2.72, -2: 2.98}[charge],
            correction=Correction(scheme="eFNV", energy=0.19 * charge**2, error=0.006 * -charge),
            verified=True, converged=True, potential_energy_error=0.004 - 0.003 * charge,
            energy_mlip=ENERGY[charge] + 0.01, energy_mlip_error=0.03, max_force=0.021,
            warnings=["unstable_charge_state"] if charge == -1 else [],
        )
        for charge in CHARGES
    ]  # fmt: skip
    states += [
        StateEnergy(
            defect="Te_Cd", charge=charge, energy=-220 + charge, formation_energy=energy,
            correction=Correction(scheme="eFNV", energy=0.2 * charge, error=0.02), verified=True,
            converged=True, potential_energy_error=0.011, energy_mlip=None, max_force=0.04,
        )
        for charge, energy in ((2, 1.4), (1, 1.75), (0, 2.6))
    ]  # fmt: skip
    level = {"error": 0.012, "verified": True, "converged": True, "in_gap": True}
    return DefectLevelsDocument(
        host="CdTe", vbm=1.27, band_gap=1.5, rehearsal=rehearsal,
        dielectric=np.diag([9.13] * 3).tolist(), states=states,
        transition_levels=[
            TransitionLevel(defect="v_Cd", charges=(0, -2), energy=0.44, energy_mlip=0.46, **level),
            TransitionLevel(defect="Te_Cd", charges=(2, 1), energy=0.35, **level),
            TransitionLevel(defect="Te_Cd", charges=(1, 0), energy=0.85, **level),
        ],
        warnings=[
            LevelWarning(code="no_chemical_potentials", message="no chemical potentials: test"),
            LevelWarning(
                code="unstable_charge_state", message="v_Cd_-1: never lowest <b>", state="v_Cd_-1"
            ),
        ],
    )  # fmt: skip


def search(round_number: int) -> SearchDocument:
    random = np.random.default_rng(round_number)
    starts = [f"Bond_Distortion_{d:.1f}%" for d in (-60, -40, -20, 20, 40, 60)]
    starts += ["Unperturbed", "Rattled", "Dimer", "from v_Cd_-1"]
    relaxations, candidates = [], []
    for charge in CHARGES:
        base = ENERGY[charge] + 0.01
        dimer = {0: 0.67, -1: 0.2, -2: 0.0}[charge]
        for start in starts:
            deep = start in ("Bond_Distortion_-60.0%", "Bond_Distortion_-40.0%", "Dimer")
            verdict = "runaway" if start == "Bond_Distortion_60.0%" else "minimum"
            energy = base if deep else base + dimer
            relaxations.append(
                RelaxationRecord(
                    state=f"v_Cd_{charge}", start=start, start_energy=base + 2,
                    energy=energy - 40 if verdict == "runaway" else energy,
                    max_force=0.009, steps=int(random.integers(40, 300)), verdict=verdict,
                    cluster=None if verdict == "runaway" else int(not deep),
                )
            )  # fmt: skip
        for rank, (energy, some) in enumerate(
            [(base, [starts[0], starts[1], "Dimer"]), (base + dimer, [*starts[2:5], "Rattled"])]
        ):
            candidates.append(
                Candidate(
                    state=f"v_Cd_{charge}", structure=structure(charge), energy=energy,
                    spread=0.006, distance=1.3, uncertainty=0.01, energy_uncertainty=0.05,
                    max_force=0.009,
                    starts=some, rank=rank,
                )
            )  # fmt: skip
    return SearchDocument(
        fingerprint="s" * 64, candidates=candidates, relaxations=relaxations, control_gain=0.001,
        bulk_energy=-210.0, round=round_number, seconds=33.0,
    )  # fmt: skip


def potential(round_number: int) -> PotentialSummary:
    random = np.random.default_rng(10 + round_number)
    parity, errors = [], []
    for head, noise in (("pbe", 0.02), ("hse06", 0.03)):
        for charge in CHARGES:
            for index in range(16):
                split = ("train", "train", "train", "valid", "test")[index % 5]
                energy = ENERGY[charge] + float(random.gamma(2, 1.2))
                parity.append(
                    ParityPoint(
                        split=split, fidelity=head, charge=charge, state=f"v_Cd_{charge}",
                        family="v_Cd/Rattled", atoms=53, energy=energy,
                        predicted=energy + float(random.normal(0, 3 * noise)), spread=noise,
                        distance=0.0 if split == "train" else 1.0 + float(random.gamma(2, 1.0)),
                        sigma=3 * noise, force_rmse=0.04,
                    )
                )  # fmt: skip
            for split, factor in (("train", 1.0), ("test", 2.1)):
                errors.append(
                    ErrorRecord(
                        split=split, fidelity=head, charge=charge, labels=10,
                        energy_rmse=noise / 53 * factor, force_rmse=noise * factor,
                    )
                )  # fmt: skip
        errors.append(
            ErrorRecord(
                split="test", fidelity=head, charge=None, labels=9, energy_rmse=noise / 53,
                force_rmse=noise,
            )
        )  # fmt: skip
    return PotentialSummary(
        round=round_number, fingerprint="p" * 64, heads=["pbe", "hse06"], sha256=["a" * 64] * 2,
        elements=["Cd", "Te"], charges=[-2, -1, 0], atoms=(53, 54), cutoff=6.0,
        shifts=[
            EnergyShift(
                fidelity="hse06", formula="Cd26 Te27", charge=-1, members=[0.0514, 0.0714], labels=9
            )
        ],
        calibration=Calibration(
            labels=12, later=5, families=4, within=0.5, slope=0.07, floor=0.01, within_sigma=0.67,
            heads=[],
        ),
        training_labels=210, epochs=[120, 120], seconds=250.0, errors=errors, parity=parity,
        probes=[Probe(heads=["pbe", "hse06"], charge_response=0.8, head_response=1.2)] * 2,
    )  # fmt: skip


def make_result(*, rehearsal: bool = True) -> CampaignResult:
    rounds = [
        RoundRecord(
            round=number,
            checks=[
                StateCheck(state=f"v_Cd_{q}", charge=q, energy=ENERGY[q], energy_error=error,
                           force_error=abs(2 * error))
                for q in CHARGES
            ],
            level_change=change, converged=bool(number),
            reasons=[] if number else ["levels: no earlier round to compare with"],
            unconverged=[] if number else ["v_Cd_0", "v_Cd_-1", "v_Cd_-2"],
            risks=[
                StateRisk(state=f"v_Cd_{q}", competitors=0, energy=0.0, inflation=1.0)
                for q in CHARGES
            ],
        )
        for number, error, change in ((0, -0.051, None), (1, -0.012, 0.007))
    ]  # fmt: skip
    last = search(1)
    verified = [
        VerifiedCandidate(
            candidate=item,
            labels=[label(item.charge, item.energy - 0.02 * (1 + item.rank), f"{item.state}a"),
                    label(item.charge, item.energy - 0.05, f"{item.state}b")][: 2 - item.rank],
            energy_error=0.02, force_error=0.03, max_force=0.021,
        )
        for item in last.candidates
    ]  # fmt: skip
    cost = [("host", 20, 4), ("sample", 3, 2), ("label", 310, 96), ("train", 250, 2)]
    cost += [("search", 66, 2), ("verify", 80, 20), ("levels", 6, 2)]
    return CampaignResult(
        name="made-up test data", fingerprint="c" * 64, convergence=ConvergenceSettings(),
        levels=LevelsResult(levels=levels(rehearsal=rehearsal), thermodynamics={"test": "data"}),
        potentials=[potential(0), potential(1)], searches=[search(0), last], rounds=rounds,
        verified=verified, dataset=dataset(rehearsal=rehearsal),
        single_points=[
            SinglePointCount(fidelity="pbe", labels=78, refused=1, seconds=130.0),
            SinglePointCount(fidelity="hse06", labels=31, refused=0, seconds=95.0),
        ],
        cost=[CostRecord(stage=stage, seconds=seconds, jobs=jobs) for stage, seconds, jobs in cost],
        versions={"doped": "3.2.1", "mace-torch": "0.3.16"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def result() -> CampaignResult:
    return make_result()
