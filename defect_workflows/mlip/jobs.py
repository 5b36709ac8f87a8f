"""Jobs: what deserves HSE06, one model of the committee, and the probed potential."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from defect_workflows import reuse
from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.dataset import DatasetDocument
from defect_workflows.documents.defects import ConfigurationSet
from defect_workflows.documents.labels import Label, LabelSet
from defect_workflows.documents.potential import CommitteeMember, PotentialDocument
from defect_workflows.documents.search import VerifiedCandidate
from defect_workflows.settings import read_settings


@reuse.job(output_schema=ConfigurationSet, data=["configurations"])
def select_configurations(labels: LabelSet, share: float) -> ConfigurationSet:
    """Choose the configurations to label at HSE06 among those labelled at PBE.

    Parameters
    ----------
    labels
        All labels so far. What has an HSE06 label already is not chosen again, and what PBE says is
        `harsh` not at all.
    share
        Share of the configurations, 0 < share <= 1.
    """
    from defect_workflows.mlip.dataset import harsh, ids
    from defect_workflows.mlip.select import select

    done = ids(label for label in labels.labels if label.fidelity == "hse06")
    open_labels = [
        label
        for label in labels.labels
        if label.fidelity == "pbe" and label.configuration.id not in done
    ]
    by_defect: dict[str, list[Label]] = defaultdict(list)
    for label in open_labels:
        by_defect[label.configuration.origin.defect].append(label)
    extreme = set().union(*map(harsh, by_defect.values()))
    candidates = [
        label.configuration for label in open_labels if label.configuration.id not in extreme
    ]
    return ConfigurationSet(configurations=select(candidates, share))


@reuse.job(output_schema=CommitteeMember, data=["model"])
def train_member(
    labels: LabelSet,
    settings: PotentialSettings,
    seed: int,
    previous: PotentialDocument | None = None,
    index: int = 0,
) -> CommitteeMember:
    """Train one member of the committee.

    Parameters
    ----------
    labels
        All labels so far.
    settings
        Settings of the potential.
    seed
        Seed of the member.
    previous
        Potential of the round before; training starts from its member at `index`.
    """
    from defect_workflows.mlip import train
    from defect_workflows.mlip.checkpoint import Checkpoint

    start = previous.members[index] if previous is not None else None
    key = reuse.fingerprint("training", *_inputs(labels, settings), seed, _start(start, settings))
    checkpoint = Checkpoint(read_settings().checkpoints.expanduser() / f"{key}.pt", key)
    return reuse.finished_or(
        lambda: train.train_member(
            labels.labels, settings, seed, start, fingerprint=key, checkpoint=checkpoint
        ),
        key,
        CommitteeMember,
    )


@reuse.job(
    output_schema=PotentialDocument, data=["model", "parity", "later", "features", "dataset"]
)
def make_potential(
    labels: LabelSet,
    settings: PotentialSettings,
    members: Sequence[CommitteeMember],
    round: int = 0,
    previous: PotentialDocument | None = None,
) -> PotentialDocument:
    """Reload, probe and measure the committee.

    Parameters
    ----------
    labels, settings
        What the members were trained on and with.
    members
        The trained models.
    round
        Round of the campaign.
    previous
        Potential of the round before, whose errors at the labels made since calibrate this one too.
    """
    from defect_workflows.mlip import assemble

    key = reuse.fingerprint(
        "potential with the zero at its lowest labels",
        *_inputs(labels, settings),
        [member.sha256 for member in members],
        round,
        previous.fingerprint if previous is not None else None,
    )
    return reuse.finished_or(
        lambda: assemble.make_potential(labels.labels, settings, members, key, round, previous),
        key,
        PotentialDocument,
    )


@reuse.job(output_schema=DatasetDocument, data=["labels", "duplicates", "outliers", "refused"])
def index_labels(
    labels: LabelSet, verified: Sequence[VerifiedCandidate], potential: PotentialDocument
) -> DatasetDocument:
    """Return the index and the audit of all labels of a campaign.

    Parameters
    ----------
    labels
        All labels but those of the last refinements.
    verified
        Candidates with their HSE06 single points, refined ones included.
    potential
        The last one, which says what it was trained on.
    """
    from defect_workflows.mlip.audit import make_dataset

    last = [label for item in verified for label in item.labels]
    sides = {(record.id, record.fidelity): record.split for record in potential.dataset.labels}
    return make_dataset([*labels.labels, *last], labels.refused, sides)


def _start(previous: CommitteeMember | None, settings: PotentialSettings) -> str | None:
    """Return the hash of the model file that a training starts from, if any."""
    from defect_workflows.mlip.foundation import foundation_hash

    if previous is not None:
        return previous.sha256
    return foundation_hash(settings.foundation) if settings.foundation is not None else None


def _inputs(labels: LabelSet, settings: PotentialSettings) -> tuple[Any, ...]:
    """Return what the training depends on, in a form that does not depend on the order."""
    from defect_workflows.mlip.presets import PRESETS

    # how many models there are and where they are trained does not change one of them; what a
    # foundation model's file is called neither, its content is in the models
    chosen = settings.model_dump(exclude={"committee", "device", "foundation"})
    return (
        sorted(label.fingerprint for label in labels.labels),
        chosen,
        PRESETS[settings.preset],
    )
