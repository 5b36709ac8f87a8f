"""The errors of this package: each says in one line what was found and what is expected."""

from __future__ import annotations


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


class StoreNotWritableError(InputError):
    """A store that cannot be opened or written."""


class WorkdirBusyError(InputError):
    """A work folder in which another run is alive."""


class ReuseError(DefectWorkflowsError):
    """A job that asks for finished results but is not set up for it."""
