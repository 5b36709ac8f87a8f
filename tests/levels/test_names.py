import pytest

from defect_workflows.levels.names import contradicts, describe, readings

CD_VACANCY, TE_VACANCY = {"Cd": -1}, {"Te": -1}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("v_Cd", CD_VACANCY),
        ("V_Cd", CD_VACANCY),
        ("vac_1_Cd", CD_VACANCY),
        ("vCd", CD_VACANCY),
        ("v_Cd_C3v_Te2.83", CD_VACANCY),
        ("Te_i_Td_Cd2.83", {"Te": 1}),
        ("Int_Te_3", {"Te": 1}),
        ("i_F", {"F": 1}),
        ("F_O", {"F": 1, "O": -1}),
        ("Mg_Ga-0", {"Mg": 1, "Ga": -1}),
        ("Mg_O", {"Mg": 1, "O": -1}),
        ("sub_1_Cu_on_Zn", {"Cu": 1, "Zn": -1}),
        ("as_1_Cd_on_Te", {"Cd": 1, "Te": -1}),
    ],
)
def test_a_name_that_can_be_read(name, changes):
    assert changes in readings(name)
    assert not contradicts(name, changes)
    assert contradicts(name, {"Xe": 1})


@pytest.mark.parametrize(
    "name", ["my defect", "Cd_vacancy_split", "defect_7", "P1", "relax", "x_y", "v_Cd_v_Te"]
)
def test_what_cannot_be_read_is_believed(name):
    assert not contradicts(name, CD_VACANCY)


def test_contradictions():
    assert contradicts("v_Te", CD_VACANCY)
    assert contradicts("Te_i", {"Te": 1, "Cd": -1})
    assert contradicts("Cd_Te", {"Te": 1, "Cd": -1})
    # vanadium, or a vacancy
    assert not contradicts("V_O", {"V": 1, "O": -1})
    assert not contradicts("V_O", {"O": -1})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (CD_VACANCY, "v_Cd"),
        ({"Te": 1}, "Te_i"),
        ({"Te": 1, "Cd": -1}, "Te_Cd"),
        ({"Te": 2, "Cd": -1}, "-1 Cd +2 Te"),
        ({}, "no change"),
    ],
)
def test_description(changes, name):
    assert describe(changes) == name
