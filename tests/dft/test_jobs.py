import numpy as np
import pytest
from jobflow import JobStore, OutputReference, run_locally
from maggma.stores import MemoryStore
from pymatgen.io.vasp import Incar, Poscar

from defect_workflows import reuse
from defect_workflows.campaign import DftSettings
from defect_workflows.charge import with_charge
from defect_workflows.dft.collect import collect
from defect_workflows.dft.inputs import reordered
from defect_workflows.dft.jobs import SinglePointMaker
from defect_workflows.documents.defects import BULK, PRISTINE, ChargedConfiguration, Origin
from defect_workflows.documents.labels import HubbardTerm, Label, LabelSet, RefusedLabel
from defect_workflows.errors import CampaignError, LevelOfTheoryError
from defect_workflows.makers.labelling import MultiFidelityMaker
from defect_workflows.reuse import fingerprint

SETTINGS = DftSettings(spin=False, encut=400)


def configuration(structure, charge, state="v_O_+2"):
    charged = with_charge(structure, charge)
    origin = Origin(state=state, family="v_O/test", kind="rattle")
    return ChargedConfiguration(id=fingerprint(charged), structure=charged, origin=origin)


@pytest.fixture
def vacancy(mgo):
    structure = mgo.copy()
    structure.remove_sites([next(i for i, s in enumerate(mgo) if s.specie.symbol == "O")])
    rng = np.random.default_rng(1)
    for site in range(len(structure)):
        structure.translate_sites([site], rng.normal(0, 0.03, 3), frac_coords=False)
    return structure


@pytest.fixture
def store():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


def run(job, store, tmp_path):
    responses = run_locally(
        job, store=store, create_folders=True, root_dir=tmp_path, log=False, ensure_success=True
    )
    outputs = [response.output for found in responses.values() for response in found.values()]
    return [one.resolve(store) if isinstance(one, OutputReference) else one for one in outputs]


def test_both_fidelities_of_a_charged_cell(rehearsal, vacancy, store, tmp_path):
    maker = MultiFidelityMaker.from_settings(SETTINGS, potentials=True)
    low, high = run(maker.make(configuration(vacancy, 2)), store, tmp_path)
    assert isinstance(low, Label)
    assert isinstance(high, Label)
    assert (low.fidelity, high.fidelity) == ("pbe", "hse06")
    assert low.nelect == high.nelect == 8 * 2 + 7 * 6 - 2
    assert low.rehearsal
    assert high.rehearsal
    assert low.energy != high.energy
    assert len(high.site_potentials) == 15
    assert high.planar_potential.content == "hartree+ionic"
    outcar = next((tmp_path).glob("*/OUTCAR.gz"))
    assert outcar.is_file()
    labels = collect([low, high], SETTINGS)
    assert (len(labels.labels), labels.refused) == (2, [])
    changed = high.level_of_theory.model_copy(update={"encut": 500.0})
    other = high.model_copy(update={"level_of_theory": changed, "fingerprint": "other"})
    with pytest.raises(LevelOfTheoryError, match=r"encut: 400\.0 != 500\.0"):
        collect([other], SETTINGS, LabelSet(labels=[low, high], refused=[]))
    # DFT+U at one fidelity alone, which the user has to say
    term = HubbardTerm(element="Mg", angular_momentum=1, u=4.0, j=0.0)
    theory = low.level_of_theory.model_copy(update={"hubbard": [term]})
    corrected = low.model_copy(update={"level_of_theory": theory})
    with pytest.raises(LevelOfTheoryError, match="hubbard: "):
        collect([corrected, high], SETTINGS)
    terms = {"LDAU": True, "LDAUL": {"Mg": 1}, "LDAUU": {"Mg": 4}, "LDAUJ": {"Mg": 0}}
    own = DftSettings(**{**SETTINGS.model_dump(), "pbe_incar": terms})
    assert len(collect([corrected, high], own).labels) == 2
    with pytest.raises(LevelOfTheoryError, match="hubbard: "):
        collect([corrected, low.model_copy(update={"fingerprint": "plain"})], own)
    # a host without a gap stops the campaign, unless it is the stand-in's
    origin = Origin(state=BULK, family=PRISTINE, kind="bulk")
    host = high.model_copy(
        update={
            "configuration": high.configuration.model_copy(update={"origin": origin}),
            "cbm": high.vbm,
        }
    )
    assert collect([host], SETTINGS).labels == [host]
    for edges in ({}, {"vbm": None, "cbm": None}):
        with pytest.raises(CampaignError, match=r"^no_band_gap: .*found VBM .* expected a gap"):
            collect([host.model_copy(update={"rehearsal": False, **edges})], SETTINGS)


