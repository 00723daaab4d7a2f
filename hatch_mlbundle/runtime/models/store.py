"""The store: models by their content, each whole or not there, shared by all applications of a user."""

from __future__ import annotations

from pathlib import Path

from .descriptor import Model


def find(model: Model) -> Path | None:
    """Return the model's folder (its file, where it is one) in a store, None where it is not there; writes nothing."""
    raise NotImplementedError


def obtain(model: Model) -> Path:
    """Return the model from the store, fetched where it is not there yet: by one process, while all others wait for it.

    Raises ModelUnavailableError, ModelFileError, OSError.
    """
    raise NotImplementedError
