import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from doped.thermodynamics import DefectThermodynamics
from hypothesis import given
from hypothesis import strategies as st
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder
from monty.serialization import loadfn

from defect_workflows.campaign import LevelSettings
from defect_workflows.documents.levels import Correction, LevelsResult, StateAnalysis
from defect_workflows.documents.search import Candidate, StateRisk, VerifiedCandidate
from defect_workflows.documents.verification import NOT_RELAXED, RoundRecord
from defect_workflows.energies import FORCE_CONSTANT
from defect_workflows.errors import CalculationError, CorrectionError, InputError
from defect_workflows.levels.envelope import lower_envelope
from defect_workflows.levels.jobs import assemble_levels
from defect_workflows.levels.potentials import given_potentials
from defect_workflows.levels.states import choose_winners
from defect_workflows.levels.thermodynamics import assemble, defect_levels

from .conftest import make_label


def candidate(calculation, energy, rank=0, spread=0.01):
    return Candidate(
        state=calculation.state.name,
        structure=calculation.calculation.structure,
        energy=energy,
        spread=spread,
        distance=1.0,
        uncertainty=spread,
        energy_uncertainty=spread,
        max_force=0.01,
        starts=["Unperturbed"],
        rank=rank,
    )


def with_energy(item, energy):
    return item.calculation.model_copy(update={"energy": energy})


def codes(result: LevelsResult) -> list[str]:
    return [warning.code for warning in result.levels.warnings]


def test_published_levels(published, tmp_path):
    """V_Cd in CdTe is negative-U: (0/-2) at 0.470 eV, -1 never the ground state."""
    host, bulk, calculations, analyses = published
    result = assemble(host.name, bulk, calculations, analyses)
    (level,) = result.levels.transition_levels
    assert level.charges == (0, -2)
    assert level.energy == pytest.approx(0.470, abs=1e-3)
    assert level.in_gap
    assert level.verified
    assert level.converged is None  # no campaign
    assert level.energy_mlip is None
    assert level.error == pytest.approx(np.hypot(0.01, 0.01) / 2)
    assert codes(result) == ["no_chemical_potentials", "unstable_charge_state"]
    warned = {state.charge: state.warnings for state in result.levels.states}
    assert warned == {0: [], -1: ["unstable_charge_state"], -2: []}
    assert not result.levels.rehearsal

    file = tmp_path / "thermodynamics.json"
    file.write_text(json.dumps(result.thermodynamics))
    loaded = loadfn(file)
    assert isinstance(loaded, DefectThermodynamics)
    ((energy, charges),) = loaded.transition_level_map["v_Cd"].items()
    assert charges == [0, -2]
    assert energy == pytest.approx(level.energy, abs=1e-6)
    for state in result.levels.states:
        name = f"v_Cd_{state.charge}"
        assert loaded.get_formation_energy(name, fermi_level=0) == pytest.approx(
            state.formation_energy, abs=1e-6
        )


def test_raw_arithmetic_of_a_formation_energy(published):
    host, bulk, calculations, analyses = published
    potentials = {"Cd": -1.5, "Te": -4.0}
    result = assemble(host.name, bulk, calculations, analyses, given_potentials(potentials))
    for state, item in zip(result.levels.states, calculations, strict=True):
        raw = item.calculation.energy - bulk.energy + potentials["Cd"] + state.charge * bulk.vbm
        correction = analyses[item.state.name].correction.energy
        assert state.formation_energy == pytest.approx(raw + correction, abs=1e-9)
    assert "no_chemical_potentials" not in codes(result)
    assert result.levels.chemical_potentials == potentials
    loaded = MontyDecoder().process_decoded(result.thermodynamics)
    assert loaded.get_formation_energy("v_Cd_-2", fermi_level=0) == pytest.approx(
        result.levels.states[2].formation_energy, abs=1e-9
    )


def test_missing_chemical_potential(published):
    host, bulk, calculations, analyses = published
    with pytest.raises(InputError, match="found none for Cd"):
        assemble(host.name, bulk, calculations, analyses, given_potentials({"Te": -4.0}))


