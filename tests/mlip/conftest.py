"""A potential trained once for all tests, on a solid with known physics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.labels import Label
from defect_workflows.documents.potential import CommitteeMember, PotentialDocument
from defect_workflows.mlip import assemble, train
from defect_workflows.mlip.dataset import default_dtype
from defect_workflows.mlip.predict import Potential

from .solid import TINY, make_labels


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    """MACE's own calculator, which some tests compare with, sets torch's precision for good."""
    with default_dtype(torch.get_default_dtype()):
        yield


@pytest.fixture(scope="session")
def labels() -> list[Label]:
    return make_labels()


@pytest.fixture(scope="session")
def settings() -> PotentialSettings:
    return PotentialSettings(preset="small", device="cpu", test_share=0.2)


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def members(labels: list[Label], settings: PotentialSettings, logs: Path) -> list[CommitteeMember]:
    return [train.train_member(labels, settings, seed, None, logs, TINY) for seed in (1, 2)]


@pytest.fixture(scope="session")
def document(
    labels: list[Label], settings: PotentialSettings, members: list[CommitteeMember]
) -> PotentialDocument:
    return assemble.make_potential(labels, settings, members, "a fingerprint")


@pytest.fixture(scope="session")
def potential(document: PotentialDocument) -> Potential:
    return Potential.from_document(document, "cpu")
