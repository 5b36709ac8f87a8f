"""What a user writes: `campaign.yaml`, its defaults and its validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator
from pymatgen.core import Element, Structure

from defect_workflows.charge import as_charge
from defect_workflows.dft_settings import DftSettings as DftSettings
from defect_workflows.documents.base import Matrix3D
from defect_workflows.errors import InputError, InvalidChargeError
from defect_workflows.host import read_host
from defect_workflows.userfile import (
    Section,
    check_dielectric,
    check_potentials,
    dielectric_tensor,
    read_file,
)

ChargeEmbedding = Literal["categorical", "continuous"]


def _distortion(value: float) -> float:
    if not -0.9 <= value <= 1:
        raise ValueError(
            "expected fractions of the bond length from -0.9 to 1, e.g. -0.6 for 60 % shorter"
        )
    return value


def _amplitude(value: float) -> float:
    if not 0 < value <= 0.5:
        raise ValueError("expected a standard deviation in Å, above 0 and up to 0.5")
    return value


Distortion = Annotated[float, AfterValidator(_distortion)]
Amplitude = Annotated[float, AfterValidator(_amplitude)]


class SupercellSettings(Section):
    """The supercell that holds the defects."""

    matrix: list[list[int]] | list[int] | None = Field(
        default=None,
        description="Explicit supercell of the host cell: 3 numbers or 3x3 integers. "
        "Default: chosen by doped from the limits below.",
    )
    min_image_distance: float = Field(
        default=10.0, gt=0, description="Smallest distance between periodic images in Å."
    )
    min_atoms: int = Field(default=50, ge=1, description="Smallest number of atoms.")
    max_atoms: int = Field(default=240, ge=1, description="Largest number of atoms.")

    @field_validator("matrix", mode="after")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        if value is None:
            return None
        rows = (
            [[n if i == j else 0 for j in range(3)] for i, n in enumerate(value)]
            if all(isinstance(n, int) for n in value)
            else value
        )
        if len(rows) != 3 or any(len(row) != 3 for row in rows):
            raise ValueError("expected 3 integers or a 3x3 matrix of integers")
        return rows

    @model_validator(mode="after")
    def _limits(self) -> SupercellSettings:
        if self.min_atoms > self.max_atoms:
            raise ValueError(f"min_atoms {self.min_atoms} is above max_atoms {self.max_atoms}")
        return self


class DefectRequest(Section):
    """One defect asked for by name."""

    name: str = Field(description="doped's name, e.g. v_Cd, Te_Cd, Cd_i_Td_Te2.83.")
    charges: list[int] | None = Field(
        default=None, description="Charge states. Default: guessed by doped."
    )

    @field_validator("charges", mode="before")
    @classmethod
    def _integers(cls, value: Any) -> Any:
        if isinstance(value, list):
            try:
                return [as_charge(item) for item in value]
            except InvalidChargeError as error:
                raise ValueError(str(error)) from None
        return value


class DefectSettings(Section):
    """Which defects are generated, and in which charge states."""

    kinds: list[Literal["vacancies", "antisites", "interstitials"]] = Field(
        default=["vacancies", "antisites", "interstitials"],
        description="Intrinsic kinds to generate; also for extrinsic elements.",
    )
    extrinsic: list[str] = Field(default=[], description="Impurity elements, e.g. [Cu].")
    include: list[DefectRequest] | None = Field(
        default=None,
        description="Explicit list of {name, charges}; overrides the kinds above.",
    )

    @field_validator("extrinsic")
    @classmethod
    def _elements(cls, value: list[str]) -> list[str]:
        for symbol in value:
            if not Element.is_valid_symbol(symbol):
                raise ValueError(f"found {symbol!r}, expected an element symbol")
        return value


class SamplingSettings(Section):
    """The configurations to label."""

    rattle_amplitudes: list[Amplitude] = Field(
        default=[0.05, 0.15],
        min_length=1,
        description="Standard deviations of the Monte Carlo rattle in Å, taken in turn.",
    )
    distortions: list[Distortion] = Field(
        default=[-0.6, -0.4, -0.2, 0.2, 0.4],
        description="ShakeNBreak bond distortions as fractions of the bond length.",
    )
    per_state: int = Field(
        default=24, ge=2, description="Configurations per defect state, both kinds together."
    )
    bulk: int = Field(default=6, ge=1, description="Rattled pristine supercells.")
    seed: int = Field(default=1, description="Seed of everything random in the sampling.")


class TrainingSettings(Section):
    """What the potential learns from beside the campaign's own labels."""

    ingested: list[Path] = Field(
        default=[],
        description="Folders of finished VASP calculations: every converged ionic step of the "
        "campaign's cells becomes a label. Same level of theory, or the campaign stops.",
    )


