"""The models that a finished artifact tells of: by its descriptor, wherever in it that lies."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .errors import ArtifactError, without_path
from .runtime.models.descriptor import FILE_NAME, Model, parse
from .runtime.models.errors import ModelFileError
from .runtime.models.places import NEIGHBOUR, Home, home_of

_LARGEST = 1 << 26
"""Bytes of a descriptor that nothing has."""


def told_models(subject: Path) -> list[tuple[Model, Home]]:
    """Return the models that a descriptor, a wheel, a frozen bundle or any other folder tells of, and where they may lie.

    Raises ArtifactError where there is no descriptor, or one that cannot be right.
    """
    if not subject.exists():
        raise ArtifactError(str(subject), "there is no such file or folder")
    try:
        found = list(_in_folder(subject) if subject.is_dir() else _in_file(subject))
    except ModelFileError as error:
        raise ArtifactError(str(subject), without_path(error, subject)) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise ArtifactError(str(subject), f"cannot be read ({error}); get it anew") from error
    if not found:
        raise ArtifactError(str(subject), f"has no {FILE_NAME}; name a descriptor, or an artifact whose models were taken out")
    return found


def _in_folder(folder: Path) -> Iterator[tuple[Model, Home]]:
    """Yield what is told of in a folder, in the contents of a frozen bundle, or in a package right below it."""
    for descriptor in sorted([*folder.glob(FILE_NAME), *folder.glob(f"*/{FILE_NAME}")]):
        home = home_of(str(descriptor))
        beside = str(folder.resolve()) + NEIGHBOUR
        home = replace(home, neighbours=tuple(dict.fromkeys((beside, *home.neighbours))))
        yield from ((model, home) for model in home.models.values())


def _in_file(path: Path) -> Iterator[tuple[Model, Home]]:
    if not zipfile.is_zipfile(path):
        if path.suffix != ".json":
            asked = "an executable sees to its own models: run it with MLBUNDLE_COMMAND=warm or verify"
            raise ArtifactError(str(path), f"is neither a descriptor ({FILE_NAME}) nor a wheel; {asked}")
        home = home_of(str(path))
        yield from ((model, home) for model in home.models.values())
        return
    with zipfile.ZipFile(path) as wheel:
        for member in wheel.infolist():
            if member.filename.rpartition("/")[2] == FILE_NAME and member.file_size <= _LARGEST:
                place = path.resolve() / member.filename
                home = Home(descriptor=str(place), neighbours=(f"{path.resolve()}{NEIGHBOUR}",))
                yield from ((model, home) for model in parse(wheel.read(member), str(place)))
