"""The models that left an artifact, as they are written beside it: `dist/NAME.models/`, one by one, so that each changes by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .applied import leaves_of
from .atomic import leftovers, make_folder, temporary_name
from .bundles.atomic_folder import FORMER, put_in_place, recover, remove_folder
from .bundles.images.model_image import ModelForm, model_files, write_model
from .canonical import sha256_of_file
from .manifest import CompanionRow
from .model import File
from .models.external import BundledModel
from .models.left_models import entry_beside, model_of, models_folder
from .pipeline import Done
from .runtime.models.descriptor import FILE_NAME, Model, parse, text_of
from .runtime.models.errors import ModelFileError
from .storage import storage_errors

_TAR = ".tar"
_UNFINISHED = "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftModel:
    """A model that left, and how it is to be written beside the artifact, None where it is not."""

    model: BundledModel
    form: ModelForm | None


def models_that_left(stages: Iterable[Done]) -> list[LeftModel]:
    """Return the models that left in these steps, sorted by name."""
    leaves = {leave.name: leave for done in stages for leave in leaves_of(done.changes)}
    return [LeftModel(model=model_of(leave), form=cast("ModelForm | None", leave.form)) for _, leave in sorted(leaves.items())]


class ModelsBeside:
    """Models that are written beside an artifact, each still under a name of its own; `rows` tell of all their files."""

    def __init__(self, folder: Path, pool: Executor, written: ExitStack, placed: ExitStack) -> None:
        self.rows: list[CompanionRow] = []
        self.stale: list[Path] = []  # models in another form, which go in the end
        self._folder, self._pool = folder, pool
        self._written, self._placed = written, placed
        self._new: list[tuple[Path, Path]] = []

    def put_in_place(self) -> None:
        """Let each take its place, before the artifact does: so it is in the one or the other at any moment. Raises StorageError.

        Where the artifact fails after all, what was there before comes back.
        """
        for new, target in self._new:
            self._placed.enter_context(put_in_place(new, target))

    def write(self, model: BundledModel, form: ModelForm) -> None:
        """Write a model, unless it is there already in every byte; raises StorageError, ArtifactError."""
        self._make_folder()
        target, other = self._folder / model.name, self._folder / (model.name + _TAR)
        if form == "tar":
            target, other = other, target
        if form == "folder" and _is_folder_of(target, model_files(model)):
            self.rows += _rows(model.name, target)
            return
        with storage_errors(target):
            new = self._new_name(target)
            write_model(model, form, new, self._pool)
            rows = _rows(model.name, target, new)
        if not _is_same(rows, target, self._folder):
            self._new.append((new, target))
        self.rows += rows
        self.stale.append(other)

    def bring(self, name: str, source: Path) -> None:
        """Tell of a model that left earlier, where it lies in `source`, and copy it from there; raises StorageError."""
        for lying in (source / name, source / (name + _TAR)):
            if not lying.exists():
                continue
            target = self._folder / lying.name
            rows = _rows(name, target, lying)
            if not _is_same(rows, target, self._folder):
                self._make_folder()
                with storage_errors(target):
                    new = self._new_name(target)
                    _copy(lying, new)
                self._new.append((new, target))
            self.rows += rows

    def write_descriptor(self, left: Sequence[LeftModel], brought: Sequence[Model] = ()) -> None:
        """Write which version of each model lies there, so that one may change without the application; of others it stays as it is."""
        path = self._folder / FILE_NAME
        names = {each.model.name for each in left} | {each.name for each in brought}
        earlier = _told_in(self._folder)
        stay = [model for model in earlier if model.name not in names]
        told = [*brought, *(entry_beside(each.model) for each in left if each.form)]
        text = text_of([*stay, *told]).encode()
        if (not told and len(stay) == len(earlier)) or (path.is_file() and path.read_bytes() == text):
            return
        with storage_errors(path):
            new = self._new_name(path)
            new.write_bytes(text)
            new.chmod(0o644)  # as the models are, whatever the umask
        self._new.append((new, path))

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            make_folder(self._folder)
            self._folder.chmod(0o755)

    def _new_name(self, target: Path) -> Path:
        """Return a free name, under which nothing is left in the end; what killed processes left under such names goes."""
        recover(target)
        for path in (*leftovers(target, _UNFINISHED), *leftovers(target, FORMER)):
            remove_folder(path)
        new = temporary_name(target, _UNFINISHED)
        self._written.callback(remove_folder, new)
        return new


@contextmanager
def replacing_models(
    left: Sequence[LeftModel], artifact: Path, pool: Executor, *, earlier: Collection[str] = (), source: Path | None = None
) -> Iterator[ModelsBeside]:
    """Write models beside an artifact; those that the body puts in their places stay there when it ends well, and only then.

    Those called `earlier` left before, and come from where they lie beside `source`. What nobody asks for stays as it is. Raises
    StorageError, ArtifactError.
    """
    folder, former = models_folder(artifact), models_folder(source or artifact)
    names = sorted({*earlier} - {FILE_NAME, *(each.model.name for each in left)})
    with ExitStack() as written:
        if not folder.exists():
            written.callback(_remove_if_empty, folder)
        with ExitStack() as placed:
            beside = ModelsBeside(folder, pool, written, placed)
            for each in left:
                if each.form:
                    beside.write(each.model, each.form)
            for name in names:
                beside.bring(name, former)
            beside.write_descriptor(left, [model for model in _told_in(former) if model.name in names] if former != folder else ())
            yield beside
        for path in beside.stale:
            remove_folder(path)


def _rows(name: str, target: Path, written: Path | None = None) -> list[CompanionRow]:
    """Return a row for each file of a model at `target`, or still at `written`, by its path in the folder of models."""
    place = written or target
    return [
        CompanionRow(path=(target.name / path).as_posix(), size=size, sha256=sha256, model=name)
        for path, size, sha256 in sorted((Path(path), *_state(place / path)) for path in _paths(place))
    ]


def _told_in(folder: Path) -> Sequence[Model]:
    """Return what the descriptor in a folder of models tells of; one that cannot be read tells of nothing."""
    path = folder / FILE_NAME
    with suppress(OSError, ModelFileError):
        return parse(path.read_bytes(), str(path))
    return ()


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder with the files below it, with permissions and times; no link to a folder is followed there."""
    if not source.is_dir():
        shutil.copy2(source, target)
        return
    for path in _paths(source):
        place = target / path
        make_folder(place.parent)
        shutil.copy2(source / path, place)
    for place in sorted({target, *(target / parent for path in _paths(target) for parent in Path(path).parents)}, reverse=True):
        shutil.copystat(source / place.relative_to(target), place)


def _paths(place: Path) -> list[str]:
    if not place.is_dir():
        return [""]
    paths = (Path(above) / name for above, _, names in os.walk(place) for name in names)
    return [os.path.relpath(path, place) for path in paths if path.is_file()]


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
