"""The store of models that lie outside applications, as a whole: what is in it, what of it is damaged, what can go."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from .canonical import sha256_of_file
from .runtime.file_actions import remove, remove_tree
from .runtime.models.folders import roots
from .runtime.models.making import held
from .runtime.models.store import sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model in a store: `digest` tells which files it has (runtime/models/descriptor.py); `size` is theirs, in bytes."""

    root: Path
    digest: str
    name: str
    files: int
    size: int

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.root / "ready" / self.digest / self.name


def stored_models() -> list[StoredModel]:
    """Return the models that are ready, by name and digest. Raises OSError."""
    found = [_stored(Path(root), path) for root in roots() for path in Path(root, "ready").glob("*/*")]
    return sorted(found, key=lambda model: (model.name, model.digest))


def damaged_models() -> Iterator[StoredModel]:
    """Read every byte of all models, and yield those whose files are not the ones that they were. Raises OSError."""
    for model in stored_models():
        files = sorted((path.relative_to(model.path).as_posix(), path) for path in _files(model.path))
        lines = (f"{sha256_of_file(path)}  {name}\n" for name, path in files)
        if hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest() != model.digest:
            yield model


def damaged_blobs() -> Iterator[Path]:
    """Read every byte of what models share, and yield what is not what its name says. Raises OSError."""
    for root in roots():
        yield from (path for path in sorted(Path(root, "blobs").glob("*")) if sha256_of_file(path) != path.name)


def remove_models(models: Collection[StoredModel]) -> None:
    """Take models out of their stores. Raises OSError."""
    for model in models:
        with held(str(model.root)):
            gone = model.root / "partial" / f"{model.digest}.gone"
            remove_tree(str(gone))
            model.path.rename(gone)
            remove_tree(str(gone))


def remove_blobs(paths: Collection[Path]) -> None:
    """Take files away that models share; those keep theirs. Raises OSError."""
    for path in paths:
        remove(str(path))


def remove_rest() -> None:
    """Remove what killed processes left, and what no model shares any more. Raises OSError."""
    for root in roots():
        if Path(root, "partial").is_dir():
            sweep(root, 0)
            with held(root):
                remove_blobs([path for path in Path(root, "blobs").iterdir() if path.stat().st_nlink == 1])


def taken() -> int:
    """Return how many bytes all stores take on the disk, files with several names counted once."""
    found = {(info.st_dev, info.st_ino): info.st_size for root in roots() for path in _files(Path(root)) for info in [path.lstat()]}
    return sum(found.values())


def _stored(root: Path, path: Path) -> StoredModel:
    sizes = [each.lstat().st_size for each in _files(path)]
    return StoredModel(root=root, digest=path.parent.name, name=path.name, files=len(sizes), size=sum(sizes))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
