import numpy as np
import pytest

from defect_workflows.documents.levels import (
    ChemicalPotentialLimit,
    Correction,
    CorrectionProfile,
    LevelsResult,
    PlanarAxis,
    PlanarProfile,
    SiteProfile,
)
from defect_workflows.report.figures import calibration, campaign_figures, distortions, parity
from defect_workflows.report.level_figures import (
    correction,
    formation_energies,
    level_figures,
    limit_figure,
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
        "calibration",
        "distortions_v_Cd_0",
        "distortions_v_Cd_-1",
        "distortions_v_Cd_-2",
    }


def test_the_calibration_shows_what_was_not_trained_on(result):
    last = result.potentials[-1]
    points = [point for point in last.parity if point.split != "train"]
    # the potential of the round before was wrong by more where it was trained, and knew it
    later = [
        points[0].model_copy(
            update={"split": "later", "distance": 9.0, "sigma": sigma, "predicted": predicted}
        )
        for sigma, predicted in ((0.4, points[0].energy + 0.2), (0.1, points[0].energy - 0.3))
    ]
    changed = last.model_copy(update={"later": later})
    (axes,) = calibration(changed, rehearsal=False).axes
    drawn = {line.get_label(): line for line in axes.lines}
    held_out = [line for name, line in drawn.items() if "held out" in name]
    assert sum(len(line.get_xdata()) for line in held_out) == len(points)
    before = drawn[f"{later[0].fidelity}, made since the round before"]
    assert list(before.get_xdata()) == [9.0, 9.0]
    assert list(before.get_ydata()) == pytest.approx([0.5, 3.0])  # each by its own sigma
    heights = sorted(y for line in held_out for y in line.get_ydata())
    errors = [max(abs(p.predicted - p.energy) / p.sigma, 1e-2) for p in points]
    assert heights == pytest.approx(sorted(errors))
    within = sum(error <= 1 for error in [*errors, 0.5, 3.0])
    (sigma,) = (line for name, line in drawn.items() if name.startswith("one sigma"))
    assert set(sigma.get_ydata()) == {1}
    assert f"{within / (len(points) + 2):.0%} of {len(points) + 2}" in sigma.get_label()


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
    for figure in level_figures(LevelsResult(levels=document, thermodynamics={})).values():
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


def made(profile, scheme):
    return CorrectionProfile(
        state="v_Cd_-2",
        correction=Correction(scheme=scheme, energy=0.75, error=0.005),
        profile=profile,
    )


def test_site_potentials_show_the_alignment():
    profile = SiteProfile(
        distances=[2.0, 5.0, 6.0],
        elements=["Te", "Cd", "Te"],
        differences=[0.5, 0.2, 0.18],
        point_charge=[None, 0.1, 0.1],
        radius=4.0,
        alignment=0.09,
    )
    (axes,) = correction(made(profile, "eFNV"), rehearsal=False).axes
    drawn = {line.get_label(): line.get_data() for line in axes.lines}
    assert list(drawn["difference of both"][1]) == pytest.approx([0.1, 0.08])
    assert list(drawn["periodic charges"][0]) == [5.0, 6.0]
    assert set(drawn["alignment 0.090 V"][1]) == {0.09}
    assert "0.750 ± 0.005 eV" in axes.get_title()


def test_planar_averages_have_a_panel_per_axis():
    axis = PlanarAxis(
        positions=[0.0, 1.0, 2.0, 3.0],
        difference=[0.3, 0.1, 0.1, 0.2],
        long_range=[0.2, 0.1, 0.0, 0.1],
        short_range=[0.1, 0.0, 0.1, 0.1],
        alignment=0.05,
        sampling=(1, 2),
    )
    figure = correction(made(PlanarProfile(axes=[axis] * 3), "FNV"), rehearsal=True)
    assert len(figure.axes) == 3
    assert "REHEARSAL" in figure.get_suptitle()


def test_a_diagram_per_limit():
    document = levels()
    states = [
        state.model_copy(update={"formation_energies": {"a": state.formation_energy, "b/c": 10.0}})
        for state in document.states
    ]
    limits = [
        ChemicalPotentialLimit(name=name, chemical_potentials={"Cd": -1}, chosen=name == "a")
        for name in ("a", "b/c")
    ]
    document = document.model_copy(update={"states": states, "limits": limits})
    figures = level_figures(LevelsResult(levels=document, thermodynamics={}))
    other = limit_figure("b/c")
    assert set(figures) == {"formation_energies", other, "transition_levels"}
    assert other.startswith("formation_energies_b_c-")
    (axes,) = figures[other].axes
    assert "b/c" in axes.get_title()
    assert axes.get_ylim()[1] > 10
