"""Models that lie outside the application: find them, fetch them, check them. The standard library only, and less than 1,000 lines.

`model_path` gives a local folder that is ready to be loaded from; where it came from, nobody needs to know (docs/models-outside.md).
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ModelFileError, ModelUnavailableError, UnknownModelError

__all__ = ["ModelFileError", "ModelUnavailableError", "UnknownModelError", "model_path"]


def model_path(name: str, *, local: str | os.PathLike[str] | None = None, descriptor: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a model, or its file where it is a single one, ready to be loaded from; nothing else may write to it.

    `local` is where it lies in the application as long as nobody took it out: it is returned where it is there. `descriptor` is the
    path of `mlbundle.models.json`, which else is looked for in the frozen application, in the folders above `local`, and in the caller's
    package and the folders above it.

    Raises UnknownModelError where no descriptor tells of the model, ModelUnavailableError where it is in none of its places and
    cannot be fetched, ModelFileError where what was found is damaged.
    """
    raise NotImplementedError
