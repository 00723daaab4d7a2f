"""The models that left an artifact, as they are written beside it: `dist/NAME.models/`, one by one, so that each changes by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .atomic import leftovers, make_folder, replace_atomically, temporary_name
from .bundles.atomic_folder import remove_folder, replace_folder
from .bundles.images.model_image import ModelForm, model_files, write_model
from .canonical import sha256_of_file
from .manifest import CompanionRow
from .model import File, Finding
from .models.external import BundledModel
from .models.left_models import entry_beside
from .pipeline import Done, Stage
from .runtime.models.descriptor import FILE_NAME, Model, parse, text_of
from .runtime.models.errors import ModelFileError
from .runtime.models.places import NEIGHBOUR
from .storage import storage_errors

_TAR = ".tar"
_UNFINISHED = "new"
_STEP = "externalize"
_CHANGING = frozenset(("onnx_quantize", "onnx_slim", "pack_weights", "prune_weights", "quantize", "torch_files", "torch_to_onnx"))
"""Steps that change models, and find none behind the one that takes them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftModel:
    """A model that left, and how it is to be written beside the artifact, None where it is not."""

    model: BundledModel
    form: ModelForm | None


def models_folder(artifact: Path) -> Path:
    """Return the folder of the models that left an artifact: it lies beside it, wherever manifests lie."""
    return artifact.with_name(artifact.name + NEIGHBOUR)


def models_that_left(stages: Iterable[Done]) -> list[LeftModel]:
    """Return the models that left in these steps, sorted by name."""
    leaves = {applied.leave.name: applied.leave for done in stages for applied in done.changes if applied.leave}
    return [
        LeftModel(
            model=BundledModel(name=name, path=leave.place, is_file=leave.is_file, files=leave.files),
            form=cast("ModelForm | None", leave.form),
        )
        for name, leave in sorted(leaves.items())
    ]


def late_steps(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Yield a finding for each step that changes models and comes behind the one that takes them out."""
    names = [stage.name for stage in stages]
    for name in names[names.index(_STEP) + 1 :] if _STEP in names else ():
        if name in _CHANGING:
            message = f"comes behind {_STEP!r} in `optimizers`, where the models that leave are gone already; name it before"
            yield Finding(code="MB905", optimizer=name, message=message)


@contextmanager
def replacing_models(left: Sequence[LeftModel], artifact: Path, pool: Executor) -> Iterator[tuple[CompanionRow, ...]]:
    """Write models beside an artifact; each takes the place of an earlier one of its name when the body ends well.

    One that is there already, in every byte, stays as it is, and so does what nobody asks for. Raises StorageError, ArtifactError.
    """
    folder = models_folder(artifact)
    written = [(each.model, each.form) for each in left if each.form]
    with ExitStack() as stack:
        if written:
            make_folder(folder)
            stack.callback(_remove_if_empty, folder)
        rows = [row for model, form in written for row in stack.enter_context(_replacing(model, form, folder, pool))]
        stack.enter_context(_replacing_descriptor(left, folder))
        yield tuple(rows)


@contextmanager
def _replacing_descriptor(left: Sequence[LeftModel], folder: Path) -> Iterator[None]:
    """Write which version of each model lies in the folder, so that one may change without the application; of others it stays as it is."""
    path, names = folder / FILE_NAME, {each.model.name for each in left}
    earlier: Sequence[Model] = ()
    with suppress(OSError, ModelFileError):
        earlier = parse(path.read_bytes(), str(path))
    stay = [model for model in earlier if model.name not in names]
    told = [entry_beside(each.model) for each in left if each.form]
    text = text_of([*stay, *told]).encode()
    if (not told and len(stay) == len(earlier)) or (path.is_file() and path.read_bytes() == text):
        yield
        return
    with replace_atomically(path) as stream:
        stream.write(text)
        yield


@contextmanager
def _replacing(model: BundledModel, form: ModelForm, folder: Path, pool: Executor) -> Iterator[list[CompanionRow]]:
    target, other = folder / model.name, folder / (model.name + _TAR)
    if form == "tar":
        target, other = other, target
    if form == "folder" and _is_folder_of(target, model_files(model)):
        yield _rows(model, target)
        return
    new = temporary_name(target, _UNFINISHED)
    with storage_errors(target):
        for path in leftovers(target, _UNFINISHED):
            remove_folder(path)
        try:
            write_model(model, form, new, pool)
            rows = _rows(model, target, new)
            yield rows
            if not _is_same(rows, target, folder):
                with replace_folder(target) as partial:
                    new.rename(partial)
            remove_folder(other)
        finally:
            remove_folder(new)


def _rows(model: BundledModel, target: Path, written: Path | None = None) -> list[CompanionRow]:
    """Return a row for each file of a model at `target`, or still at `written`, by its path in the folder of models."""
    place = written or target
    return [
        CompanionRow(path=(target.name / path).as_posix(), size=size, sha256=sha256, model=model.name)
        for path, size, sha256 in sorted((Path(path), *_state(place / path)) for path in _paths(place))
    ]


def _paths(place: Path) -> list[str]:
    if not place.is_dir():
        return [""]
    return [os.path.relpath(Path(above) / name, place) for above, _, names in os.walk(place) for name in names]


def _state(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256_of_file(path)


def _is_same(rows: Sequence[CompanionRow], target: Path, folder: Path) -> bool:
    """Say whether a model lies at `target` already just as the rows say."""
    if not target.exists() or len(_paths(target)) != len(rows):
        return False
    return all((folder / row.path).is_file() and _state(folder / row.path) == (row.size, row.sha256) for row in rows)


def _is_folder_of(target: Path, files: Mapping[str, File]) -> bool:
    """Say whether a folder holds just these files."""
    if not target.is_dir() or {Path(path) for path in _paths(target)} != {Path(path) for path in files}:
        return False
    sizes = all((target / path).stat().st_size == file.size for path, file in files.items())
    return sizes and all(sha256_of_file(target / path) == file.sha256 for path, file in files.items())


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
