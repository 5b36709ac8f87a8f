"""Real calculations as files that a test may change."""

import gzip
from pathlib import Path

from defect_workflows.dft.finished import read_calculation
from defect_workflows.documents.calculations import FinishedCalculation

# Provenance, not content.
_WHERE = {"directory", "files", "seconds"}


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def put(target: Path, **files: bytes) -> Path:
    """Write files into a folder; `vasprun` stands for vasprun.xml."""
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (target / name.replace("vasprun", "vasprun.xml")).write_bytes(content)
    return target


def content(calculation: FinishedCalculation, **options) -> dict:
    return calculation.model_dump(exclude=_WHERE, **options)


def outcar_alone(source: Path, target: Path) -> FinishedCalculation:
    return read_calculation(put(target, OUTCAR=unpacked(source / "OUTCAR.gz")))


def vasprun_alone(source: Path, target: Path) -> FinishedCalculation:
    return read_calculation(put(target, vasprun=unpacked(source / "vasprun.xml.gz")))
