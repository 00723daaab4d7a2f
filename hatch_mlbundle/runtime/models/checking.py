"""Whether a model at a path, or a file as it comes, is the one that is meant: by names and sizes, or by SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

from .descriptor import Model, ModelFile
from .errors import ModelFileError

Told: TypeAlias = Callable[[int], None]
"""Is told how many more bytes are there; negative where some are thrown away again."""

CHUNK = 1 << 18
"""Bytes that are read at a time."""


def fault(path: str, model: Model) -> str:
    """Return what names and sizes tell is wrong with a model at a path, in a few words that follow the path; empty for nothing."""
    if not os.path.exists(path):
        return "is not there"
    for file in model.files:
        size = size_of(place_of(file, path, model))
        if size != file.size:
            return f"lacks {file.path}" if size is None else f"has {file.path} with {size:,} bytes, not {file.size:,}"
    return ""


def loaded_from(path: str, model: Model) -> Path:
    """Return what an application loads a model from that lies at a path: the folder, or the file where it is one."""
    return Path(place_of(model.files[0], path, model) if model.is_file else path)


def place_of(file: ModelFile, path: str, model: Model) -> str:
    """Return where a file of a model at a path is; the path of a model that is one file may be the file itself."""
    return path if model.is_file and os.path.isfile(path) else os.path.join(path, file.path)


def size_of(path: str) -> int | None:
    """Return the bytes of a file; None where it is none."""
    return os.path.getsize(path) if os.path.isfile(path) else None


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file, in hex; raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_checked(stream: IO[bytes], file: ModelFile, descriptor: int) -> None:
    """Write what a stream gives into an open file; raises ModelFileError where it is not the file's bytes: then nothing of it stays."""
    part = Part(file, descriptor)
    part.discard()
    while chunk := stream.read(min(CHUNK, file.size - part.position)):
        part.append(memoryview(chunk))
    if not part.is_complete() or stream.read(1):
        part.discard()
        raise ModelFileError(f"{file.path} has other bytes")
    os.fsync(descriptor)


class Part:
    """What is there of a file that is open for reading and writing, from its start, and its hash."""

    def __init__(self, file: ModelFile, descriptor: int, told: Told = lambda _: None) -> None:
        self.file = file
        self.position = 0
        self._descriptor = descriptor
        self._told = told
        self._hash = hashlib.sha256()

    def is_complete(self) -> bool:
        """Say whether all bytes are there and right; throws them away if they are wrong."""
        if self.position < self.file.size:
            return False
        if self._hash.hexdigest() == self.file.sha256:
            return True
        self.discard()
        return False

    def recover(self) -> None:
        """Hash what an earlier try left."""
        if os.fstat(self._descriptor).st_size > self.file.size:
            self.discard()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        view = memoryview(bytearray(CHUNK))
        with open(self._descriptor, "rb", buffering=0, closefd=False) as left:
            while count := left.readinto(view):
                self._count(view[:count])

    def append(self, data: memoryview) -> None:
        """Write the next bytes."""
        written = 0
        while written < len(data):
            written += os.write(self._descriptor, data[written:])
        self._count(data)

    def discard(self) -> None:
        """Throw away what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._told(-self.position)
        self.position = 0
        self._hash = hashlib.sha256()

    def _count(self, data: memoryview) -> None:
        self._hash.update(data)
        self.position += len(data)
        self._told(len(data))