def test_level_outside_gap_and_far_from_it(published):
    """doped's own map ends 1 eV beyond the band edges; a level must not vanish there."""
    host, bulk, calculations, analyses = published
    lifted = [
        replace(
            item,
            calculation=item.calculation.model_copy(
                update={"energy": item.calculation.energy - 3 * charge}
            ),
        )
        for item, charge in zip(calculations, (0, -1, -2), strict=True)
    ]
    result = assemble(host.name, bulk, lifted, analyses)
    (level,) = result.levels.transition_levels
    assert level.energy == pytest.approx(3.470, abs=1e-3)
    assert not level.in_gap
    assert "level_outside_gap" in codes(result)


def test_levels_of_the_potential_alone(published):
    host, bulk, calculations, analyses = published
    shift = {0: 0.10, -1: -1.0, -2: 0.04}
    searched = []
    for item in calculations:
        energy = item.calculation.energy
        winner = candidate(item, energy + shift[item.state.charge] + 0.5, rank=1)
        lowest = candidate(item, energy + shift[item.state.charge])
        searched.append(
            replace(item, candidate=winner, candidates=[lowest, winner], energy_error=0.5)
        )
    result = assemble(host.name, bulk, searched, analyses)
    (level,) = result.levels.transition_levels
    assert level.energy == pytest.approx(0.470, abs=1e-3)
    assert level.energy_mlip == pytest.approx(level.energy + (0.04 - 0.10) / 2, abs=1e-6)
    assert codes(result).count("potential_other_minimum") == 3
    assert "potential_other_levels" in codes(result)  # -1 is stable on the potential
    assert result.levels.states[0].energy_mlip == searched[0].candidates[0].energy


@pytest.mark.parametrize(("lower", "noted"), [(-0.01, 0), (0.3, 3)])
def test_a_winner_of_an_earlier_round_is_not_judged_by_another_potential(published, lower, noted):
    host, bulk, calculations, analyses = published
    searched = []
    for item in calculations:
        energy = item.calculation.energy
        winner, lowest = candidate(item, energy + 2.4), candidate(item, energy - lower)
        searched.append(replace(item, candidate=winner, candidates=[lowest], energy_error=0.5))
    result = assemble(host.name, bulk, searched, analyses)
    assert codes(result).count("potential_other_minimum") == noted


def test_unverified_states_are_visible(published):
    """A neutral one uses the potential's energy; a charged one has no correction, so no level."""
    host, bulk, calculations, analyses = published
    bulk_mlip = bulk.energy + 0.3
    neutral = calculations[0]
    found = candidate(neutral, neutral.calculation.energy + 0.3 + 0.02, spread=0.015)
    unverified = [replace(neutral, calculation=None, candidates=[found]), *calculations[1:]]
    result = assemble(host.name, bulk, unverified, analyses, bulk_energy_mlip=bulk_mlip)
    (level,) = result.levels.transition_levels
    assert not level.verified
    assert level.energy == pytest.approx(0.4705 - 0.02 / 2, abs=1e-3)
    assert level.error == pytest.approx(np.hypot(0.015, 0.01) / 2)
    assert result.levels.states[0].warnings == ["unverified_state"]

    charged = calculations[2]
    found = candidate(charged, charged.calculation.energy)
    unverified = [*calculations[:2], replace(charged, calculation=None, candidates=[found])]
    result = assemble(host.name, bulk, unverified, analyses, bulk_energy_mlip=bulk_mlip)
    (level,) = result.levels.transition_levels
    assert level.charges == (0, -1)
    assert level.verified
    state = result.levels.states[2]
    assert state.correction.scheme == "none"
    assert state.warnings == ["unverified_state", "uncorrected_state"]

    unverified = [*calculations[:2], replace(charged, calculation=None)]
    result = assemble(host.name, bulk, unverified, analyses)
    assert "state_without_energy" in codes(result)
    assert [state.charge for state in result.levels.states] == [0, -1]


def test_remaining_forces_widen_the_error(published):
    host, bulk, calculations, analyses = published
    label = calculations[2].calculation
    forces = np.zeros((len(label.forces), 3))
    forces[0] = [0.3, 0, 0.4]
    moved = [
        *calculations[:2],
        replace(calculations[2], calculation=label.model_copy(update={"forces": forces.tolist()})),
    ]
    result = assemble(host.name, bulk, moved, analyses, max_force=0.05)
    (level,) = result.levels.transition_levels
    gain = 0.25 / (2 * FORCE_CONSTANT)
    assert level.error == pytest.approx(np.hypot(np.hypot(0.01, gain), 0.01) / 2)
    assert result.levels.states[2].max_force == pytest.approx(0.5)
    assert result.levels.states[2].warnings == ["residual_force"]


