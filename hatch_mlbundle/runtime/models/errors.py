"""What goes wrong with models outside the application: one line each, that says what was tried and what to do."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A descriptor or a model's file that cannot be right."""


class UnknownModelError(LookupError):
    """No descriptor tells of a model of this name."""


class ModelUnavailableError(OSError):
    """A model is in none of its places, and none of its sources gave it."""
