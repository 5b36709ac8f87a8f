"""Architecture and optimisation of the sizes of potential."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Architecture and optimisation of a size of potential.

    A model that is trained on takes `continued_share` of the epochs of a new one: new labels lie
    where its energies are wrong by eV, and a short or careful schedule ends worse than it began.

    `energy_weight` counts squared errors in eV per atom, `force_weight` those in eV/Å; in the last
    `energy_share` of the epochs the energy counts `energy_boost` times more. There the training
    stops when the validation error did not fall for `patience_share` of all epochs.

    The architecture (`cutoff` to `radial`, `radial_functions`) is that of a new model; a foundation
    model brings its own, and learns at `foundation_learning_rate`.
    """

    cutoff: float
    channels: int
    max_l: int
    max_ell: int
    correlation: int
    interactions: int
    radial: tuple[int, ...]
    learning_rate: float
    batch_size: int
    epochs: int
    continued_share: float
    energy_weight: float = 1000.0
    force_weight: float = 100.0
    energy_boost: float = 10.0
    energy_share: float = 0.35
    patience_share: float = 0.15
    ema_decay: float = 0.98
    soft_force: float = float("inf")
    radial_functions: int = 8
    embedding_size: int = 16
    foundation_learning_rate: float = 0.001


PRESETS = {
    # Two interactions see 9 Å through a cutoff of 4.5 Å, at the price of one through 6 Å.
    "small": Preset(
        soft_force=0.5,
        cutoff=4.5,
        channels=16,
        max_l=1,
        max_ell=2,
        correlation=2,
        interactions=2,
        radial=(32, 32),
        learning_rate=0.03,
        batch_size=4,
        epochs=200,
        continued_share=0.5,
    ),
    "standard": Preset(
        cutoff=6.0,
        channels=128,
        max_l=1,
        max_ell=3,
        correlation=3,
        interactions=2,
        radial=(64, 64, 64),
        learning_rate=0.005,
        batch_size=8,
        epochs=200,
        continued_share=0.6,
        ema_decay=0.995,
    ),
}