def test_what_the_search_may_have_missed_widens_the_error(published):
    host, bulk, calculations, analyses = published
    risk = StateRisk(
        state="v_Cd_0",
        competitors=1,
        energy=0.04,
        lowered=0.03,
        inflation=3.0,
        starts=9,
        unresolved=2,
        unfinished=1,
    )
    found = candidate(calculations[0], calculations[0].calculation.energy, spread=0.02)
    missed = [
        replace(calculations[0], risk=risk, candidates=[found]),
        *(replace(c, candidates=[candidate(c, c.calculation.energy)]) for c in calculations[1:]),
    ]
    result = assemble(host.name, bulk, missed, analyses)
    (level,) = result.levels.transition_levels
    assert level.error == pytest.approx(np.sqrt(0.01**2 + 0.05**2 + 0.01**2) / 2)
    # the potential alone: calibrated, and as much worse as this round's minima have shown
    assert level.error_mlip == pytest.approx(
        np.linalg.norm([3 * 0.02, 0.01, 0.01, 0.01]) / 2, rel=0.02
    )
    assert result.levels.states[0].error == pytest.approx(np.hypot(0.01, 0.05), rel=0.02)
    # where these lead nobody knows: no number says it, so words do
    assert result.levels.states[0].warnings == ["unresolved_starts", "unfinished_starts"]
    told = {w.code: w.message for w in result.levels.warnings if w.state == "v_Cd_0"}
    assert "v_Cd_0: 2 of 9 starts left the domain" in told["unresolved_starts"]
    assert "v_Cd_0: 1 of 9 starts were not relaxed to the end" in told["unfinished_starts"]
    assert told["unfinished_starts"].endswith("raise search.max_steps")


def test_rehearsal_is_said(published):
    host, bulk, calculations, analyses = published
    result = assemble(
        host.name, bulk.model_copy(update={"rehearsal": True}), calculations, analyses
    )
    assert result.levels.rehearsal
    assert codes(result)[0] == "rehearsal"


def test_explicitly_uncorrected(published):
    host, bulk, calculations, _ = published
    result = defect_levels(host, bulk, calculations, LevelSettings(correction="none"))
    assert codes(result).count("uncorrected_state") == 2
    assert {state.correction.energy for state in result.levels.states} == {0.0}
    blank = host.model_copy(update={"dielectric": None})
    again = defect_levels(blank, bulk, calculations, LevelSettings(dielectric="none"))
    assert codes(again) == codes(result)
    assert again.levels.dielectric is None
    assert again.levels.states == result.levels.states


def test_failed_correction_stops(published):
    host, bulk, calculations, _ = published
    with pytest.raises(CorrectionError, match="site potentials: found none"):
        defect_levels(host, bulk, calculations, LevelSettings(dielectric=9.13))


def test_bulk_without_band_edges(published):
    host, bulk, calculations, analyses = published
    with pytest.raises(CalculationError, match="band edges"):
        assemble(host.name, bulk.model_copy(update={"cbm": None}), calculations, analyses)


def test_uncertain_correction_is_warned_of(published):
    host, bulk, calculations, analyses = published
    energy = analyses["v_Cd_-2"].correction.energy
    wide = StateAnalysis(correction=Correction(scheme="FNV", energy=energy, error=0.2))
    result = assemble(host.name, bulk, calculations, analyses | {"v_Cd_-2": wide})
    assert result.levels.states[2].warnings == ["correction_error"]
    assert result.levels.transition_levels[0].error == pytest.approx(np.hypot(0.2, 0.01) / 2)


