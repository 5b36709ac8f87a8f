import numpy as np
import pytest

from defect_workflows.report.figures import (
    campaign_figures,
    distortions,
    formation_energies,
    level_figures,
    parity,
    transition_levels,
)

from .conftest import ENERGY, levels


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def test_one_figure_per_head_and_state(result):
    assert set(campaign_figures(result)) == {
        "formation_energies",
        "transition_levels",
        "parity_pbe",
        "parity_hse06",
        "distortions_v_Cd_0",
        "distortions_v_Cd_-1",
        "distortions_v_Cd_-2",
    }


def test_formation_energies_are_the_lower_envelope():
    (axes,) = formation_energies(levels()).axes
    (envelope,) = (line for line in axes.lines if "v" in line.get_label() and line.get_lw() > 2)
    fermi, energy = envelope.get_data()
    assert np.interp(0.2, fermi, energy) == pytest.approx(2.10, abs=1e-3)
    assert np.interp(1.0, fermi, energy) == pytest.approx(2.98 - 2.0, abs=1e-3)
    assert "elemental references 0" in axes.get_ylabel()
    assert axes.get_xlim()[0] < 0 < 1.5 < axes.get_xlim()[1]


def test_transition_levels_show_verified_and_potential():
    document = levels()
    (axes,) = transition_levels(document).axes
    heights = {round(float(line.get_ydata()[0]), 3) for line in axes.lines if len(line.get_ydata())}
    assert {0.44, 0.46, 0.35, 0.85} <= heights
    far = document.transition_levels[0].model_copy(update={"energy": -3.2, "in_gap": False})
    changed = document.model_copy(update={"transition_levels": [far]})
    (axes,) = transition_levels(changed).axes
    assert "v_Cd (0/−2) −3.20 eV" in axes.get_xlabel()


def test_levels_without_any_transition():
    document = levels()
    document = document.model_copy(
        update={"transition_levels": [], "states": document.states[:1], "rehearsal": False}
    )
    for figure in level_figures(document).values():
        assert "REHEARSAL" not in [text.get_text() for text in figure.axes[0].texts]


def test_single_points_share_the_zero_of_the_search(result):
    figure = distortions(result.searches[-1], result.verified, "v_Cd_0", rehearsal=True)
    (axes,) = figure.axes
    (minima,) = lines(axes, "potential, minimum")
    assert min(minima.get_ydata()) == 0
    assert max(minima.get_ydata()) == pytest.approx(0.67)
    (points,) = lines(axes, "HSE06 at that minimum")
    first = result.verified[0]
    assert points.get_ydata()[0] == pytest.approx(first.labels[0].energy - ENERGY[0] - 0.01)
    (refined,) = lines(axes, "HSE06, refined")
    assert refined.get_ydata()[0] == pytest.approx(first.energy - ENERGY[0] - 0.01)
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names[:3] == ["-60.0%", "-40.0%", "-20.0%"]
    # a runaway 40 eV below does not set the scale
    assert axes.get_ylim()[0] > -1
    assert "REHEARSAL" in [text.get_text() for text in axes.texts]


def test_parity_keeps_every_error(result):
    potential = result.potentials[-1]
    figure = parity(potential, "hse06", rehearsal=False)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["charge 0", "charge −1", "charge −2"]
    points = [item for item in potential.parity if item.fidelity == "hse06" and item.charge == -1]
    drawn = [
        container.lines[0].get_data()
        for container in panels[1].containers  # one per split
    ]
    differences = sorted(np.concatenate([y - x for x, y in drawn]))
    assert differences == pytest.approx(sorted(p.predicted - p.energy for p in points))
