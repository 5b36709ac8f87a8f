from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from defect_workflows.charge import charge_of, with_charge
from defect_workflows.search import relax as module
from defect_workflows.search.relax import relax

from .conftest import shaken
from .toy import WELL, ToyPotential, springs


def in_charge(structure: Structure, charge: int) -> Structure:
    return with_charge(Structure.from_sites(list(structure)), charge)


def run(potential, structures, **options):
    options = {"max_force": 0.01, "max_steps": 200} | options
    references = [p.energy for p in potential.predict(structures, "hse06")]
    return relax(potential, structures, references=references, **options)


def test_relaxations_end_in_their_own_minimum_with_their_own_charge(vacancy):
    potential = ToyPotential.of(vacancy)
    right, left = shaken(vacancy, 0.02, 1), shaken(vacancy, 0.02, 2)
    right.translate_sites([0], [0.5, 0, 0], frac_coords=False, to_unit_cell=False)
    left.translate_sites([0], [-0.5, 0, 0], frac_coords=False, to_unit_cell=False)
    starts = [in_charge(right, 0), in_charge(left, 0), in_charge(right, -1)]
    results = run(potential, starts)

    assert [r.verdict for r in results] == ["minimum"] * 3
    assert [charge_of(r.structure) for r in results] == [0, 0, -1]
    ends = [r.structure.cart_coords[0, 0] - vacancy.cart_coords[0, 0] for r in results]
    assert ends == pytest.approx([WELL, -WELL, 0], abs=0.03)
    assert results[0].energy < results[1].energy - 0.05
    for result, start in zip(results, starts, strict=True):
        assert result.max_force < 0.01
        assert result.start_energy == pytest.approx(potential.predict([start], "hse06")[0].energy)
        assert result.energy == pytest.approx(
            potential.predict([result.structure], "hse06")[0].energy
        )


def test_batches_do_not_change_results(vacancy, monkeypatch):
    potential = ToyPotential.of(vacancy)
    starts = [in_charge(shaken(vacancy, 0.05, seed), -1) for seed in range(5)]
    together = run(potential, starts)
    monkeypatch.setitem(module.BATCH_ATOMS, "cpu", 2 * len(vacancy))
    in_batches = run(potential, starts)
    alone = [run(potential, [start])[0] for start in starts]
    for results in (in_batches, alone):
        for one, other in zip(results, together, strict=True):
            assert one.verdict == other.verdict == "minimum"
            assert one.start_energy == pytest.approx(other.start_energy)
            # The first guess of the stiffness differs, so the last steps do.
            assert one.energy == pytest.approx(other.energy, abs=1e-3)
            assert np.allclose(
                one.structure.cart_coords, other.structure.cart_coords, atol=2 * 0.01 / 2.0
            )


@pytest.mark.parametrize("caution", [0.0, 2.0])
def test_the_stiffness_is_the_mean_second_derivative_of_what_is_relaxed_on(vacancy, caution):
    anion = in_charge(vacancy, -1)
    potential = ToyPotential.of(vacancy, disagreement=0.5)
    model = potential.torchsim_model("hse06", caution)
    found = module.stiffness(potential, model, anion)
    mean = float(springs(len(vacancy)).mean())
    assert found == pytest.approx(mean) if not caution else found > 1.2 * mean


def test_a_hole_of_the_potential_is_a_runaway(vacancy):
    (result,) = run(ToyPotential.of(vacancy, hole=True), [shaken(vacancy, 0.05, 1)])
    assert result.verdict == "runaway"


def test_atoms_that_approach_each_other_are_a_runaway(vacancy):
    # The spring of the second atom pulls it onto the place of the third.
    potential = ToyPotential.of(vacancy)
    potential.places[len(vacancy)] = vacancy.cart_coords.copy()
    potential.places[len(vacancy)][1] = vacancy.cart_coords[2] + 0.3
    (result,) = run(potential, [vacancy], max_force=1e-9)
    assert result.verdict == "runaway"


def test_a_nan_is_a_runaway_and_spares_the_others(vacancy):
    potential = ToyPotential.of(vacancy)
    broken = vacancy.copy()
    model = potential.torchsim_model("hse06")

    class Broken(type(model)):
        def forward(self, state, **kwargs):
            output = super().forward(state, **kwargs)
            if self.calls > 2:
                output["energy"][state.number == 1] = torch.nan
                output["forces"][(state.number == 1)[state.system_idx]] = torch.nan
            return output

    starts = [shaken(vacancy, 0.05, 1), shaken(broken, 0.05, 2)]
    results = run(potential, starts, correct=lambda m: Broken(m.places, m.hole))
    assert [r.verdict for r in results] == ["minimum", "runaway"]


def test_a_committee_that_keeps_disagreeing_stops_a_relaxation(vacancy):
    start = shaken(vacancy, 0.05, 1)
    (result,) = run(ToyPotential.of(vacancy, doubt=2.0), [start], max_force=1e-12)
    assert result.verdict == "out_of_domain"
    assert result.steps == (module.PATIENCE - 1) * module.LOOK_EVERY
    # the least doubtful frame is still worth a label: nobody knows where this start leads
    assert result.doubt == 2.0
    assert result.doubtful is not None


def test_the_most_doubtful_frame_in_the_domain_teaches_most():
    best = 0.0
    kept = []
    for doubt in (3.0, 2.0, 2.5, 0.4, 0.3, 0.9, 1.5):
        if module.teaches_more(doubt, best):
            best = doubt
            kept.append(doubt)
    assert kept == [3.0, 2.0, 0.4, 0.9]


def test_the_most_doubtful_frame_is_kept(vacancy):
    (result,) = run(ToyPotential.of(vacancy, doubt=0.5), [shaken(vacancy, 0.05, 1)], max_force=1e-4)
    assert result.steps >= module.LOOK_EVERY
    assert result.doubt == 0.5
    assert result.doubtful is not None
    assert charge_of(result.doubtful) == 0


def test_steps_run_out(vacancy):
    (result,) = run(ToyPotential.of(vacancy), [shaken(vacancy, 0.1, 1)], max_steps=3)
    assert result.verdict == "not_converged"
    assert result.max_force > 0.01


def test_nothing_to_relax(vacancy):
    assert run(ToyPotential.of(vacancy), []) == []