def test_sites_come_back_in_their_own_order(rehearsal, vacancy, store, tmp_path):
    rng = np.random.default_rng(0)
    order = rng.permutation(len(vacancy)).tolist()
    shuffled = reordered(with_charge(vacancy, 2), order)
    maker = SinglePointMaker(settings=SETTINGS, potentials=True)
    (straight,) = run(maker.make(configuration(vacancy, 2)), store, tmp_path)
    (permuted,) = run(maker.make(configuration(shuffled, 2)), store, tmp_path)
    assert permuted.energy == pytest.approx(straight.energy, abs=1e-5)
    assert np.allclose(permuted.forces, np.array(straight.forces)[order], atol=1e-4)
    expected = np.array(straight.site_potentials)[order]
    assert np.allclose(permuted.site_potentials, expected, atol=1e-3)


@pytest.mark.parametrize("fidelity", ["pbe", "hse06"])
def test_moments_of_sites_in_another_order_reach_vasp(
    rehearsal, magnetic_defects, store, tmp_path, fidelity
):
    (state,) = (state for state in magnetic_defects.states if state.name == "v_O_+1")
    order = np.random.default_rng(2).permutation(len(state.structure)).tolist()
    shuffled = reordered(state.structure, order)
    run(SinglePointMaker(fidelity=fidelity).make(configuration(shuffled, 1)), store, tmp_path)
    (folder,) = tmp_path.iterdir()
    written = Poscar.from_file(next(folder.glob("POSCAR.gz"))).structure
    moments = Incar.from_file(next(folder.glob("INCAR.gz")))["MAGMOM"]
    assert len(moments) == len(written) == 31
    for site, moment in zip(written, moments, strict=True):
        nearest = min(state.structure, key=lambda other: other.distance(site))
        assert moment == nearest.properties["magmom"]
    assert set(moments) == {-2, 0, 2}


def test_a_fingerprint_is_of_the_settings_of_its_fidelity(vacancy, monkeypatch):
    found = []
    monkeypatch.setattr(reuse, "fingerprint", lambda *parts: found.append(parts[3]) or "key")
    monkeypatch.setattr(reuse, "find_finished", lambda *_: "finished")
    for settings in (SETTINGS, SETTINGS.model_copy(update={"hse06_incar": {"ALGO": "All"}})):
        for fidelity in ("pbe", "hse06"):
            maker = SinglePointMaker(fidelity=fidelity, settings=settings)
            SinglePointMaker.make.original(maker, configuration(vacancy, 2))
    before, same, changed = found[0], found[2], found[3]
    assert before == found[1] == same != changed
    # what was calculated before there were such settings keeps its fingerprint
    assert not {"pbe_incar", "hse06_incar"} & set(before)


def test_a_finished_label_is_not_computed_again(rehearsal, vacancy, store, tmp_path):
    maker = SinglePointMaker(settings=SETTINGS)
    (first,) = run(maker.make(configuration(vacancy, 1)), store, tmp_path)
    rehearsal.setenv("MOCK_VASP_FAULT", "crash")  # computing again would fail
    bounds = SETTINGS.model_copy(update={"max_force": 31.0})
    (again,) = run(
        SinglePointMaker(settings=bounds).make(configuration(vacancy, 1)), store, tmp_path
    )
    assert again == first
    (other,) = run(maker.make(configuration(vacancy, 2)), store, tmp_path)
    assert isinstance(other, RefusedLabel)


