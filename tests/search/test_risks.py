"""What a search may have missed."""

from __future__ import annotations

import pytest

from defect_workflows.campaign import ConvergenceSettings
from defect_workflows.search.risks import NEGLIGIBLE, competitors, found_by, risks
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
    assert any("v_Mg_0: 1 unverified minima may be lower" in r for r in record.reasons)
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
