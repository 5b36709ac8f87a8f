"""Label a campaign's sampling with both fidelities of the stand-in: data for other benchmarks.

    python benchmarks/dataset.py flows/CdTe_v_Cd/campaign.yaml runs/labels.jsonl --per-state 40

One `Label` a line; run again to go on. The stand-in's engine is called directly, without VASP's
files around it, so the levels of theory are those asked for, not echoed ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from defect_workflows import reuse
from defect_workflows.campaign import Campaign
from defect_workflows.charge import charge_of
from defect_workflows.defects.generate import generate
from defect_workflows.defects.sample import sample
from defect_workflows.documents.defects import ChargedConfiguration, DefectSet
from defect_workflows.documents.labels import Label, LevelOfTheory
from defect_workflows.fidelity import CAMPAIGN_FIDELITIES, Fidelity
from defect_workflows.rehearsal.engine import Engine, Method

METHODS: dict[Fidelity, Method] = {"pbe": "IPEA1-xTB", "hse06": "GFN1-xTB"}


def engine_for(configuration: ChargedConfiguration, fidelity: Fidelity) -> Engine:
    """Return the stand-in for a configuration's cell and charge."""
    structure = configuration.structure
    return Engine(
        METHODS[fidelity],
        np.array([site.specie.Z for site in structure]),
        structure.lattice.matrix,
        structure.cart_coords,
        charge_of(structure),
    )


def label(configuration: ChargedConfiguration, fidelity: Fidelity) -> Label | None:
    """Return the stand-in's label of a configuration; None where its cycles do not converge."""
    began = time.perf_counter()
    structure = configuration.structure
    point = engine_for(configuration, fidelity).compute(structure.cart_coords)
    if not point.converged:
        return None
    hybrid = fidelity == "hse06"
    return Label(
        fingerprint=reuse.fingerprint("benchmark", configuration.id, fidelity),
        configuration=configuration,
        fidelity=fidelity,
        energy=point.energy,
        forces=[tuple(force) for force in point.forces.tolist()],
        stress=(point.virial / structure.volume).tolist(),
        nelect=float(point.occupations.sum()),
        level_of_theory=LevelOfTheory(
            functional="PE+HF" if hybrid else "PE",
            exact_exchange=0.25 if hybrid else 0.0,
            screening=0.208 if hybrid else 0.0,
            encut=0.0,
            precision="stand-in",
            spin_polarized=False,
            dispersion=0,
            kpoints=[(0.0, 0.0, 0.0)],
            potcars=[METHODS[fidelity]],
        ),
        seconds=time.perf_counter() - began,
        rehearsal=True,
    )


def read(path: Path) -> list[Label]:
    """Return the labels of a data file."""
    return [Label.model_validate_json(line) for line in path.read_text().splitlines()]


def extend(
    path: Path,
    configurations: Iterable[ChargedConfiguration],
    fidelities: Iterable[Fidelity] = CAMPAIGN_FIDELITIES,
) -> list[Label]:
    """Label what a data file lacks, append it line by line, and return all of its labels."""
    known = {item.fingerprint for item in read(path)} if path.exists() else set()
    fidelities = tuple(fidelities)
    with path.open("a") as lines:
        for configuration in configurations:
            for fidelity in fidelities:
                if reuse.fingerprint("benchmark", configuration.id, fidelity) in known:
                    continue
                if (made := label(configuration, fidelity)) is None:
                    print(f"{configuration.origin.family}, {fidelity}: not converged, left out")
                    continue
                print(made.model_dump_json(), file=lines, flush=True)
    return read(path)


def generated(campaign: Campaign, supercell: list[int] | None = None) -> DefectSet:
    """Return the defects of a campaign, in another supercell if one is given."""
    settings = campaign.supercell
    if supercell is not None:
        settings = type(settings)(**settings.model_dump() | {"matrix": supercell})
    return generate(campaign.host_structure(), settings, campaign.defects, campaign.levels.tensor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--per-state", type=int, default=40)
    parser.add_argument("--bulk", type=int, default=12)
    arguments = parser.parse_args()
    campaign = Campaign.from_file(arguments.campaign)
    found = generated(campaign)
    sizes = {"per_state": arguments.per_state, "bulk": arguments.bulk}
    settings = campaign.sampling.model_copy(update=sizes)
    sampled = sample(found.states, found.host.supercell, settings)
    labels = extend(arguments.data, [found.pristine, *sampled])
    print(f"{arguments.data}: {len(labels)} labels of {len(sampled) + 1} configurations")


if __name__ == "__main__":
    main()
