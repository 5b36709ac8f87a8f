"""The errors of this package: each says in one line what was found and what is expected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DefectWorkflowsError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(DefectWorkflowsError):
    """Bad input of a user: file, key, what was found, what is expected (exit status 2)."""


class SettingError(InputError):
    """A setting of a campaign that does not fit its host: key, what was found, what is expected."""


class CampaignError(DefectWorkflowsError):
    """A campaign failed or cannot go on (exit status 1)."""


class MissingChargeError(DefectWorkflowsError):
    """A configuration was read that carries no charge."""


class InvalidChargeError(DefectWorkflowsError):
    """A charge that is not an integer, or contradicts the number of electrons."""


class UnknownFidelityError(DefectWorkflowsError):
    """A fidelity that the model or the campaign does not have."""


class CalculationError(DefectWorkflowsError):
    """A VASP calculation that cannot be used as a label."""


class IdentificationError(DefectWorkflowsError):
    """A calculation that does not hold the point defect that it should."""


class CorrectionError(DefectWorkflowsError):
    """A finite-size correction that could not be computed (never a mere warning)."""


class LevelOfTheoryError(DefectWorkflowsError):
    """Two calculations that should share a level of theory differ in a setting."""


class PotentialError(DefectWorkflowsError):
    """A potential that failed its probes, or was asked for what it was not made for."""


class UntrustedDocumentError(DefectWorkflowsError):
    """A stored document that names a class or function that no result is made of."""


class DamagedDocumentError(DefectWorkflowsError):
    """A stored document that cannot be read: damaged, incomplete, or of another version."""


class StoreNotWritableError(InputError):
    """A store that cannot be opened or written."""


class WorkdirBusyError(InputError):
    """A work folder in which another run is alive."""


class ReuseError(DefectWorkflowsError):
    """A job that asks for finished results but is not set up for it."""


class MachineError(DefectWorkflowsError):
    """The machine is at fault: its disk, its memory, its database (exit status 1)."""


def short(value: object, most: int = 80) -> str:
    """Return a value as it is shown in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


@contextmanager
def about(what: str) -> Iterator[None]:
    """Put before every error which calculation of which state it is of."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise CampaignError(f"{what}: {type(error).__name__}: {reason}") from error
