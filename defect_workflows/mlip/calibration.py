"""How far the potential can be trusted: from a distance to a standard deviation that holds.

sigma = floor x sqrt(1 + (growth x distance)^2), the distance from what was trained on
(`mlip.domain`). The floor is what the potential is wrong by where it was trained. The growth is
such that 68 % of the errors at labels that were not trained on lie within one sigma, whatever their
distribution (split conformal prediction, Angelopoulos and Bates, arXiv:2107.07511): a likelihood
would follow the few errors of several eV.

A campaign holds few labels out. But all labels that a round adds are unseen by the potential that
asked for them, and its errors there are those of search and refinement, where it matters. In units
of its own floor they tell of the next potential too (benchmarks).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from defect_workflows.documents.defects import BULK
from defect_workflows.documents.potential import Calibration, HeadCalibration, ParityPoint

ONE_SIGMA = 0.6827
"""Share of normally distributed errors within one standard deviation."""

SMALLEST = 1e-4
"""Errors in eV, and distances, below this are not told apart."""

LATER = "later"
"""Split of labels made since the potential that is compared with them was trained."""


@dataclass(frozen=True)
class Residual:
    """A label that was not trained on, with the error of an energy.

    Attributes
    ----------
    point
        The label beside its prediction.
    error
        In eV.
    floor
        What the same potential is wrong by where it was trained, in eV.
    """

    point: ParityPoint
    error: float
    floor: float

    @property
    def growth(self) -> float:
        """The growth by which the error would be just within one sigma."""
        beyond = max((self.error / self.floor) ** 2 - 1, 0.0)
        return float(np.sqrt(beyond) / max(self.point.distance, SMALLEST))

    def within(self, growth: float) -> bool:
        """Tell whether the error is within one sigma for a growth of the errors."""
        return self.growth <= growth


def energy_errors(points: Iterable[ParityPoint]) -> list[Residual]:
    """Return the errors of energies of defect cells that were not trained on.

    Parameters
    ----------
    points
        Labels beside the predictions of one potential, those it was trained on among them.
    """
    cells = [point for point in points if point.state != BULK]
    floor = _floor(point.predicted - point.energy for point in cells if point.split == "train")
    return [
        Residual(point, point.predicted - point.energy, floor)
        for point in cells
        if point.split != "train"
    ]


def difference_errors(points: Iterable[ParityPoint]) -> list[Residual]:
    """Return the errors of such energies relative to others of the same state.

    The search compares structures of one state: what errors have in common there drops out. The
    others are the labels that were trained on, on average; states without such a label have no part
    in it.

    Parameters
    ----------
    points
        As in `energy_errors`.
    """
    by_state: dict[tuple[str, str], list[ParityPoint]] = {}
    for point in points:
        if point.state != BULK:
            by_state.setdefault((point.fidelity, point.state), []).append(point)
    trained, unseen = [], []
    for mine in by_state.values():
        errors = np.array([point.predicted - point.energy for point in mine])
        known = np.array([point.split == "train" for point in mine])
        if known.any():
            errors -= errors[known].mean()
            trained += errors[known].tolist()
            unseen += [
                (point, float(error))
                for point, error in zip(mine, errors, strict=True)
                if point.split != "train"
            ]
    floor = _floor(trained)
    return [Residual(point, error, floor) for point, error in unseen]


def _floor(errors: Iterable[float]) -> float:
    """Return what holds 68 % of the errors in eV where the potential was trained."""
    known = np.abs(list(errors))
    return max(SMALLEST, float(np.quantile(known, ONE_SIGMA))) if len(known) else SMALLEST


def calibrate(residuals: Sequence[Residual]) -> Calibration | None:
    """Return the calibration by labels that were not trained on; None without any.

    The floor is that of the first: of the potential that is calibrated. All heads together, as few
    as such labels of a campaign are. `Calibration.within_sigma` and the shares of the heads judge
    every geometry family by a calibration that has not seen it.
    """
    if not residuals:
        return None
    found = growth(residuals)
    unseen = unseen_growths(residuals)
    within = None
    if unseen is not None:
        within = np.array([one.within(g) for one, g in zip(residuals, unseen, strict=True)])
    fidelities = np.array([item.point.fidelity for item in residuals])
    floor = residuals[0].floor
    return Calibration(
        labels=len(residuals),
        later=sum(item.point.split == LATER for item in residuals),
        families=len({item.point.family for item in residuals}),
        within=float(np.mean([abs(item.error) <= item.point.spread for item in residuals])),
        slope=floor * found,
        floor=floor,
        within_sigma=None if within is None else float(within.mean()),
        heads=[
            HeadCalibration(
                fidelity=fidelity,
                labels=int((fidelities == fidelity).sum()),
                within_sigma=None
                if within is None
                else float(within[fidelities == fidelity].mean()),
            )
            for fidelity in dict.fromkeys(item.point.fidelity for item in residuals)
        ],
    )


def growth(residuals: Sequence[Residual]) -> float:
    """Return how fast sigma grows with the distance, such that 68 % of the errors are within it."""
    # Weibull: of n labels the next one is beyond the largest with probability 1 / (n + 1)
    needed = [item.growth for item in residuals]
    return float(np.quantile(needed, ONE_SIGMA, method="weibull"))


def unseen_growths(residuals: Sequence[Residual]) -> np.ndarray | None:
    """Return the growth by which each label is judged: that of the other families.

    None where there is one family alone.
    """
    families = np.array([item.point.family for item in residuals])
    if len(set(families)) < 2:
        return None
    found = np.empty(len(residuals))
    for family in set(families):
        others = [item for item in residuals if item.point.family != family]
        found[families == family] = growth(others)
    return found


def with_sigmas(
    points: Iterable[ParityPoint], residuals: Sequence[Residual], calibration: Calibration | None
) -> list[ParityPoint]:
    """Return parity points with their calibrated sigma.

    Parameters
    ----------
    points
        Labels beside predictions.
    residuals
        Those that were not trained on: each has the sigma of its own potential, by the other
        families.
    calibration
        Of all of them.
    """
    points = list(points)
    if calibration is None:
        return points
    unseen = unseen_growths(residuals)
    if unseen is None:
        unseen = np.full(len(residuals), growth(residuals))
    known = {
        id(item.point): float(item.floor * np.hypot(1, one * item.point.distance))
        for item, one in zip(residuals, unseen, strict=True)
    }
    return [
        point.model_copy(update={"sigma": known.get(id(point), calibration.sigma(point.distance))})
        for point in points
    ]
