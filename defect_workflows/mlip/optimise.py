"""The training loop: rate, averaged weights, what is kept, when it stops, where it goes on."""

from __future__ import annotations

import defect_workflows.mlip.quiet  # noqa: F401

# isort: split
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mace import modules
from mace.data import AtomicData
from mace.tools import MetricsLogger
from mace.tools.torch_geometric.dataloader import DataLoader
from mace.tools.train import evaluate, take_step
from torch_ema import ExponentialMovingAverage

from defect_workflows.documents.potential import Stop
from defect_workflows.errors import PotentialError
from defect_workflows.mlip.checkpoint import Checkpoint
from defect_workflows.mlip.presets import Preset

logger = logging.getLogger(__name__)

OUTPUTS = {"forces": True, "virials": False, "stress": False}
LARGEST_GRADIENT = 10.0
"""Norm to which a step's gradient is clipped."""

LOGGED = 10
"""Epochs between two looks at the validation set while nothing is decided by it."""


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes
    ----------
    planned, epochs, best
        Epochs of the schedule, epochs done, and the epoch whose weights were kept.
    stopped
        Why it ended.
    seconds
        Wall time in s, that of interrupted runs included as far as it was not lost.
    """

    planned: int
    epochs: int
    best: int
    stopped: Stop
    seconds: float


class Training:
    """Adam with a one-cycle learning rate, the average of the weights being what is kept.

    The validation set decides in the last part of the schedule only, in which the energy counts
    more (`Preset.energy_share`): before, the rate is high, the errors are noise, and they would
    not measure what is kept. There the averaged weights of the best epoch are remembered, and the
    training stops when `Preset.patience_share` of all epochs brought nothing better.

    Parameters
    ----------
    model
        The model, on the device to train on. It is changed.
    train, valid
        Graphs to train on, and those that decide; without the latter the last epoch is kept.
    preset
        Optimisation.
    epochs
        Epochs of the whole schedule.
    seed
        Seed of the order of the batches.
    learning_rate
        Highest learning rate.
    """

    def __init__(
        self,
        model: Any,
        train: list[AtomicData],
        valid: list[AtomicData],
        preset: Preset,
        epochs: int,
        seed: int,
        learning_rate: float,
    ) -> None:
        self.model = model
        self.preset = preset
        self.planned = epochs
        self.seed = seed
        self.device = next(model.parameters()).device
        self.order = torch.Generator().manual_seed(seed)
        self.loader = _loader(train, preset.batch_size, self.order)
        self.watch = _loader(valid, 4 * preset.batch_size) if valid else None
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, amsgrad=True)
        factor = one_cycle(epochs * len(self.loader))
        self.rate = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.average = ExponentialMovingAverage(model.parameters(), decay=preset.ema_decay)
        self.epoch = 0
        self.best_error = float("inf")
        self.best_epoch = 0
        self.best_weights: list[torch.Tensor] = []
        self.seconds = 0.0

    def run(self, log: MetricsLogger, checkpoint: Checkpoint | None = None) -> Course:
        """Train to the end, from the checkpoint on if there is one; the model has the weights kept.

        Raises
        ------
        PotentialError
            If the loss is not a number.
        """
        if checkpoint is not None and (state := checkpoint.load()) is not None:
            # on a GPU the weights may have the layout of other kernels
            if state["model"].keys() == self.model.state_dict().keys():
                self.restore(state)
                logger.info("seed %d: goes on after epoch %d", self.seed, self.epoch)
            else:
                logger.warning("checkpoint %s ignored (other kernels)", checkpoint.path)
        clock = time.perf_counter()
        while self.epoch < self.planned and not self.impatient:
            loss = self.train_epoch()
            log.log({"mode": "opt", "epoch": self.epoch, "loss": loss})
            self.judge(log)
            self.seconds += time.perf_counter() - clock
            clock = time.perf_counter()
            if checkpoint is not None:
                checkpoint.save(self.state)
        kept = self.best_weights or self.average.shadow_params
        with torch.no_grad():
            for parameter, weight in zip(self.model.parameters(), kept, strict=True):
                parameter.copy_(weight)
        return Course(
            planned=self.planned,
            epochs=self.epoch,
            best=self.best_epoch or self.epoch,
            stopped="no improvement" if self.impatient else "end of schedule",
            seconds=self.seconds,
        )

    @property
    def late(self) -> bool:
        """Whether the present epoch is in the last part of the schedule."""
        return self.epoch > self.planned * (1 - self.preset.energy_share)

    @property
    def impatient(self) -> bool:
        """Whether the best epoch is too long ago; not at the end of the schedule, which is one."""
        patience = math.ceil(self.preset.patience_share * self.planned)
        waited = self.epoch - self.best_epoch if self.best_epoch else 0
        return waited >= patience and self.epoch < self.planned

    @property
    def energy_weight(self) -> float:
        """Weight of squared energy errors in the loss of the present epoch."""
        return self.preset.energy_weight * (self.preset.energy_boost if self.late else 1.0)

    def train_epoch(self) -> float:
        """Begin the next epoch, take a step with every batch; return the mean of their losses.

        Raises
        ------
        PotentialError
            If a weight is not finite afterwards.
        """
        self.epoch += 1
        loss_fn = modules.WeightedEnergyForcesLoss(
            energy_weight=self.energy_weight, forces_weight=self.preset.force_weight
        ).to(self.device)
        total = 0.0
        for batch in self.loader:
            _, metrics = take_step(
                model=self.model,
                loss_fn=loss_fn,
                batch=batch,
                optimizer=self.optimizer,
                ema=self.average,
                output_args=OUTPUTS,
                max_grad_norm=LARGEST_GRADIENT,
                device=self.device,
            )
            self.rate.step()
            total += float(metrics["loss"])
        if not all(torch.isfinite(parameter).all() for parameter in self.model.parameters()):
            raise PotentialError(
                f"training, seed {self.seed}: the loss is not a number from epoch {self.epoch} of "
                f"{self.planned} on; look for labels with extreme forces or lower the learning rate"
            )
        return total / len(self.loader)

    def judge(self, log: MetricsLogger) -> None:
        """Measure the averaged weights on the validation set and remember them if they are best."""
        ended = self.epoch == self.planned
        deciding = self.late or ended
        if self.watch is None or not (deciding or self.epoch % LOGGED == 0):
            return
        loss_fn = modules.WeightedEnergyForcesLoss()  # evaluate asks for one; its value is not used
        with self.average.average_parameters():
            _, errors = evaluate(
                self.model, loss_fn.to(self.device), self.watch, OUTPUTS, self.device
            )
        energy, force = float(errors["rmse_e_per_atom"]), float(errors["rmse_f"])
        record = {"mode": "eval", "epoch": self.epoch, "rmse_e_per_atom": energy, "rmse_f": force}
        log.log(record)
        if self.epoch % LOGGED == 0 or ended:
            logger.info(
                "seed %d, epoch %d of %d: validation %.2f meV/atom, %.1f meV/Å",
                self.seed, self.epoch, self.planned, 1e3 * energy, 1e3 * force,
            )  # fmt: skip
        # the same measure to the end: what the loss weighs in the last part
        error = (
            self.preset.energy_weight * self.preset.energy_boost * energy**2
            + self.preset.force_weight * force**2
        )
        if deciding and error < self.best_error:
            self.best_error, self.best_epoch = error, self.epoch
            self.best_weights = [weight.clone() for weight in self.average.shadow_params]

    def state(self) -> dict[str, Any]:
        """Return all that an uninterrupted training would go on with."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            # without what it puts aside while averaged weights are looked at
            "average": {**self.average.state_dict(), "collected_params": None},
            "order": self.order.get_state(),
            "random": torch.get_rng_state(),
            "epoch": self.epoch,
            "best_error": self.best_error,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate.load_state_dict(state["rate"])
        self.average.load_state_dict(state["average"])
        self.order.set_state(state["order"])
        torch.set_rng_state(state["random"])
        self.epoch = state["epoch"]
        self.best_error, self.best_epoch = state["best_error"], state["best_epoch"]
        self.best_weights = [weight.to(self.device) for weight in state["best_weights"]]
        self.seconds = state["seconds"]


def one_cycle(steps: int) -> Callable[[int], float]:
    """Return the learning rate's factor at each step: a short rise, then a cosine to 1 %.

    After Smith and Topin, arXiv:1708.07120. torch's OneCycleLR divides by zero when its rise
    has exactly one step.
    """
    rise = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        share = (step - rise) / max(1, steps - rise)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))

    return factor


def _loader(graphs: Any, batch_size: int, generator: torch.Generator | None = None) -> DataLoader:
    """Return graphs in batches, shuffled by a generator if there is one."""
    return DataLoader(
        graphs, batch_size=batch_size, shuffle=generator is not None, generator=generator
    )