@pytest.mark.parametrize("insist", [True, False])
def test_hse06_is_not_calculated_after_a_refusal_unless_insisted(
    rehearsal, vacancy, store, tmp_path, insist
):
    tight = SETTINGS.model_copy(update={"max_force": 1e-3})
    maker = MultiFidelityMaker(
        pbe=SinglePointMaker("PBE", "pbe", tight), hse06=SinglePointMaker("HSE06", "hse06", tight)
    )
    low, high = run(maker.make(configuration(vacancy, 0), insist=insist), store, tmp_path)
    assert isinstance(low, RefusedLabel)
    assert isinstance(high, RefusedLabel)
    assert (high.directory is not None) == insist
    assert ("not calculated, as pbe is refused: force of" in high.reason) != insist
    assert (high.fidelity, high.configuration.id) == ("hse06", low.configuration.id)


def test_bounds_refuse_with_the_number(rehearsal, vacancy, store, tmp_path):
    tight = SETTINGS.model_copy(update={"max_force": 1e-3})
    (refused,) = run(
        SinglePointMaker(settings=tight).make(configuration(vacancy, 0)), store, tmp_path
    )
    assert "expected at most 0.001" in refused.reason
    with pytest.raises(CampaignError, match=r"1 of 1 labels refused.*expected at most"):
        collect([refused], SETTINGS)


def test_a_label_far_above_its_kind_is_refused(rehearsal, vacancy, store, tmp_path):
    (label,) = run(
        SinglePointMaker(settings=SETTINGS).make(configuration(vacancy, 0)), store, tmp_path
    )
    high = label.model_copy(update={"energy": label.energy + 15 * 6.0, "fingerprint": "high"})
    generous = SETTINGS.model_copy(update={"max_refused_share": 1.0})
    found = collect([label, high], generous)
    assert [item.fingerprint for item in found.labels] == [label.fingerprint]
    assert "6.00 eV/atom above" in found.refused[0].reason


def test_makers_that_share_no_level_of_theory_are_refused():
    with pytest.raises(ValueError, match="expected one level of theory"):
        MultiFidelityMaker(
            pbe=SinglePointMaker(fidelity="pbe", settings=SETTINGS),
            hse06=SinglePointMaker(fidelity="hse06", settings=DftSettings()),
        )
    with pytest.raises(ValueError, match="fidelities"):
        MultiFidelityMaker(pbe=SinglePointMaker(fidelity="hse06"))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("scf@1", None),
        ("scf", "custodian gave up"),
        ("crash", "custodian gave up"),
        ("truncate", "custodian gave up"),
        ("hang", "custodian gave up"),
        ("nan", "not finite"),
    ],
)
def test_faults_are_mended_or_refused(rehearsal, vacancy, store, tmp_path, fault, expected):
    """A fault costs at most its own label, and says why."""
    rehearsal.setenv("MOCK_VASP_FAULT", fault)
    rehearsal.setenv("MOCK_VASP_FAULT_COUNTER", str(tmp_path / "calls"))
    if fault == "hang":  # a slow machine must not look like a hanging one in the others
        rehearsal.setenv("DEFECT_WORKFLOWS_VASP_TIMEOUT", "5")
    (found,) = run(
        SinglePointMaker(settings=SETTINGS).make(configuration(vacancy, 1)), store, tmp_path
    )
    if expected is None:
        assert isinstance(found, Label)
        assert "ALGO=All" in found.corrections
    else:
        assert isinstance(found, RefusedLabel)
        assert expected in found.reason
        generous = SETTINGS.model_copy(update={"max_refused_share": 1.0})
        assert collect([found], generous).refused == [found]
