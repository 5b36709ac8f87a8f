"""From a host crystal to the charge transition levels of its point defects."""

__version__ = "0.1.0"
