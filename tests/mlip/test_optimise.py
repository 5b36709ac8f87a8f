"""When a training stops, what it keeps, and how fast it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mace.tools import MetricsLogger

from defect_workflows.campaign import PotentialSettings
from defect_workflows.documents.labels import Label
from defect_workflows.mlip.model import build_model
from defect_workflows.mlip.optimise import Training, one_cycle
from defect_workflows.mlip.train import graphs_of, prepare

from .solid import TINY

EPOCHS = 20
LATE = 13
"""Epochs before the last part of the schedule, with TINY's energy_share of 0.35."""


def make_training(
    labels: list[Label],
    settings: PotentialSettings,
    kind: type[Training] = Training,
    watched: bool = True,
    rate: float = 0.0,
    **changes: float,
) -> Training:
    prepared = prepare(labels, settings)
    preset = replace(TINY, **changes)
    train, valid = (
        graphs_of(part[:4], prepared.reference, preset.cutoff, preset.soft_force, torch.float32)
        for part in (prepared.splits.train, prepared.splits.valid)
    )
    torch.manual_seed(1)
    model = build_model(train, prepared.reference, preset)
    return kind(model, train, valid if watched else [], preset, EPOCHS, 1, rate)


@pytest.fixture
def log(tmp_path: Path) -> MetricsLogger:
    return MetricsLogger(str(tmp_path), "log")


def test_it_stops_when_nothing_gets_better_but_not_before_the_last_part(
    labels: list[Label], settings: PotentialSettings, log: MetricsLogger
) -> None:
    course = make_training(labels, settings, patience_share=0.2).run(log)
    assert course.stopped == "no improvement"
    assert (course.planned, course.epochs, course.best) == (EPOCHS, LATE + 1 + 4, LATE + 1)


def test_it_goes_on_while_it_gets_better(
    labels: list[Label], settings: PotentialSettings, log: MetricsLogger
) -> None:
    course = make_training(labels, settings, patience_share=0.2, rate=1e-3).run(log)
    assert course.stopped == "end of schedule"
    assert course.epochs == EPOCHS


class Scripted(Training):
    """Weights that get better until an epoch of the last part and worse afterwards."""

    BEST = 16

    def train_epoch(self) -> float:
        self.epoch += 1
        for weight, good in zip(self.average.shadow_params, self.good, strict=True):
            weight.copy_(good + 3.0 * abs(self.epoch - self.BEST))
        return 1.0

    @property
    def good(self) -> list[torch.Tensor]:
        if not hasattr(self, "_good"):
            Training.train_epoch(self)
            self.epoch = 1
            self._good = [weight.clone() for weight in self.average.shadow_params]
        return self._good


def test_the_best_weights_are_kept(
    labels: list[Label], settings: PotentialSettings, log: MetricsLogger
) -> None:
    training = make_training(labels, settings, Scripted, patience_share=0.1)
    course = training.run(log)
    assert (course.best, course.epochs) == (Scripted.BEST, Scripted.BEST + 2)
    for parameter, good in zip(training.model.parameters(), training.good, strict=True):
        torch.testing.assert_close(parameter.detach(), good)


def test_without_validation_the_last_epoch_is_kept(
    labels: list[Label], settings: PotentialSettings, log: MetricsLogger
) -> None:
    course = make_training(labels, settings, watched=False).run(log)
    assert (course.epochs, course.best, course.stopped) == (EPOCHS, EPOCHS, "end of schedule")


def test_the_rate_rises_at_once_and_falls_to_a_hundredth() -> None:
    for steps in (1, 19, 20, 21, 1000):
        factors = [one_cycle(steps)(step) for step in range(steps + 1)]
        assert max(factors) == factors[max(1, steps // 20)] == pytest.approx(1.0)
        assert all(0 < factor <= 1 for factor in factors)
        assert factors[-1] == pytest.approx(0.01 if steps > 1 else 1.0)


def test_the_rate_changes_at_every_step(labels: list[Label], settings: PotentialSettings) -> None:
    training = make_training(labels, settings, rate=1.0, batch_size=1)
    before = training.optimizer.param_groups[0]["lr"]
    training.train_epoch()
    after = training.optimizer.param_groups[0]["lr"]
    assert after / before == pytest.approx(one_cycle(4 * EPOCHS)(4) / one_cycle(4 * EPOCHS)(0))