class PotentialSettings(Section):
    """The charged multi-fidelity potential."""

    preset: Literal["small", "standard"] = Field(
        default="standard", description="'small' trains on a CPU, 'standard' on one GPU."
    )
    foundation: Path | None = Field(
        default=None,
        description="File of a MACE foundation model to start from; its architecture replaces the "
        "preset's. Loading a model file runs code in it: use only one you trust.",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="Epochs of the first training; those of later rounds, which go on from its "
        "model, are about half as long. Default: the preset's, 200.",
    )
    committee: int = Field(default=2, ge=2, description="Number of models, one seed each.")
    seed: int = Field(default=1, description="Seed of the first model.")
    charge: ChargeEmbedding = Field(
        default="categorical",
        description="How the model sees the charge: 'categorical' learns every charge for itself, "
        "'continuous' a smooth function of the number.",
    )
    bulk_at_every_charge: bool = Field(
        default=False,
        description="Also train pristine cells at every charge, with their neutral labels: atoms "
        "far from a defect learn not to respond to its charge. Each is one more training example.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="'auto' takes a GPU when there is one."
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32", description="Precision of the training; predictions use float64."
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of geometry families held out for the test."
    )


class SearchSettings(Section):
    """The search for ground-state structures on the potential."""

    distortions: list[Distortion] = Field(
        default=[-0.6, -0.5, -0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        description="ShakeNBreak bond distortions as fractions of the bond length.",
    )
    dimer: bool = Field(default=True, description="Also start from a dimer at a vacancy.")
    antisites: bool = Field(
        default=True,
        description="Also start with a neighbour of another element moved into a vacancy.",
    )
    rattle: Amplitude | None = Field(
        default=None, description="Rattle of the starts in Å. Default: ShakeNBreak's."
    )
    max_force: float = Field(default=0.01, gt=0, description="Force tolerance in eV/Å.")
    max_steps: int = Field(default=400, ge=1, description="Steps after which a start is given up.")
    energy_window: float = Field(
        default=0.0,
        ge=0,
        description="Verify minima that may lie up to this far above the lowest, eV; "
        "0: only what may be the ground state.",
    )
    shortlist: int = Field(
        default=2,
        ge=1,
        description="Candidates per state sent to HSE06 in a round; in the last one only the "
        "surest, the others one by one (convergence.max_competitors).",
    )
    uncertain: int = Field(
        default=2,
        ge=0,
        description="Most uncertain frames per state labelled between rounds, at PBE.",
    )
    unresolved: int = Field(
        default=4,
        ge=0,
        description="Starts per state that left the domain of the potential, of which a frame is "
        "labelled between rounds, at PBE.",
    )
    unresolved_hse06: int = Field(
        default=4,
        ge=0,
        description="So many of these per state are labelled at HSE06 too, in each later round "
        "half as many.",
    )


class ConvergenceSettings(Section):
    """When the rounds of search, verification and training end."""

    level_change: float = Field(
        default=0.02, gt=0, description="Largest change of a level between rounds, eV."
    )
    max_rounds: int = Field(default=3, ge=1, description="Rounds of training and search.")
    final_force: float = Field(
        default=0.03,
        gt=0,
        description="Refine a winner until its next step gains less than 2 meV and its HSE06 "
        "forces are at most twice this, eV/Å.",
    )
    refine_window: float = Field(
        default=0.05, ge=0, description="Refine minima up to this far above the lowest, eV."
    )
    round_refinements: int = Field(
        default=3,
        ge=0,
        description="HSE06 single points spent on refining one candidate in a round before the "
        "last two, and in those on the trial of a structure that another charge state offers.",
    )
    max_refinements: int = Field(
        default=20, ge=0, description="HSE06 single points spent on refining one winner, in all."
    )
    max_competitors: int = Field(
        default=6,
        ge=0,
        description="Minima per state that get an HSE06 single point in the last round, one by "
        "one, as long as they are expected to be lower than the winner by more than 5 meV.",
    )

    @model_validator(mode="before")
    @classmethod
    def _gone(cls, value: Any) -> Any:
        gone = {"energy_error", "force_error"} & set(value) if isinstance(value, dict) else None
        if gone:
            raise ValueError(
                f"found {' and '.join(sorted(gone))}, which is gone: the potential's error at a "
                "winner is reported and no criterion any more, expected no such key"
            )
        return value

    def is_last(self, number: int) -> bool:
        """Tell whether no round follows a round, numbered from 0, converged or not."""
        return number + 1 >= self.max_rounds


class LevelSettings(Section):
    """Corrections and thermodynamics."""

    dielectric: float | tuple[float, float, float] | Matrix3D | Literal["none"] = Field(
        description="REQUIRED, it has no default: dielectric constant or tensor of your host, "
        "high-frequency + ionic, in the Cartesian axes of its file: number, three numbers or 3x3. "
        "The corrections of charged states scale with its inverse. none: they stay uncorrected.",
    )
    correction: Literal["eFNV", "FNV", "none"] = Field(
        default="eFNV", description="Finite-size correction of charged states."
    )
    chemical_potentials: dict[str, float] | None = Field(
        default=None, description="Absolute chemical potentials in eV, of the hybrid functional."
    )
    temperature: float = Field(default=300.0, gt=0, description="Temperature in K.")

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_correct(cls, value: Any) -> Any:
        """Let the validator of the field speak where it is missing."""
        if isinstance(value, dict) and value.get("dielectric") is None:
            return value | {"dielectric": "none" if value.get("correction") == "none" else None}
        return value

    @field_validator("dielectric", mode="before")
    @classmethod
    def _dielectric_form(cls, value: Any) -> Any:
        if value is None:
            raise ValueError(
                "found nothing, expected the dielectric constant or tensor of the host "
                "(high-frequency + ionic), or none: charged states stay uncorrected"
            )
        if isinstance(value, str) and value.strip().lower() == "none":
            return "none"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number and not (isinstance(value, list | tuple) and len(value) == 3):
            raise ValueError("expected a number, three numbers, 3x3 or none")
        return value

    @field_validator("dielectric")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value != "none":
            check_dielectric(value)
        return value

    @field_validator("chemical_potentials", mode="before")
    @classmethod
    def _potentials(cls, value: Any) -> Any:
        return check_potentials(value) if isinstance(value, dict) else value

    @property
    def tensor(self) -> Matrix3D | None:
        """Dielectric tensor; None where charged states stay uncorrected."""
        return None if self.dielectric == "none" else dielectric_tensor(self.dielectric)

    @property
    def scheme(self) -> Literal["eFNV", "FNV", "none"]:
        """Correction that is made: none without a dielectric tensor."""
        return "none" if self.dielectric == "none" else self.correction


class Campaign(Section):
    """One host, the defects asked for, and every setting."""

    host: Path = Field(
        description="Structure file of the host: POSCAR, CIF, ... (pymatgen reads it)."
    )
    supercell: SupercellSettings = Field(default_factory=SupercellSettings)
    defects: DefectSettings = Field(default_factory=DefectSettings)
    dft: DftSettings = Field(default_factory=DftSettings)
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    hse06_share: float = Field(
        default=0.2, gt=0, le=1, description="Share of configurations labelled with HSE06 too."
    )
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    potential: PotentialSettings = Field(default_factory=PotentialSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    convergence: ConvergenceSettings = Field(default_factory=ConvergenceSettings)
    levels: LevelSettings

    @model_validator(mode="before")
    @classmethod
    def _levels_given(cls, value: Any) -> Any:
        """Name the key that is missing rather than its section."""
        if isinstance(value, dict) and value.get("levels") is None:
            return value | {"levels": {}}
        return value

    @classmethod
    def from_file(cls, path: Path | str) -> Campaign:
        """Read and validate a campaign file; relative paths are relative to the file.

        Raises
        ------
        InputError
            One line that names file, key, what was found and what is expected.
        """
        path = Path(path)
        campaign = read_file(path, cls, "a campaign file")
        if not campaign.host.is_absolute():
            campaign.host = path.parent / campaign.host
        campaign.training.ingested = [path.parent / one for one in campaign.training.ingested]
        if (foundation := campaign.potential.foundation) is not None:
            campaign.potential.foundation = path.parent.resolve() / foundation.expanduser()
            if not campaign.potential.foundation.is_file():
                raise InputError(
                    f"{path}: potential.foundation: found no file {foundation}, "
                    "expected a MACE model file"
                )
        return campaign

    def host_structure(self) -> Structure:
        """Read the host structure.

        Raises
        ------
        InputError
            As `read_host`.
        """
        return read_host(self.host)
