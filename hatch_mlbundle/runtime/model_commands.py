"""Get an application's models ready before it starts, or check every byte of them: `python -m hatch_mlbundle.runtime warm|verify`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from .models import checking, places
from .models.descriptor import FILE_NAME, Model, ModelFile
from .models.errors import ModelFileError, ModelUnavailableError, UnknownModelError
from .models.folders import roots
from .models.making import Making, held, ready_path

_USAGE = """\
usage: python -m hatch_mlbundle.runtime warm|verify [DESCRIPTOR|PACKAGE ...]

warm     fetch the models that are not on this machine yet
verify   read every byte of them; what is damaged in the store is fetched again
machine  another command: whether there is code for this machine (--help)
cpu      another one: whether this CPU is of a level (--help)

DESCRIPTOR is a mlbundle.models.json, or the folder that it is in; PACKAGE is
a package that has one. Without any, it is that of the frozen application, or
of the current folder. The exit code is 0 where all models are right, 1 where
one is not, 2 for wrong use."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says with each model; return 0, 1 where one is not there or not right, 2 for wrong use, 130 for Ctrl-C."""
    with contextlib.suppress(AttributeError):  # None in an application without a console
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names and paths are what they are
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["-h"], ["--help"]):
        print(_USAGE)  # noqa: T201 - it is a command
        return 0
    does = {"warm": warm, "verify": verify}.get(given[0] if given else "")
    if does is None:
        return _complain(_USAGE.partition("\n")[0], 2)
    try:
        homes = [places.home_of(_descriptor(named)) for named in given[1:] or [places.frozen_root() or "."]]
        models = [(model, home) for home in homes for model in home.models.values()]
    except (ModelFileError, UnknownModelError, OSError) as error:
        return _complain(f"mlbundle: {error}", 2)
    try:
        return max([_done(does, model, home) for model, home in models], default=0)
    except KeyboardInterrupt:
        return _complain("mlbundle: interrupted", 130)


def _done(does: Callable[[Model, places.Home], str], model: Model, home: places.Home) -> int:
    try:
        print(does(model, home), flush=True)  # noqa: T201
    except (ModelFileError, OSError) as error:
        return _complain(f"mlbundle: {error}", 1)
    return 0


def warm(model: Model, home: places.Home) -> str:
    """Get a model ready, and return a line about it; raises as `places.ready` does."""
    return f"{model.name}: {places.ready(model, home)}, {model.size:,} bytes"


def verify(model: Model, home: places.Home) -> str:
    """Read every byte of a model, mend what is damaged in the store, and return a line about it.

    Raises ModelUnavailableError where it is not there, ModelFileError where it is damaged for good.
    """
    looked: list[str] = []
    found = places.find(model, home, looked)
    if found is None:
        raise ModelUnavailableError(f"{model.name}: is in none of its places ({', '.join(looked)})")
    model, path = found
    making = next((Making(root, model) for root in roots() if str(path).startswith(ready_path(root, model))), None)
    wrong = [file.path for file in model.files if _is_damaged(file, model, str(path), making)]
    if not wrong:
        return f"{model.name}: {path} is right, {model.size:,} bytes"
    told = f"{model.name}: {path} had damaged files ({', '.join(wrong)})"
    if making is None:
        raise ModelFileError(f"{told}; get it anew")
    try:
        with held(making.root):
            making.reopen([file for file in model.files if file.path in wrong])
        places.ready(model, home)
    except OSError as error:
        raise ModelFileError(f"{told}; {error}") from error
    return f"{told}; they are right again"


def _is_damaged(file: ModelFile, model: Model, path: str, making: Making | None) -> bool:
    """Say whether a file is not what it should be, or what the store has for other models to share."""
    blob = making.blob(file) if making else ""
    return not _is(file, checking.place_of(file, path, model)) or (os.path.lexists(blob) and not _is(file, blob))


def _is(file: ModelFile, path: str) -> bool:
    """Say whether what lies at a path has just the bytes of a file; all of them are read."""
    return checking.size_of(path) == file.size and checking.sha256_of(path) == file.sha256


def _descriptor(named: str) -> str:
    """Return the path of the descriptor that is meant; raises UnknownModelError for none."""
    for path in _candidates(named):
        if os.path.isfile(path):
            return path
    raise UnknownModelError(f"{named}: is no {FILE_NAME}, and no folder or package that has one")


def _candidates(named: str) -> Iterator[str]:
    from importlib.util import find_spec

    yield os.path.join(named, FILE_NAME)
    yield named
    spec = find_spec(named) if named.isidentifier() and named != "__main__" else None
    for folder in (spec and spec.submodule_search_locations) or ():
        yield os.path.join(folder, FILE_NAME)


def _complain(line: str, code: int) -> int:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
    return code
