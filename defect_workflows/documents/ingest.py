"""What became of finished calculations that were ingested as labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from defect_workflows.documents.base import Document
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.fidelity import Fidelity


class IngestedRun(Document):
    """One run of a folder, and how many labels it gave."""

    directory: str = Field(description="Folder.")
    files: list[str] = Field(description="Files that were read.")
    formula: str = Field(description="Composition of the cell.")
    charge: int = Field(description="Charge in units of e.")
    fidelity: Fidelity | None = Field(
        description="Level of theory; None for a functional that is no fidelity."
    )
    rehearsal: bool = Field(description="True when the stand-in for VASP made it.")
    ended: bool = Field(description="The run ended by itself.")
    frames: int = Field(description="Complete ionic steps.")
    labels: int = Field(description="Labels that were new, and are in the store now.")
    known: int = Field(description="Frames that the store already had from this very source.")
    duplicates: int = Field(description="Frames that are the same as another one.")
    refused: int = Field(description="Ionic steps that are no label, the one it died in included.")
    seconds: float = Field(description="Time that reading took in s.")

    @property
    def outputs(self) -> list[str]:
        """Files with the output, without those that only add decimals."""
        return [name for name in self.files if name.startswith(("vasprun.xml", "OUTCAR"))]


class RefusedFrame(Document):
    """An ionic step, or a whole run, that is no label."""

    directory: str = Field(description="Folder.")
    files: list[str] = Field(description="Files it comes from.")
    step: int | None = Field(description="Ionic step, from 1; None for the whole run.")
    kind: Literal["unreadable", "incomplete", "unconverged", "no_forces", "fidelity", "state"] = (
        Field(description="Why, in one word.")
    )
    reason: str = Field(description="Why, in one line.")


class DuplicateFrame(Document):
    """An ionic step that is the same as a label that is there already."""

    directory: str = Field(description="Folder.")
    files: list[str] = Field(description="Files it comes from.")
    step: int = Field(description="Ionic step, from 1.")
    same_as: str = Field(description="Where the label comes from: folder, files and step.")
    energy_difference: float = Field(description="Its energy minus the label's in eV.")


class IngestReport(Document):
    """Everything that `ingest` did."""

    store: str = Field(description="Where the labels are.")
    runs: list[IngestedRun] = Field(description="Runs that could be read.")
    refused: list[RefusedFrame] = Field(description="What is no label, and why.")
    duplicates: list[DuplicateFrame] = Field(description="What was there already.")
    warnings: list[LevelWarning] = Field(description="What was noticed, with stable codes.")

    @property
    def labels(self) -> int:
        """Number of labels that are new in the store."""
        return sum(run.labels for run in self.runs)

    @property
    def found(self) -> int:
        """Number of usable frames, new in the store or not."""
        return sum(run.labels + run.known + run.duplicates for run in self.runs)

    @property
    def unreadable(self) -> list[RefusedFrame]:
        """Runs that could not be read at all."""
        return [item for item in self.refused if item.kind == "unreadable"]
