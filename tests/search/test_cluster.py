from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp

from defect_workflows.search.cluster import cluster, difference

CUBIC = Lattice.cubic(7.0)
SPECIES = ["Cd"] * 3 + ["Te"] * 4
COORDS = np.random.default_rng(3).random((7, 3))

# The proper and improper operations of a cube.
CUBE = [
    np.diag(signs)[list(order)]
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0))
    for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1))
]


def structure(coords: np.ndarray, order: list[int] | None = None) -> Structure:
    order = list(range(7)) if order is None else order
    return Structure(CUBIC, [SPECIES[i] for i in order], coords[order])


@settings(max_examples=30, deadline=None)
@given(
    order=st.permutations(range(7)),
    shift=st.tuples(*[st.floats(-1, 1)] * 3),
    operation=st.sampled_from(CUBE),
)
def test_copies_of_a_structure_do_not_differ(order, shift, operation):
    copy = structure(COORDS @ operation.T + np.array(shift), list(order))
    assert difference(structure(COORDS), copy) < 1e-6


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), amplitude=st.floats(0.001, 0.05))
def test_small_displacements_are_small_differences(seed, amplitude):
    way = np.random.default_rng(seed).uniform(-1, 1, (7, 3))
    way *= amplitude / np.linalg.norm(way, axis=1).max()
    moved = Structure(CUBIC, SPECIES, COORDS @ CUBIC.matrix + way, coords_are_cartesian=True)
    # Each of the two atoms of a distance moves by at most the amplitude.
    assert difference(structure(COORDS), moved) <= 2 * amplitude + 1e-9


def test_moving_one_atom_is_a_difference():
    moved = COORDS.copy()
    moved[6, 0] += 0.1
    assert difference(structure(COORDS), structure(moved)) > 0.2


def test_exchanging_elements_is_a_difference():
    order = [0, 1, 3, 2, 4, 5, 6]
    exchanged = Structure(CUBIC, SPECIES, COORDS[order])
    assert difference(structure(COORDS), exchanged) > 0.2


def test_other_composition_is_never_the_same():
    other = structure(COORDS)
    other.replace(0, "Te")
    assert difference(structure(COORDS), other) == float("inf")


def test_cluster_puts_symmetric_copies_together_lowest_first():
    rotated = structure(COORDS)
    rotated.apply_operation(SymmOp.from_rotation_and_translation(CUBE[5]))
    dimer = structure(COORDS + np.eye(7, 3) * 0.08)
    minima = cluster(
        [structure(COORDS), dimer, rotated, dimer.copy()], [-1.0, -1.67, -1.003, -1.66]
    )
    assert minima == [[1, 3], [2, 0]]


def test_different_structures_of_equal_energy_stay_apart():
    assert cluster([structure(COORDS), structure(COORDS + np.eye(7, 3) * 0.08)], [0.0, 0.0]) == [
        [0],
        [1],
    ]


@pytest.mark.parametrize(("gap", "minima"), [(0.001, 1), (0.1, 2)])
def test_equal_structures_of_different_energy_stay_apart(gap, minima):
    # Equal geometry, another electronic state or a discontinuous potential: not one minimum.
    assert len(cluster([structure(COORDS)] * 2, [0.0, gap])) == minima
