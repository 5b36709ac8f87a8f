"""What is done with one finished calculation at a time: small functions that processes can run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from defect_workflows.calculations import DefectCalculation
from defect_workflows.dft.differences import state_differences
from defect_workflows.dft.finished import read_calculation
from defect_workflows.dft.theory import own_correction
from defect_workflows.documents.base import Matrix3D
from defect_workflows.documents.calculations import FinishedCalculation
from defect_workflows.documents.defects import DefectState
from defect_workflows.documents.levels import (
    LevelCalculation,
    MetastableState,
    Scheme,
    StateAnalysis,
    StateError,
)
from defect_workflows.documents.warnings import LevelWarning
from defect_workflows.errors import (
    CalculationError,
    DefectWorkflowsError,
    InputError,
    InvalidChargeError,
)
from defect_workflows.levels.analysis import analyse
from defect_workflows.levels.identify import identify
from defect_workflows.levels.names import NamedState, defect_names

SAME_MOMENT = 0.1
"""Moments that differ by less are the same, in Bohr magnetons."""


@dataclass(frozen=True)
class ReadState:
    """A calculation of a state as it was read."""

    asked: DefectCalculation
    finished: FinishedCalculation


@dataclass(frozen=True)
class AnalysedState:
    """A state with everything that is computed of it alone."""

    read: ReadState
    state: DefectState
    calculation: LevelCalculation
    analysis: StateAnalysis
    warnings: list[LevelWarning] = field(default_factory=list)


def read_bulk(folder: Path) -> FinishedCalculation:
    """Read the pristine supercell.

    Raises
    ------
    InputError
        If it cannot be read, is charged, is in an excited state, or its energy is corrected.
    """
    try:
        bulk = _without_frames(read_calculation(folder))
    except CalculationError as error:
        raise InputError(f"bulk.dir: {error}") from None
    if bulk.charge != 0:
        raise InputError(f"bulk.dir: found charge {bulk.charge:+d}, expected a neutral bulk")
    if problem := own_correction(bulk.settings, bulk.charge):
        raise InputError(
            f"bulk.dir: {folder}: found {problem}, expected an energy that VASP did not correct"
        )
    if problem := excited(bulk):
        raise InputError(f"bulk.dir: {folder}: found {problem}, expected the bulk's ground state")
    return bulk


def excited(bulk: FinishedCalculation) -> str | None:
    """Return the moment that shows a bulk in an excited state, None without one.

    An insulator has the same whole moment in every primitive cell: one or two electrons that are
    turned around in a whole supercell are no ground state.
    """
    moment = bulk.magnetization if bulk.nupdown is None else bulk.nupdown
    if bulk.level_of_theory.spin_orbit or moment is None or abs(moment) < SAME_MOMENT:
        return None
    cells = max(1, round(len(bulk.structure) / len(bulk.structure.get_primitive_structure())))
    if abs(moment - cells * round(moment / cells)) < SAME_MOMENT:
        return None
    constraint = "" if bulk.nupdown is None else f" (NUPDOWN = {bulk.nupdown:g})"
    return f"a moment of {moment:g} in {cells} primitive cells{constraint}"


def read_state(asked: DefectCalculation) -> ReadState | StateError:
    """Read a calculation of a state and check its charge; what is wrong with it is returned."""
    try:
        finished = _without_frames(read_calculation(asked.dir))
        if asked.charge is not None and finished.charge != asked.charge:
            raise InvalidChargeError(
                f"{asked.dir}: found charge {finished.charge:+d} (NELECT {finished.nelect:g}, "
                f"{_valences(finished)}), expected {asked.charge:+d} as given for {asked.name}"
            )
        if problem := own_correction(finished.settings, finished.charge):
            raise CalculationError(
                f"{asked.dir}: found {problem}: VASP's own correction is part of the energy and "
                "would be made twice, expected an energy without it (LMONO, IDIPOL, LDIPOL off)"
            )
    except DefectWorkflowsError as error:
        return state_error(asked, str(error))
    return ReadState(asked, finished)


def without_charges(read: Sequence[ReadState]) -> list[ReadState]:
    """Take charges off the names of defects, where those of the calculations show that they are.

    Raises
    ------
    InputError
        If names leave open which states belong to one defect.
    """
    names = defect_names(
        [
            NamedState(
                item.asked.name,
                item.finished.charge,
                item.finished.structure.composition.formula,
                given=item.asked.charge is not None,
                complete=item.asked.charge_in_name,
            )
            for item in read
        ]
    )
    return [
        item
        if name == item.asked.name
        else replace(
            item,
            asked=item.asked.model_copy(update={"name": name, "charge": item.finished.charge}),
        )
        for item, name in zip(read, names, strict=True)
    ]


def analyse_state(
    read: ReadState,
    bulk: LevelCalculation,
    dielectric: Matrix3D | None,
    scheme: Scheme | Literal["auto"],
) -> AnalysedState | StateError:
    """Identify a defect and analyse it against the bulk; what is wrong with it is returned."""
    try:
        calculation = LevelCalculation.from_finished(read.finished)
        state, calculation, warnings = identify(read.asked.name, calculation, bulk)
        analysis = analyse(state, calculation, bulk, dielectric, scheme)
    except DefectWorkflowsError as error:
        # what is missing may stand in a file that could not be used
        reasons = "; ".join([str(error), *read.finished.unusable])
        return state_error(read.asked, reasons)
    return AnalysedState(read, state, calculation, analysis, warnings)


def choose_lowest(
    read: Iterable[ReadState], bulk: FinishedCalculation
) -> tuple[list[ReadState], list[MetastableState]]:
    """Return the lowest calculation of every state, and the others.

    Only those with the bulk's settings and a converged SCF compete; where there is none, those that
    differ least. Calculations with other atoms are not compared: one of them is of another defect.
    """
    groups: dict[tuple[str, int, str], list[ReadState]] = {}
    for item in read:
        finished = item.finished
        key = (item.asked.name, finished.charge, finished.structure.composition.formula)
        groups.setdefault(key, []).append(item)
    used, metastable = [], []
    for (name, charge, _), items in groups.items():
        differing = {id(item): _differing(item.finished, bulk) for item in items}
        lowest, *others = sorted(
            items, key=lambda item: (len(differing[id(item)]), item.finished.energy)
        )
        used.append(lowest)
        metastable += [
            MetastableState(
                defect=name,
                charge=charge,
                energy=item.finished.energy,
                above=None
                if differing[id(item)]
                else item.finished.energy - lowest.finished.energy,
                differs=differing[id(item)],
                magnetization=item.finished.magnetization,
                directory=str(item.asked.dir),
            )
            for item in others
        ]
    return used, metastable


def without_doubles(
    analysed: Iterable[AnalysedState],
) -> tuple[list[AnalysedState], list[StateError]]:
    """Return each state once; another defect of the same name and charge is an error."""
    kept: dict[str, AnalysedState] = {}
    errors = []
    for item in analysed:
        first = kept.setdefault(item.state.name, item)
        if first is not item:
            errors.append(
                state_error(
                    item.read.asked,
                    f"{item.state.name}: found another defect than in {first.read.asked.dir}, "
                    "expected the same for the same name and charge",
                )
            )
    return list(kept.values()), errors


def state_error(asked: DefectCalculation, message: str) -> StateError:
    """Return the record of a state that cannot be used."""
    return StateError(
        defect=asked.name, charge=asked.charge, directory=str(asked.dir), message=message
    )


def _differing(calculation: FinishedCalculation, bulk: FinishedCalculation) -> list[str]:
    """Return what keeps a calculation from competing with others of its state."""
    # the energy with spin can only be lower, and is right then
    found = [
        item.text
        for item in state_differences(calculation, bulk)
        if item.setting != "spin_polarized"
    ]
    return found if calculation.scf_converged else [*found, "its SCF did not reach EDIFF"]


def _without_frames(calculation: FinishedCalculation) -> FinishedCalculation:
    """Leave out the way to the final structure: levels do not need it, processes would send it."""
    return calculation.model_copy(update={"frames": []})


def _valences(finished: FinishedCalculation) -> str:
    return ", ".join(f"ZVAL {value:g} of {symbol}" for symbol, value in finished.valences.items())
