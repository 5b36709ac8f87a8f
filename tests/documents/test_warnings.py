import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from defect_workflows.documents.warnings import CLASSES, LevelWarning

ROOT = Path(__file__).parents[2]


def test_a_class_follows_from_the_code_and_is_in_the_json():
    warning = LevelWarning(code="cell_shifted", message="moved")

    plain = json.loads(warning.model_dump_json())

    assert plain["class"] == "note"
    assert LevelWarning.model_validate(plain) == warning


def test_a_stored_class_is_not_trusted():
    found = LevelWarning.model_validate(
        {"code": "functional_mismatch", "message": "PE, PS", "class": "note"}
    )

    assert found.kind == "error"


def test_a_code_without_a_class_is_refused():
    with pytest.raises(ValidationError, match="expected one that has a class"):
        LevelWarning(code="no_such_code", message="?")


def test_every_code_is_documented_with_its_class():
    rows = re.findall(
        r"^\| (`.*`) \| (error|warning|note) \| .+ \|$",
        (ROOT / "docs" / "levels.md").read_text(),
        re.MULTILINE,
    )
    documented = [
        (code, kind) for codes, kind in rows for code in re.findall(r"`([a-z_]+)`", codes)
    ]

    assert sorted(documented) == sorted(CLASSES.items())


def test_facts_are_notes_and_another_hamiltonian_is_an_error():
    facts = ("no_chemical_potentials", "cell_shifted", "unstable_charge_state")
    wrong = ("potcar_mismatch", "functional_mismatch", "scf_not_converged")
    act = ("unresolved_starts", "unfinished_starts", "encut_mismatch", "kpoints_mismatch")
    assert {CLASSES[code] for code in (*facts, "potential_other_minimum")} == {"note"}
    assert {CLASSES[code] for code in wrong} == {"error"}
    assert {CLASSES[code] for code in act} == {"warning"}