def test_winner_has_the_lowest_last_label(published):
    _, _, calculations, _ = published
    item = calculations[0]

    def verified(energies, rank):
        structure, name = item.calculation.structure, item.state.name
        labels = [make_label(structure, item.state.charge, energy, name) for energy in energies]
        return VerifiedCandidate(
            candidate=candidate(item, energies[0], rank),
            labels=labels,
            energy_error=0.01 * (rank + 1),
            force_error=0.02,
            max_force=0.01,
        )

    refined = verified([-10.0, -12.0], 1)
    states = [calculation.state for calculation in calculations]
    chosen = choose_winners(states, [verified([-11.0], 0), refined])
    assert chosen[0].calculation.energy == -12.0
    assert chosen[0].candidate.rank == 1
    assert chosen[0].energy_error == 0.02
    # what the potential says of a start that it lost is no finding of it
    lost = refined.model_copy(update={"unresolved": True})
    assert choose_winners(states, [verified([-11.0], 0), lost])[0].energy_error is None
    assert [calculation.calculation for calculation in chosen[1:]] == [None, None]


@given(
    st.dictionaries(
        st.integers(-4, 4), st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=1, max_size=6
    )
)
def test_envelope_against_brute_force(energies):
    stable = lower_envelope(energies)
    fermi = np.linspace(-15, 15, 30001)
    lines = {charge: energy + charge * fermi for charge, energy in energies.items()}
    lowest = np.min(list(lines.values()), axis=0)
    assert np.allclose(np.min([lines[charge] for charge in stable], axis=0), lowest)
    crossings = [
        (energies[lower] - energies[upper]) / (upper - lower) for upper, lower in pairwise(stable)
    ]
    assert crossings == sorted(crossings)
    assert stable[0] == max(energies)
    assert stable[-1] == min(energies)


@pytest.mark.parametrize(
    ("charges", "converged"), [([], True), ([-1], True), ([0], False), ([-2], False)]
)
def test_a_level_is_converged_where_both_of_its_states_are(published, charges, converged):
    host, bulk, calculations, analyses = published
    names = [item.state.name for item in calculations if item.state.charge in charges]
    result = assemble(host.name, bulk, calculations, analyses, unconverged=names).levels
    (level,) = result.transition_levels
    assert (level.charges, level.converged) == ((0, -2), converged)
    assert {s.charge: s.converged for s in result.states} == {
        q: q not in charges for q in (0, -1, -2)
    }
    assert level.verified  # that is about single points alone
    assert all(state.verified for state in result.states)


@pytest.mark.parametrize("unconverged", [[], ["v_Cd_-2"]])
def test_job_through_a_store(vacancy, published, unconverged):
    """What a job gets and returns survives a store: doped's objects come back as dicts."""
    state, calculation, bulk = vacancy
    host = published[0]
    label, bulk_label = (
        make_label(
            item.structure,
            item.charge,
            item.energy,
            name,
            site_potentials=item.site_potentials,
            vbm=item.vbm,
            cbm=item.cbm,
        )
        for name, item in ((state.name, calculation), ("bulk", bulk))
    )
    search = Candidate(
        state=state.name,
        structure=label.configuration.structure,
        energy=label.energy + 0.01,
        spread=0.005,
        distance=1.0,
        uncertainty=0.01,
        energy_uncertainty=0.02,
        max_force=0.01,
        starts=["Unperturbed"],
        rank=0,
    )
    verified = VerifiedCandidate(
        candidate=search, labels=[label], energy_error=0.01, force_error=0.01, max_force=0.0
    )
    rounds = [
        RoundRecord(
            round=0, checks=[], level_change=None, converged=False, unconverged=unconverged,
            reasons=["too early", f"{NOT_RELAXED}: v_Cd_-2 (2 of 9)"],
        )
    ]  # fmt: skip
    job = assemble_levels(
        host, [state], bulk_label, [verified], LevelSettings(dielectric=9.13), rounds=rounds
    )
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(job, store=store, ensure_success=True, log=False)
    result = MontyDecoder().process_decoded(store.get_output(job.uuid, load=True))
    assert isinstance(result, LevelsResult)
    assert result.thermodynamics["@class"] == "DefectThermodynamics"
    (record,) = result.levels.states
    assert record.correction.energy == pytest.approx(0.7509, abs=0.002)
    uncorrected = record.formation_energy - record.correction.energy + 2 * bulk.vbm
    assert uncorrected == pytest.approx(7.4476, abs=0.001)
    said = [w.message for w in result.levels.warnings if w.code == "rounds_not_converged"]
    (message,) = said
    # of the starts each state tells
    assert message.endswith("too early; starts whose end is not known, named for each state")
    assert (record.verified, record.converged) == (True, not unconverged)
