from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import pytest
import yaml
from pymatgen.core import SETTINGS, Element
from pymatgen.io.vasp import Potcar
from pymatgen.io.vasp.inputs import UnknownPotcarWarning

from defect_workflows.errors import InputError
from defect_workflows.rehearsal.inputs import ATOMIC_NUMBERS, read_potcar
from defect_workflows.rehearsal.potcars import known_symbols, write_potcars


@pytest.mark.parametrize("functional", ["PBE", "PBE_54", "PBE_64"])
def test_pymatgen_reads_every_placeholder(
    functional: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_potcars(tmp_path, functional=functional)
    symbols = [path.name.removeprefix("POTCAR.").removesuffix(".gz") for path in folder.iterdir()]
    assert len(symbols) > 150
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        potcar = Potcar(symbols, functional=functional)
    assert {warning.category for warning in caught} == {UnknownPotcarWarning}
    for symbol, single in zip(symbols, potcar, strict=True):
        assert single.symbol == symbol
        assert symbol.startswith(single.element)
        assert 0 < single.ZVAL < Element(single.element).Z + 1  # H1.75 has more than one
        assert 80 < single.ENMAX < 800
        # as mock-vasp reads them
        (ours,) = read_potcar(single.data)
        assert (ours.element, ours.valence, ours.enmax) == (
            single.element, single.ZVAL, single.ENMAX,
        )  # fmt: skip


def test_real_values(tmp_path: Path) -> None:
    """As in the OUTCARs of real calculations with these POTCARs."""
    folder = write_potcars(tmp_path, ["Cd", "Te"], "PBE")
    text = gzip.decompress((folder / "POTCAR.Cd.gz").read_bytes()).decode()
    assert "TITEL  = PAW_PBE Cd 06Sep2000\n" in text
    assert "POMASS =  112.411; ZVAL   =   12.000" in text
    assert "ENMAX  =  274.336; ENMIN  =  205.752 eV" in text


def test_defaults_of_doped_and_pymatgen_are_known() -> None:
    import doped
    import pymatgen.io.vasp.sets as sets

    files = [
        Path(doped.__file__).parent / "VASP_sets" / "PotcarSet.yaml",
        Path(sets.__file__).parent / "MPRelaxSet.yaml",
        Path(sets.__file__).parent / "PBE54Base.yaml",
    ]
    known = set(known_symbols())
    for file in files:
        defaults = yaml.safe_load(file.read_text())["POTCAR"]
        missing = {s for e, s in defaults.items() if e in ATOMIC_NUMBERS and s not in known}
        assert not missing


def test_same_call_same_files(tmp_path: Path) -> None:
    first, second = (write_potcars(tmp_path / name, ["Te"]) for name in "ab")
    assert (first / "POTCAR.Te.gz").read_bytes() == (second / "POTCAR.Te.gz").read_bytes()


def test_unknown_symbol_and_family(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 'Xx', not a standard one of PBE"):
        write_potcars(tmp_path, ["Xx"])
    with pytest.raises(InputError, match="found 'LDA', expected one of PBE, "):
        write_potcars(tmp_path, functional="LDA")
