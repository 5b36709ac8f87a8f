"""How far the committee can be trusted: from its spread to a standard deviation that holds.

sigma^2 = (scale x spread)^2 + floor^2. The ratio of the two parts is that of the largest Gaussian
likelihood of the held-out errors, as in the calibration of ensembles by Levi et al., Sensors 22,
5540 (2022); their size is then set such that 68 % of the errors lie within one sigma, because the
errors of a potential have heavier tails than a Gaussian (split conformal prediction, Angelopoulos
and Bates, arXiv:2107.07511).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from defect_workflows.documents.defects import BULK
from defect_workflows.documents.potential import Calibration, HeadCalibration, ParityPoint

ONE_SIGMA = 0.6827
"""Share of normally distributed errors within one standard deviation."""

SMALLEST = 1e-4
"""Errors and spreads below this, in eV, are not told apart."""

LARGEST_SCALE = 100.0
"""Factors on the spread are looked for up to this one."""


@dataclass(frozen=True)
class Residual:
    """A held-out label with the error of an energy and the committee's spread of it, in eV."""

    point: ParityPoint
    error: float
    spread: float


def energy_errors(points: Iterable[ParityPoint]) -> list[Residual]:
    """Return errors and spreads of the energies of held-out defect cells."""
    return [
        Residual(point, point.predicted - point.energy, point.spread)
        for point in points
        if point.split != "train" and point.state != BULK
    ]


def difference_errors(points: Iterable[ParityPoint]) -> list[Residual]:
    """Return errors and spreads of held-out energies relative to others of the same state.

    The search compares structures of one state: what errors, and what members of the committee,
    have in common there drops out. The others are the labels that were trained on, on average;
    states without such a label, or with nothing held out, have no part in it.
    """
    points = list(points)
    found = []
    for fidelity, state in dict.fromkeys((p.fidelity, p.state) for p in points if p.state != BULK):
        mine = [p for p in points if (p.fidelity, p.state) == (fidelity, state)]
        trained = [p for p in mine if p.split == "train"]
        if not trained:
            continue
        error = np.mean([p.predicted - p.energy for p in trained])
        members = np.mean([np.array(p.members) - p.energy for p in trained], axis=0)
        found += [
            Residual(
                p,
                float(p.predicted - p.energy - error),
                float(np.std(np.array(p.members) - p.energy - members, ddof=1))
                if len(p.members) > 1
                else 0.0,
            )
            for p in mine
            if p.split != "train"
        ]
    return found


def calibrate(residuals: Sequence[Residual]) -> Calibration | None:
    """Return the calibration of held-out labels; None without any.

    All heads together, as few as the held-out labels of a campaign are. `Calibration.within_sigma`
    and the shares of the heads judge every geometry family by a calibration that has not seen it.
    """
    if not residuals:
        return None
    errors = np.array([item.error for item in residuals])
    spreads = np.array([item.spread for item in residuals])
    scale, floor = fit(errors, spreads)
    sigmas = unseen_sigmas(residuals)
    within = None if sigmas is None else np.abs(errors) <= sigmas
    heads = [
        HeadCalibration(
            fidelity=fidelity,
            labels=int(mine.sum()),
            within_sigma=None if within is None else float(within[mine].mean()),
        )
        for fidelity in dict.fromkeys(item.point.fidelity for item in residuals)
        if (mine := np.array([item.point.fidelity == fidelity for item in residuals])).any()
    ]
    return Calibration(
        labels=len(residuals),
        families=len({item.point.family for item in residuals}),
        within=float(np.mean(np.abs(errors) <= spreads)),
        scale=scale,
        floor=floor,
        within_sigma=None if within is None else float(within.mean()),
        heads=heads,
    )


def fit(errors: np.ndarray, spreads: np.ndarray) -> tuple[float, float]:
    """Return scale and floor (eV) of sigma^2 = (scale x spread)^2 + floor^2.

    Parameters
    ----------
    errors, spreads
        In eV, shape (labels,) each.
    """
    squares = np.maximum(np.abs(errors), SMALLEST) ** 2
    top = float(np.sqrt(squares.max()))

    def unlikely(parameters: np.ndarray) -> float:
        scale, floor = np.exp(parameters)
        variance = (scale * spreads) ** 2 + floor**2
        return float(np.mean(np.log(variance) + squares / variance))

    bounds = [(np.log(1e-3), np.log(LARGEST_SCALE)), (np.log(SMALLEST), np.log(2 * top))]
    middle = np.log(max(SMALLEST, float(np.sqrt(squares.mean()))))
    best = min(
        (
            minimize(unlikely, start, bounds=bounds, method="L-BFGS-B")
            for start in ([0.0, middle], [0.0, middle - 2], [1.0, middle - 4], [-4.0, middle])
        ),
        key=lambda result: result.fun,
    )
    scale, floor = np.exp(best.x)
    ratios = np.sqrt(squares / ((scale * spreads) ** 2 + floor**2))
    # Weibull: of n labels the next one is beyond the largest with probability 1 / (n + 1)
    size = float(np.quantile(ratios, ONE_SIGMA, method="weibull"))
    return float(scale * size), float(floor * size)


def unseen_sigmas(residuals: Sequence[Residual]) -> np.ndarray | None:
    """Return the sigma in eV of each label by the calibration of the other families.

    None where there is one family alone.
    """
    families = np.array([item.point.family for item in residuals])
    if len(set(families)) < 2:
        return None
    errors = np.array([item.error for item in residuals])
    spreads = np.array([item.spread for item in residuals])
    sigmas = np.empty(len(residuals))
    for family in set(families):
        mine = families == family
        scale, floor = fit(errors[~mine], spreads[~mine])
        sigmas[mine] = np.hypot(scale * spreads[mine], floor)
    return sigmas


def with_sigmas(
    points: Sequence[ParityPoint], calibration: Calibration | None
) -> list[ParityPoint]:
    """Return parity points with their calibrated sigma; held-out ones by the other families."""
    if calibration is None:
        return list(points)
    residuals = energy_errors(points)
    unseen = unseen_sigmas(residuals)
    known = (
        {}
        if unseen is None
        else {id(item.point): float(sigma) for item, sigma in zip(residuals, unseen, strict=True)}
    )
    return [
        point.model_copy(update={"sigma": known.get(id(point), calibration.sigma(point.spread))})
        for point in points
    ]
