"""A model on its way into the store: each file is checked before it has its name there, and the model has its own after all of them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import IO

from .. import file_actions, place_lock
from ..progress_line import say
from .checking import fault, sha256_of, size_of, write_checked
from .descriptor import Model, ModelFile
from .errors import ModelFileError

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_TAKEN = (PermissionError,) if os.name == "nt" else ()
"""What renaming raises on Windows where another process that waited has the file open: it then does the same."""


_MODE = 0o666
"""Of what is not finished: the umask says whether others go on with it, in a store that several users share."""


def ready_path(root: str, model: Model) -> str:
    """Return where a model that can be loaded from lies in a store."""
    return os.path.join(root, "ready", model.digest, model.name)


def held(root: str) -> AbstractContextManager[object]:
    """Let nobody else move files from one folder of a store to another."""
    return place_lock.resumed(os.path.join(root, "lock"), _MODE)


class Making:
    """A model, and the files of it that a store has so far. A file goes from `blobs` to `partial/DIGEST.files` to `ready`, never back.

    onnx refuses weights beside a model that have several names (hard links) or are symbolic links: files of such a model are their own.
    """

    def __init__(self, root: str, model: Model) -> None:
        self.root = root
        self.model = model
        self.ready = ready_path(root, model)
        self._staging = self._in_partial(f"{model.digest}.files")
        self._is_told = False
        self._owns = any(file.path.endswith(".onnx") for file in model.files)

    def missing(self) -> list[ModelFile]:
        """Return the files that the store does not have."""
        return [file for file in self.model.files if not self._has(file)]

    def lacking(self) -> int:
        """Return how many bytes of them there are, without those that an earlier process left to go on from."""
        return sum(file.size - (size_of(self._in_partial(file.sha256)) or 0) for file in self.missing())

    @contextlib.contextmanager
    def incomplete(self, file: ModelFile) -> Iterator[place_lock.Place]:
        """Hold a file that is on its way, the model's or its archive, with what an earlier process left of it to go on from."""
        with place_lock.resumed(self._in_partial(file.sha256), _MODE, self._tell_waiting) as place:
            try:
                yield place
            except (OSError, ModelFileError) as error:
                is_useless = isinstance(error, ModelFileError) or error.errno in FULL
                if is_useless or not size_of(place.path):
                    place.discard()
                raise

    def complete(self, file: ModelFile, fill: Callable[[int], None]) -> bool:
        """Let a file be written, unless it is there or another process does it; say whether it was."""
        while not self._has(file):
            with contextlib.suppress(*_TAKEN), self.incomplete(file) as place:
                if self._has(file):
                    place.discard()
                    break
                fill(place.descriptor)
                place.rename(self.blob(file))
                return True
        return False

    def take(self, file: ModelFile, stream: IO[bytes]) -> bool:
        """Complete a file with what a stream gives, if it is just its bytes; say whether it is."""
        try:
            self.complete(file, partial(write_checked, stream, file))
        except ModelFileError:
            return False
        return True

    def reuse(self) -> None:
        """Copy the files that other models have of their own; what has the size of one that is missing is read."""
        wanted = {file.sha256: file for file in self.missing()}
        sizes = {file.size for file in wanted.values()}
        for folder, _, names in os.walk(os.path.join(self.root, "ready") if wanted else ""):
            for path in (os.path.join(folder, name) for name in names):
                with contextlib.suppress(OSError):
                    info = os.stat(path)
                    if info.st_nlink == 1 and info.st_size in sizes and (file := wanted.get(sha256_of(path))):
                        with open(path, "rb") as stream:
                            self.take(file, stream)

    def finish(self) -> bool:
        """Give the model its name where all its files are there; say whether it has it."""
        with held(self.root):
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
            os.makedirs(os.path.dirname(self.ready), exist_ok=True)
            os.rename(self._staging, self.ready)
            place_lock.settle(os.path.dirname(self.ready))
        return True

    def reopen(self, wrong: Sequence[ModelFile] = ()) -> None:
        """Take the model's name away, and the files that are wrong; who has them open does not notice. The store is held."""
        for path in (place for file in wrong for place in (os.path.join(self.ready, file.path), self.blob(file))):
            file_actions.remove(path)
        file_actions.remove_tree(self._staging)
        os.rename(self.ready, self._staging)
        os.utime(self._staging)  # it is not what was left long ago

    def blob(self, file: ModelFile) -> str:
        """Return where a file lies that models share."""
        return os.path.join(self.root, "blobs", file.sha256)

    def _in_partial(self, name: str) -> str:
        return os.path.join(self.root, "partial", name)

    def _has(self, file: ModelFile) -> bool:
        paths = (self.blob(file), os.path.join(self._staging, file.path), os.path.join(self.ready, file.path))
        return any(size_of(path) == file.size for path in paths)  # in the order that it goes: it cannot slip by

    def _stage(self, file: ModelFile, *, is_last: bool) -> bool:
        """Put a file into the folder that gets the model's name, in a way that takes its bytes once; say whether it was there."""
        blob, target, spare = self.blob(file), os.path.join(self._staging, file.path), self._in_partial("spare")
        if size_of(target) != file.size:
            if size_of(blob) != file.size:
                return False
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if file_actions.cloned(blob, spare):
                os.replace(spare, target)
            elif self._owns or not file_actions.linked(blob, target):
                if is_last and os.stat(blob).st_nlink == 1:
                    os.replace(blob, target)
                else:
                    file_actions.copy(blob, spare)
                    os.replace(spare, target)
        with contextlib.suppress(PermissionError):  # another user's, in a store that is shared
            os.chmod(target, 0o444)
        return True

    def _tell_waiting(self) -> None:
        if not self._is_told:
            self._is_told = True
            say(f"{self.model.name}: waiting for another process that gets it ready")
