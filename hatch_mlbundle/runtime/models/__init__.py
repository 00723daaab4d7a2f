"""Models that lie outside the application: find them, fetch them, check them. The standard library only, and less than 1,000 lines of code.

`model_path` gives a local folder that is ready to be loaded from; where it came from, nobody needs to know (docs/models-outside.md).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import ModelFileError, ModelUnavailableError, UnknownModelError

__all__ = ["ModelFileError", "ModelUnavailableError", "UnknownModelError", "heed_command", "model_path"]


def model_path(name: str, *, local: str | os.PathLike[str] | None = None, descriptor: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a model, or its file where it is a single one, ready to be loaded from; nothing else may write to it.

    `local` is where it lies in the application as long as nobody took it out: it is returned where it is there. `descriptor` is the
    path of `mlbundle.models.json`, which else is looked for in the frozen application, in the folders above `local`, and in the caller's
    package and the folders above it.

    Raises UnknownModelError where no descriptor tells of the model, ModelUnavailableError where it is in none of its places and
    cannot be fetched, ModelFileError where what was found is damaged.
    """
    if local is not None and _is_there(local):
        return Path(local)
    from .places import descriptors, given_path, home_of, ready  # an application that still has its models needs none of it

    found = [os.fspath(descriptor)] if descriptor is not None else descriptors(local, sys._getframe(1))
    seen = []
    for path in found:
        home = home_of(path)
        if model := home.models.get(name):
            return ready(model, home)
        seen.append(path)
    if (given := given_path(name)) and os.path.exists(given):
        return Path(given)
    told = f"only others are told of in {', '.join(seen)}" if seen else "there is no mlbundle.models.json in the application"
    raise UnknownModelError(f"{name}: {told}; name the right one by descriptor=..., or where the model is by local=...")


def heed_command() -> None:
    """Let a frozen application do what MLBUNDLE_COMMAND says, and nothing else: `warm` fetches its models, `verify` checks them.

    It ends the process, with the exit code of `python -m hatch_mlbundle.runtime`; without that variable nothing happens.
    """
    if command := os.environ.get("MLBUNDLE_COMMAND"):
        from ..model_commands import main

        sys.exit(main([command]))


def _is_there(path: str | os.PathLike[str]) -> bool:
    """Say whether something is at a path; folders without files are what a model left, or where one is to be mounted."""
    if not os.path.isdir(path):
        return os.path.exists(path)
    return any(files for _, _, files in os.walk(path))
