"""Whether a model at a path is the one that is meant: by the names and sizes of its files, or by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

from .descriptor import Model, ModelFile
from .errors import ModelFileError

_CHUNK = 1 << 20


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
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_checked(stream: IO[bytes], file: ModelFile, descriptor: int) -> None:
    """Write what a stream gives into an open file; raises ModelFileError where it is not the file's bytes: then nothing of it stays."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest, left = hashlib.sha256(), file.size
    while left and (chunk := stream.read(min(_CHUNK, left))):
        left -= len(chunk)
        digest.update(chunk)
        while chunk:
            chunk = chunk[os.write(descriptor, chunk) :]
    if left or digest.hexdigest() != file.sha256 or stream.read(1):
        os.ftruncate(descriptor, 0)
        raise ModelFileError(f"{file.path} has other bytes")
    os.fsync(descriptor)
