"""A model on its way into the store: each file is checked before it has its name there, and the model has its own after all of them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import BinaryIO

from .. import place_lock
from .checking import fault, sha256_of, size_of, write_checked
from .descriptor import Model, ModelFile, parse, text_of
from .errors import ModelFileError

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FICLONE = 0x40049409
"""Lets one file share another's blocks on Linux (ioctl_ficlone(2))."""


def ready_path(root: str, model: Model) -> str:
    """Return where a model that can be loaded from lies in a store."""
    return os.path.join(root, "ready", model.digest, model.name)


class Making:
    """A model, and the files of it that a store has so far. A file goes from `blobs` to `partial/DIGEST.files` to `ready`, never back.

    onnx refuses weights beside a model that have several names (hard links) or are symbolic links: files of such a model are their own.
    """

    def __init__(self, root: str, model: Model) -> None:
        self.root = root
        self.model = model
        self.ready = ready_path(root, model)
        self._staging = os.path.join(root, "partial", f"{model.digest}.files")
        self._own = any(file.path.endswith(".onnx") for file in model.files)

    def missing(self) -> list[ModelFile]:
        """Return the files that the store does not have."""
        return [file for file in self.model.files if not self._has(file)]

    def begun(self) -> int:
        """Return how many bytes of missing files an earlier process left, to go on from."""
        return sum(size_of(self.partial_of(file)) or 0 for file in self.missing())

    def partial_of(self, file: ModelFile) -> str:
        """Return where a file lies that is not complete yet, and is locked by who writes it."""
        return os.path.join(self.root, "partial", file.sha256)

    def complete(self, file: ModelFile, fill: Callable[[int], None]) -> None:
        """Let a file be written, unless it is there or another process does it; what `fill` leaves when it raises is gone on from."""
        while not self._has(file):
            with place_lock.resumed(self.partial_of(file)) as place:
                if self._has(file):
                    place.discard()
                    return
                try:
                    fill(place.descriptor)
                    place.rename(self._blob(file))
                except PermissionError:
                    if os.name != "nt":  # there, who waits for it may have it open, and then does the same
                        raise
                except (OSError, ModelFileError) as error:
                    if getattr(error, "errno", None) in FULL or not os.fstat(place.descriptor).st_size:
                        place.discard()
                    raise

    def take(self, file: ModelFile, stream: BinaryIO) -> bool:
        """Complete a file with what a stream gives, if it is just its bytes; say whether it is."""
        try:
            self.complete(file, partial(write_checked, stream, file))
        except ModelFileError:
            return False
        return True

    def reuse(self) -> None:
        """Copy the files that other models have of their own."""
        for file in self.missing():
            for path in self._of_models.get(file.sha256, ()):
                with contextlib.suppress(OSError), open(path, "rb") as stream:
                    if self.take(file, stream):
                        break

    def finish(self) -> bool:
        """Give the model its name where all its files are there; say whether it has it."""
        with self.held():
            if not fault(self.ready, self.model):
                return True
            if os.path.isdir(self.ready):
                self.reopen()
            left = Counter(file.sha256 for file in self.model.files)
            for file in self.model.files:
                left[file.sha256] -= 1
                if not self._stage(file, is_last=not left[file.sha256]):
                    return False
            for folder, _, _ in os.walk(self._staging):
                place_lock.settle(folder)
            self._write_record()
            os.makedirs(os.path.dirname(self.ready), exist_ok=True)
            os.rename(self._staging, self.ready)
            place_lock.settle(os.path.dirname(self.ready))
        return True

    def take_out_damaged(self) -> list[str]:
        """Read every byte, and take the model back where some are wrong, without these files; return their paths."""
        wrong = [file for file in self.model.files if any(map(partial(_is_damaged, file), (self._in_ready(file), self._blob(file))))]
        if wrong:
            with self.held():
                self.reopen(wrong)
        return [file.path for file in wrong]

    def reopen(self, wrong: Sequence[ModelFile] = ()) -> None:
        """Take the model's name away, and the files that are wrong; who has them open does not notice."""
        for file in wrong:
            for path in (self._in_ready(file), self._blob(file)):
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(path, 0o644)  # Windows removes no read-only file
                    os.unlink(path)
        shutil.rmtree(self._staging, ignore_errors=True)
        os.rename(self.ready, self._staging)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody else move files from one folder of the store to another."""
        with place_lock.resumed(os.path.join(self.root, "lock")):
            yield

    def _has(self, file: ModelFile) -> bool:
        paths = (self._blob(file), self._staged(file), self._in_ready(file))  # the way that it goes: it cannot slip by
        return any(size_of(path) == file.size for path in paths)

    def _stage(self, file: ModelFile, *, is_last: bool) -> bool:
        """Put a file into the folder that gets the model's name, in a way that takes its bytes once; say whether it was there."""
        blob, target, spare = self._blob(file), self._staged(file), self._spare
        if size_of(target) != file.size:
            if size_of(blob) != file.size:
                return False
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if _cloned(spare, blob):
                os.replace(spare, target)
            elif self._own or not _linked(blob, target):
                if is_last and os.stat(blob).st_nlink == 1:
                    os.replace(blob, target)
                else:
                    _made(spare, blob, shutil.copyfileobj)
                    os.replace(spare, target)
        os.chmod(target, 0o444)
        return True

    @cached_property
    def _of_models(self) -> dict[str, list[str]]:
        """The files in all models of the store, by their SHA-256."""
        found: dict[str, list[str]] = {}
        for model, path in models_in(self.root):
            for file in model.files:
                found.setdefault(file.sha256, []).append(os.path.join(path, file.path))
        return found

    def _write_record(self) -> None:
        spare = self._spare
        with open(spare, "wb") as stream:
            stream.write(text_of([self.model]).encode())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(spare, os.path.join(self.root, "records", f"{self.model.digest}.json"))

    @property
    def _spare(self) -> str:
        return os.path.join(self.root, "partial", "spare")

    def _blob(self, file: ModelFile) -> str:
        return os.path.join(self.root, "blobs", file.sha256)

    def _staged(self, file: ModelFile) -> str:
        return os.path.join(self._staging, file.path)

    def _in_ready(self, file: ModelFile) -> str:
        return os.path.join(self.ready, file.path)


