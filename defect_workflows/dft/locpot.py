"""LOCPOT as planar averages."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from defect_workflows.dft import files
from defect_workflows.errors import CalculationError

_EMPTY_LINE = re.compile(r"\n[ \t]*\n")


def planar_averages(path: Path) -> list[np.ndarray]:
    """Return the average potential in eV along each of the three lattice vectors.

    Of several grids (spin) the first counts, as in pymatgen.

    Raises
    ------
    CalculationError
        One line, if the file is broken or cut off.
    """
    text = files.text(path)
    _, *body = _EMPTY_LINE.split(text, maxsplit=1)
    heading, _, values = "".join(body).partition("\n")
    try:
        nx, ny, nz = (int(word) for word in heading.split())
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's word for no number
            grid = np.fromstring(values, dtype=float, sep=" ", count=nx * ny * nz)
    except (ValueError, DeprecationWarning):
        raise CalculationError(f"{path}: found no grid of numbers, expected VASP's") from None
    # the last number may be cut too: a whole file ends with a line
    if grid.size != nx * ny * nz or not text.endswith("\n"):
        raise CalculationError(
            f"{path}: found {grid.size} numbers, expected {nx} x {ny} x {nz}: it is cut off"
        )
    if not np.isfinite(grid).all():
        raise CalculationError(f"{path}: found NaN, expected numbers")
    points = grid.reshape(nz, ny, nx)
    return [points.mean(axis=(0, 1)), points.mean(axis=(0, 2)), points.mean(axis=(1, 2))]
