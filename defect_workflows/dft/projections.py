"""One-electron states near the band edges with their orbital character, as pydefect wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Structure
from pymatgen.electronic_structure.core import Spin

from defect_workflows.dft.raw import Bands, Projections

if TYPE_CHECKING:
    from pydefect.analyzer.band_edge_states import BandEdgeOrbitalInfos

WINDOW = 10.0
"""States up to this far from the calculation's own band edges are kept, eV: a level in the gap may
be one of these edges, and the host's lie a gap away."""


def window(bands: Bands) -> tuple[int, int]:
    """Return the first band near the band edges and the one behind the last."""
    edges = bands.edges()
    if edges is None:
        return 0, 0
    highest, lowest = bands.energies.max(axis=(0, 1)), bands.energies.min(axis=(0, 1))
    near = np.flatnonzero((highest > edges.vbm - WINDOW) & (lowest < edges.cbm + WINDOW))
    return int(near[0]), int(near[-1]) + 1


def band_edge_orbitals(
    bands: Bands, projections: Projections, structure: Structure
) -> BandEdgeOrbitalInfos:
    """Return pydefect's form of the states near the band edges.

    Sites are not told apart: which are a defect's neighbours is known only later.
    """
    from doped import suppress_logging

    with suppress_logging():  # vise, below pydefect, announces its settings
        from pydefect.analyzer.band_edge_states import BandEdgeOrbitalInfos, OrbitalInfo
        from pydefect.cli.vasp.make_band_edge_orbital_infos import calc_orbital_character

    spins = dict(zip((Spin.up, Spin.down), projections.weights, strict=False))
    first = projections.first
    infos = [
        [
            [
                OrbitalInfo(
                    energy=float(bands.energies[index, k, first + band]),
                    orbitals=calc_orbital_character(spins, structure, spin, k, band),
                    occupation=float(bands.occupations[index, k, first + band]),
                )
                for band in range(weights.shape[1])
            ]
            for k in range(weights.shape[0])
        ]
        for index, (spin, weights) in enumerate(spins.items())
    ]
    return BandEdgeOrbitalInfos(
        orbital_infos=infos,
        kpt_coords=[tuple(float(x) for x in point) for point in bands.kpoints],
        kpt_weights=[float(weight) for weight in bands.weights],
        lowest_band_index=first,
        fermi_level=projections.fermi_energy,
    )