def models_in(root: str) -> Iterator[tuple[Model, str]]:
    """Yield the models of a store, and the folder of each, sorted by digest and name."""
    with contextlib.suppress(FileNotFoundError):
        for digest in sorted(os.listdir(os.path.join(root, "ready"))):
            with (
                contextlib.suppress(FileNotFoundError, ModelFileError),
                open(os.path.join(root, "records", f"{digest}.json"), "rb") as stream,
            ):
                (model,) = parse(stream.read(), stream.name)
                for name in sorted(os.listdir(os.path.join(root, "ready", digest))):
                    yield replace(model, name=name), os.path.join(root, "ready", digest, name)


def _is_damaged(file: ModelFile, path: str) -> bool:
    return os.path.lexists(path) and (size_of(path) != file.size or sha256_of(path) != file.sha256)


def _made(spare: str, source: str, copy: Callable[[BinaryIO, BinaryIO], object]) -> None:
    """Make a file anew with the bytes of another one, on the disk."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(spare)
    with open(source, "rb") as reader, open(spare, "xb") as writer:
        copy(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())


def _cloned(spare: str, source: str) -> bool:
    """Make a file that shares another's blocks, where the file system can; say whether it could."""
    if sys.platform != "linux":
        return False
    from fcntl import ioctl

    try:
        _made(spare, source, lambda reader, writer: ioctl(writer.fileno(), _FICLONE, reader.fileno()))
    except OSError:
        return False
    return True


def _linked(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError:  # the file system has no links, or no more
        return False
    return True
