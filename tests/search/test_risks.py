"""What a search may have missed."""

from __future__ import annotations

import pytest

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.documents.search import RelaxationRecord
from defect_workflows.energies import energy_in_reach
from defect_workflows.search.risks import (
    NEGLIGIBLE,
    competitors,
    found_by,
    open_starts,
    risks,
)
from defect_workflows.search.verify import assess

from .conftest import shaken


def test_an_unverified_minimum_that_may_be_lower_is_a_risk(verified, vacancy):
    winner = verified(0, [-3.0], energy_error=-0.5, uncertainty=0.03)

    def other(energy, seed, uncertainty=0.03):
        structure = shaken(vacancy, 0.5, seed)
        return verified(0, [energy], structure, uncertainty=uncertainty).candidate

    # the potential says -3.5 eV at the winner, so -3.49 eV is 0.01 eV above it
    minima = [winner.candidate, other(-3.49, 1), other(-3.3, 2)]
    (risk,) = risks(minima, [winner], [winner], ["v_Mg_0"])
    assert risk.competitors == 1
    assert 0 < risk.energy < 0.02
    assert risk.inflation == pytest.approx(0.5 / 0.06)
    (unsure,) = risks(
        [other(-3.49, 1), other(-3.3, 2, uncertainty=0.2)], [winner], [winner], ["v_Mg_0"]
    )
    assert unsure.competitors == 2
    assert unsure.energy > risk.energy
    # one that was verified is no risk, neither in this round nor in one before
    known = verified(0, [-2.9], minima[1].structure)
    (none,) = risks(minima, [winner], [winner, known], ["v_Mg_0"])
    assert (none.competitors, none.energy) == (0, 0.0)
    record = assess(minima, [winner], [winner], {"v_Mg_0": "v_Mg"}, [], ConvergenceSettings())
    assert "unverified minima may be lower: v_Mg_0 (1, by " in record.reasons[0]
    assert record.unconverged == ["v_Mg_0"]
    assert record.risks == [risk]


def test_errors_among_minima_of_a_state_widen_the_risk(verified, vacancy):
    winner = verified(0, [-3.0], energy_error=0.0, uncertainty=0.02)
    wrong = verified(0, [-2.0], shaken(vacancy, 0.5, 1), energy_error=0.2, uncertainty=0.02)
    high = verified(0, [-2.8], shaken(vacancy, 0.5, 2), uncertainty=0.02).candidate
    (before,) = risks([high], [winner], [winner], ["v_Mg_0"])
    (after,) = risks([high], [winner, wrong], [winner], ["v_Mg_0"])
    assert (before.competitors, after.competitors) == (0, 1)
    # one that is higher than the potential says makes no other likelier to be lower
    hole = wrong.model_copy(update={"energy_error": -0.2})
    assert risks([high], [winner, hole], [winner], ["v_Mg_0"])[0].competitors == 0


def test_the_likeliest_to_be_lower_comes_first_and_what_gains_nothing_is_none(verified, vacancy):
    winner = verified(0, [-3.0], energy_error=-0.5, uncertainty=0.1)

    def other(energy, seed):
        return verified(0, [energy], shaken(vacancy, 0.5, seed), uncertainty=0.1).candidate

    # 0.11, 0.02 and 0.15 eV above the winner: within two sigmas, but the last hardly gains
    minima = [winner.candidate, other(-3.39, 1), other(-3.48, 2), other(-3.35, 3)]
    rivals = competitors(minima, [winner], [winner])
    assert [rival.index for rival in rivals] == [2, 1]
    assert rivals[0].gain > rivals[1].gain > NEGLIGIBLE


def test_what_another_search_or_none_found_is_not_of_this_search(verified, vacancy):
    mine = verified(0, [-3.0, -3.2])
    other = verified(0, [-2.5], shaken(vacancy, 0.5, 1))
    offered = mine.model_copy(update={"exchanged": True})
    assert found_by([mine.candidate], [other, mine, offered]) == [mine]


LOST = RelaxationRecord(
    state="v_Mg_0", start="Rattled_from_-1", kind="minimum", start_energy=0, energy=0, max_force=1,
    steps=9, verdict="out_of_domain", cluster=None,
)  # fmt: skip


def test_a_lost_start_counts_until_hse06_shows_that_it_leads_no_lower(verified, vacancy):
    winner = verified(0, [-3.0])

    def left(energies, forces, **more):
        """Return the verified frame of a lost start, and the start that it stands for."""
        item = verified(0, energies, shaken(vacancy, 0.5, 7), forces=forces)
        item = item.model_copy(update={"unresolved": True, **more})
        return item, LOST.model_copy(update={"frame": item.labels[0].configuration.id})

    promised = energy_in_reach([[0.3] * 3] * len(vacancy))
    assert promised > 0.1
    lost, start = left([-3.0 + promised + 0.01], 0.3)
    assert open_starts([start], [winner, lost]) == []  # its forces lead 10 meV above the winner
    lost, start = left([-3.0 + promised - 0.004], 0.3)
    assert open_starts([start], [winner, lost]) == []  # 4 meV below it
    lost, start = left([-3.0 + promised - 0.006], 0.3)
    assert open_starts([start], [winner, lost]) == [start]
    # the lowest point counts, wherever in the refinement it is
    lost, start = left([-3.0 + promised - 0.006, -3.0 + promised + 0.2], 0.3)
    assert open_starts([start], [winner, lost]) == [start]
    # followed to its end, whether it is the winner then or not; not where a point was refused
    for energy in (-3.2, -2.9):
        lost, start = left([energy], 0.3, refinement_ended="gain of 0.2 meV predicted")
        assert open_starts([start], [winner, lost]) == []
        lost, start = left([energy], 0.3, refinement_ended="refused: SCF not converged")
        assert open_starts([start], [winner, lost]) == [start]
    # what stands for another start says nothing of this one, nor does what a search found
    assert open_starts([LOST], [winner, lost]) == [LOST]
    searched = verified(0, [-2.0], lost.label.configuration.structure)
    assert open_starts([start], [winner, searched]) == [start]
    assert open_starts([start], []) == [start]


def test_a_distortion_that_was_followed_once_is_known_in_later_rounds(verified, vacancy):
    winner = verified(0, [-3.0])
    lost = verified(0, [-1.0], shaken(vacancy, 0.5, 7)).model_copy(update={"unresolved": True})
    assert lost.candidate.starts == ["Dimer"]
    same_start = LOST.model_copy(update={"start": "Dimer", "kind": "distortion"})
    others = [
        same_start.model_copy(update={"kind": "minimum"}),  # another geometry in every round
        same_start.model_copy(update={"state": "v_Mg_-1"}),
        same_start.model_copy(update={"start": "Rattled"}),
    ]
    assert open_starts([same_start, *others], [winner, lost]) == others
    # what begins at a single point is known to HSE06
    assert open_starts([LOST.model_copy(update={"kind": "hse06"})], [winner]) == []
