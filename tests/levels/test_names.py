import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_workflows.calculations import DefectCalculation
from defect_workflows.errors import InputError
from defect_workflows.levels.names import (
    NamedState,
    contradicts,
    defect_names,
    describe,
    readings,
)

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
        ("Mg_Ga1", {"Mg": 1, "Ga": -1}),
        ("Va_O1", {"O": -1}),
        ("O_i12", {"O": 1}),
        ("inter_27_Al", {"Al": 1}),
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


def named(*states, formula="Ga31Mg1N32"):
    """Return names of defects for (name, charge of the calculation[, charge given])."""
    asked = [
        (DefectCalculation(name=name, charge=(*given, None)[0], dir="."), charge)
        for name, charge, *given in states
    ]
    return defect_names(
        [
            NamedState(
                one.name,
                charge,
                formula,
                given=one.charge is not None,
                complete=one.charge_in_name,
            )
            for one, charge in asked
        ]
    )


DEFECTS = ["v_Cd", "Te_i_C3v", "Te_i_Td_Cd2.83", "vac_1_Cd", "inter_27_Al", "sub_1_Mg_on_Ga",
           "as_1_Cd_on_Te", "Va_O1", "Mg_Ga1", "O_i1", "Mg_Ga-0", "relax Mg_Ga-0", "my defect",
           "split_N_N"]  # fmt: skip
SPELLINGS = {
    "doped": lambda name, q: f"{name}_{q:+d}" if q else f"{name}_0",
    "unsigned": lambda name, q: f"{name}_{q}",
    "atomate2": lambda name, q: f"{name}_q={q}",
    "job": lambda name, q: f"{name} q={q}",
    "folders": lambda name, q: f"{name}/charge_{q}",
    "sign last": lambda name, q: f"{name}_{abs(q)}{'-' if q < 0 else '+'}",
    "letters": lambda name, q: f"{name}_{'m' if q < 0 else 'p'}{abs(q)}",
    "none": lambda name, q: name,
}


@given(
    name=st.sampled_from(DEFECTS),
    charges=st.lists(st.integers(-4, 4), min_size=2, max_size=6, unique=True),
    data=st.data(),
)
def test_one_defect_with_all_its_charges(name, charges, data):
    """Spelt in one way, or each in its own; the charge given beside the name or not."""
    spellings = st.sampled_from(sorted(SPELLINGS))
    each = data.draw(
        st.one_of(
            spellings.map(lambda one: [one] * len(charges)),
            st.lists(spellings, min_size=len(charges), max_size=len(charges)),
        )
    )
    beside = data.draw(st.booleans())
    states = [
        (SPELLINGS[one](name, q), q, *([q] if beside else []))
        for one, q in zip(each, charges, strict=True)
    ]
    assert set(named(*states)) == {name}


@pytest.mark.parametrize(
    "states",
    [
        [("v_Cd_1", 0), ("v_Cd_1", -1), ("v_Cd_1", -2)],
        [("v_Cd_1", 0), ("v_Cd_1", 1), ("v_Cd_2", 0)],
        [("v_Cd_1", -1)],
        [("v_O_1", 2, 2), ("v_O_2", 1, 1)],
        [("v_O_1", 1, 1), ("v_O_2", 0, 0)],
        [("O_i_0", 0), ("O_i_1", 0), ("O_i_2", 0)],
        [("inter_27_Al", 3), ("inter_28_Al", 3)],
        [("Te_i_Td_Cd2.83", 2), ("Te_i_Td_Te2.83", 1)],
        [("Int_Te_3", 2), ("Int_Te_3", 1)],
        [("Mg_Ga-0", 0), ("Mg_Ga-0", -1), ("Mg_Ga-1", 0)],
    ],
)
def test_a_number_that_is_no_charge_stays(states):
    assert named(*states) == [name for name, *_ in states]


def test_numbers_of_sites_with_charges():
    """v_Cd_1 and v_Cd_2 are two sites where their states have a charge of their own."""
    assert named(("v_Cd_1_+1", 1), ("v_Cd_2_+2", 2)) == ["v_Cd_1", "v_Cd_2"]
    assert named(("v_Cd_1", 1), ("v_Cd_1_0", 0), ("v_Cd_2_0", 0)) == ["v_Cd_1"] * 2 + ["v_Cd_2"]
    assert named(("Mg_Ga-0", 0), ("Mg_Ga-0_q=1", 1)) == ["Mg_Ga-0"] * 2


@pytest.mark.parametrize(
    "states",
    [
        # one calculation has another charge than its name says
        [("Mg_Ga_0", 0), ("Mg_Ga_1", 0), ("Mg_Ga_-1", -1)],
        [("Mg_Ga_0", 0), ("Mg_Ga_1", 1), ("Mg_Ga_2", -2)],
        # numbers without the sign
        [("v_Cd_1", -1), ("v_Cd_2", -2)],
        [("v_Cd_0", 0), ("v_Cd_1", -1), ("v_Cd_2", -2)],
        [("v_Cd", 0), ("v_Cd_1", -1)],
        # two spellings of one defect
        [("Mg_Ga_+1", 1), ("sub_1_Mg_on_Ga_0", 0)],
        [("Mg_Ga-0_q=1", 1), ("Mg_Ga-0_q=0", 0), ("Mg_Ga_-1", -1)],
        [("Mg_Ga1_1", 1), ("Mg_Ga", 0, 0)],
        [("Va_O1_2", 2), ("v_O_0", 0), ("v_O_+1", 1)],
    ],
)
def test_what_stays_ambiguous_is_refused(states):
    with pytest.raises(InputError) as error:
        named(*states)
    message = str(error.value)
    assert message.startswith("defects: found ")
    assert "\n" not in message
    assert sum(name.split("_")[0] in message for name, *_ in states) > 1
