"""Where a model may lie outside its application, and how the application's descriptor is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from . import folders, store
from .checking import fault, loaded_from
from .descriptor import FILE_NAME, Model, parse
from .errors import ModelFileError, ModelUnavailableError

Unpacked = Callable[[Model, str], Path]
"""Takes a model and the path of an archive of it, and returns where it can be loaded from."""

MODELS = "MLBUNDLE_MODELS"
NEIGHBOUR = ".models"
"""What the folder beside an application adds to its name."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """Where an application's models are told of: its descriptor, and the folders beside the application that may hold models."""

    descriptor: str
    neighbours: tuple[str, ...]

    @property
    def models(self) -> dict[str, Model]:
        """Its models by name; raises ModelFileError."""
        return _read(self.descriptor)


def home_of(descriptor: str) -> Home:
    """Return the home that a descriptor is of: a frozen application is known by where its contents lie."""
    descriptor = os.path.abspath(descriptor)
    folder = os.path.dirname(descriptor)
    if folder != frozen_root():
        return Home(descriptor=descriptor, neighbours=(folder + NEIGHBOUR,))
    executable = os.path.realpath(sys.executable)
    above = os.path.dirname(executable)
    if os.path.join(os.path.realpath(folder), "").startswith(os.path.join(above, "")):
        return Home(descriptor=descriptor, neighbours=(above + NEIGHBOUR,))
    names = dict.fromkeys((executable, executable.removesuffix(".exe")))
    return Home(descriptor=descriptor, neighbours=tuple(name + NEIGHBOUR for name in names))


def frozen_root() -> str | None:
    """Return the folder of a frozen application's contents; None where this is none."""
    return os.path.abspath(sys._MEIPASS) if getattr(sys, "frozen", False) and hasattr(sys, "_MEIPASS") else None


def descriptors(local: str | os.PathLike[str] | None, frame: FrameType | None) -> Iterator[str]:
    """Yield the descriptors that an application may have, the nearest first: of the frozen one, above `local`, above its callers' files."""
    frozen = frozen_root()
    if frozen is not None and os.path.isfile(os.path.join(frozen, FILE_NAME)):
        yield os.path.join(frozen, FILE_NAME)
    seen: set[str] = set()
    if local is not None:
        yield from _above(os.path.abspath(local), seen)
    while frame is not None:
        file = frame.f_globals.get("__file__")
        if isinstance(file, str):
            yield from _above(os.path.abspath(file), seen)
        frame = frame.f_back


def _above(path: str, seen: set[str]) -> Iterator[str]:
    """Yield the descriptors in the folders above a path; one that another user put there is not the application's."""
    start = folder = os.path.dirname(path)
    while folder not in seen:
        seen.add(folder)
        found = os.path.join(folder, FILE_NAME)
        if os.path.isfile(found) and _is_trusted(found, start):
            yield found
        folder = os.path.dirname(folder)


def _is_trusted(path: str, application: str) -> bool:
    """Say whether a path is root's, this user's, or of who owns the application."""
    ours = {0, *([os.geteuid()] if hasattr(os, "geteuid") else []), *([os.stat(application).st_uid] if os.path.exists(application) else [])}
    return os.lstat(path).st_uid in ours


def ready(model: Model, home: Home) -> Path:
    """Return a model from the first of its places that has it, the store included, fetched into that at last.

    Raises ModelUnavailableError, which says where it was looked for, ModelFileError, OSError.
    """
    looked: list[str] = []
    if found := find(model, home, looked):
        return found[1]
    try:
        return store.obtain(model)
    except ModelUnavailableError as error:
        told = f"{model.name}: is in none of its places ({', '.join(looked)}); {error}"
        raise ModelUnavailableError(f"{told}; put it into one of them, or start this once with network") from error


def find(model: Model, home: Home, looked: list[str], unpacked: Unpacked = store.unpacked) -> tuple[Model, Path] | None:
    """Return a model from where it was put, or the store, and which version it is there; `looked` gets what there is to say of each place.

    A folder is looked at by names and sizes alone; an archive is unpacked into the store, checked by SHA-256, or as `unpacked` does.
    Raises ModelFileError where MLBUNDLE_MODEL_<NAME> leads to something else.
    """
    if given := given_path(model.name):
        if problem := fault(given, model):
            raise ModelFileError(f"{model.name}: {given} {problem}; set {variable(model.name)} to the model, or unset it")
        return model, loaded_from(given, model)
    if not os.environ.get(MODELS):
        looked.append(f"{MODELS} is not set")
    for path in _paths(model, home, looked):
        if found := _at(path, model, home, looked, unpacked):
            return found
    stored = store.find(model)
    looked += (f"the store {root} lacks it" for root in folders.roots())
    return (model, stored) if stored else None


def variable(name: str) -> str:
    """Return the environment variable that leads to one model."""
    return "MLBUNDLE_MODEL_" + "".join(each if each.isascii() and each.isalnum() else "_" for each in name).upper()


def given_path(name: str) -> str | None:
    """Return where the environment says that a model is; None where it says nothing."""
    given = os.environ.get(variable(name))
    return os.path.abspath(given) if given else None


def _paths(model: Model, home: Home, looked: list[str]) -> Iterator[str]:
    root = os.path.dirname(home.descriptor)
    for folder in os.environ.get(MODELS, "").split(os.pathsep):
        if folder:
            yield os.path.join(os.path.abspath(folder), model.name)
    if model.mount:
        yield os.path.join(root, os.path.expanduser(model.mount), model.name)
    yield os.path.join(root, model.path)
    for folder in home.neighbours:
        if not os.path.isdir(folder) or _is_trusted(folder, root):
            yield os.path.join(folder, model.name)
        else:
            looked.append(f"{folder} is another user's, set {MODELS} to it if that is right")


def _at(path: str, model: Model, home: Home, looked: list[str], unpacked: Unpacked) -> tuple[Model, Path] | None:
    """Return a model that lies at a path, or in an archive of that name; a descriptor beside it tells which version that is."""
    try:
        model = _beside(path, home).get(model.name, model)
        problem = fault(path, model)
        if not problem:
            return model, loaded_from(path, model)
        if os.path.isfile(f"{path}.tar"):
            return model, unpacked(model, f"{path}.tar")
    except (ModelFileError, OSError) as error:
        looked.append(str(error))
    else:
        looked.append(f"{path} {problem}")
    return None


def _beside(path: str, home: Home) -> dict[str, Model]:
    """Return the models of the descriptor beside a path, if there is one that is not the application's own."""
    descriptor = os.path.join(os.path.dirname(path), FILE_NAME)
    if descriptor == home.descriptor or not os.path.isfile(descriptor):
        return {}
    return _read(descriptor)


def _read(path: str) -> dict[str, Model]:
    try:
        with open(path, "rb") as stream:
            return {model.name: model for model in parse(stream.read(), path)}
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}); name the application's descriptor") from error
