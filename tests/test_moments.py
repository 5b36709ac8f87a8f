"""Magnetic moments follow their atoms, whatever is done to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.defects.sample import sample
from defect_workflows.distortions import (
    ANTISITE,
    DIMER,
    RATTLED,
    UNPERTURBED,
    Distorter,
    bond_distortion,
    in_charge_state,
    rattled,
)
from defect_workflows.documents.defects import ChargedConfiguration, Origin
from defect_workflows.moments import moments_by_site, moments_of, with_moments

CHAIN = Structure(
    Lattice.tetragonal(3.0, 8.4),
    ["Ni", "Ni", "O", "O"],
    [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25], [0.5, 0.5, 0.75]],
    site_properties={"magmom": [1.7, -1.7, 0.1, 0.0]},
)


def test_moments_are_replaced_and_removed():
    assert moments_of(CHAIN) == [1.7, -1.7, 0.1, 0.0]
    bare = with_moments(CHAIN, None)
    assert moments_of(bare) is None
    assert "magmom" not in bare.site_properties
    assert moments_of(with_moments(bare, [1, 2, 3, 4])) == [1, 2, 3, 4]
    assert moments_of(CHAIN) == [1.7, -1.7, 0.1, 0.0]
    with pytest.raises(ValueError, match="found 1, expected 4"):
        with_moments(CHAIN, [1])


@given(st.permutations(range(4)), st.integers(0, 3))
def test_moments_are_found_by_where_atoms_are(order, lost):
    shuffled = Structure.from_sites([with_moments(CHAIN, None)[i] for i in order])
    expected = [moments_of(CHAIN)[i] for i in order]
    assert moments_by_site(shuffled, CHAIN) == expected
    shuffled.remove_sites([lost])
    assert moments_by_site(shuffled, CHAIN) == expected[:lost] + expected[lost + 1 :]


def test_atoms_that_the_host_lacks_have_none():
    defective = with_moments(CHAIN, None)
    defective.replace(0, "Co")
    defective.append("Ni", [0.5, 0.5, 0.0])
    # across the boundary of the cell
    defective.translate_sites([1], [0, 0, 0.499], to_unit_cell=True)
    defective.translate_sites([1], [0, 0, 0.501], to_unit_cell=False)
    assert moments_by_site(defective, CHAIN) == [0, -1.7, 0.1, 0, 0]
    assert moments_by_site(defective, with_moments(CHAIN, None)) is None


def test_a_rattle_and_another_charge_keep_them():
    structure = with_charge(CHAIN.make_supercell([2, 2, 1], in_place=False), -1)
    moved = rattled(structure, 0.05, seed=3)
    assert moments_of(moved) == moments_of(structure)
    assert charge_of(moved) == -1
    assert moments_of(in_charge_state(moved, 2)) == moments_of(structure)
    assert not np.allclose(moved.frac_coords, structure.frac_coords)


def test_every_distortion_keeps_them():
    host = CHAIN.make_supercell([3, 3, 1], in_place=False)
    vacancy = with_charge(host, 0)
    vacancy.remove_sites([4])
    distorter = Distorter(
        structure=vacancy, charge=1, neighbours=2, site=tuple(host[4].frac_coords),
        site_index=None, missing="Ni", amplitude=0.1,
    )  # fmt: skip
    for name in (UNPERTURBED, RATTLED, DIMER, bond_distortion(-0.3), f"{ANTISITE}O"):
        structure = distorter.distorted(name, seed=1)
        assert moments_of(structure) == moments_of(vacancy), name
        assert charge_of(structure) == 1


def test_relaxed_structures_and_symmetric_copies_keep_them():
    from defect_workflows.search.copies import copy_within
    from defect_workflows.search.relax import with_positions

    structure = with_charge(CHAIN, 0)
    moved = with_positions(structure, structure.cart_coords + 0.05)
    assert moments_of(moved) == moments_of(structure)
    # the same crystal with its atoms in another order
    other = Structure.from_sites([structure[i] for i in (1, 0, 3, 2)])
    copy = copy_within(with_charge(other, 0), structure, 0.3)
    assert copy is not None
    found = moments_of(copy.structure)
    assert found == [moments_of(other)[i] for i in copy.order]


def test_moments_decide_on_the_configuration():
    origin = Origin(state="bulk", family="bulk/x", kind="bulk")
    up, down, none = (
        ChargedConfiguration.of(with_charge(structure, 0), origin)
        for structure in (
            CHAIN,
            with_moments(CHAIN, [-m for m in moments_of(CHAIN)]),
            with_moments(CHAIN, None),
        )
    )
    assert len({up.id, down.id, none.id}) == 3
    again = ChargedConfiguration.model_validate_json(up.model_dump_json())
    assert moments_of(again.structure) == moments_of(CHAIN)


def test_what_is_sampled_has_the_moments_of_its_atoms(magnetic_defects):
    from defect_workflows.campaign import SamplingSettings

    settings = SamplingSettings(per_state=12, bulk=2, distortions=[-0.3], rattle_amplitudes=[0.05])
    states, host = magnetic_defects.states, magnetic_defects.host.supercell
    found = sample(states, host, settings)
    own = {state.name: moments_of(state.structure) for state in states} | {"bulk": moments_of(host)}
    assert {item.origin.kind for item in found} == {"rattle", "distortion", "path", "bulk"}
    for item in found:
        assert moments_of(item.structure) == own[item.origin.state], item.origin.family
