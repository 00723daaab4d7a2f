"""Pack weight files for a download, exactly: what they hold is known by their bytes, whatever the format around them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import deflate
import numpy as np

from hatch_mlbundle.errors import ModelError, UnsoundResultError
from hatch_mlbundle.models.planes import choose_layout, encode
from hatch_mlbundle.runtime.planes import FREE_SIZE, HEAD_SIZE, MAX_RATIO, Head, write_head
from hatch_mlbundle.runtime.signpost import COMPRESSED, SIGN
from hatch_mlbundle.runtime.unpack import sha256_of_original

BLOCK = 1 << 18
"""Bytes that are packed by themselves. Larger ones fit what changes within a file worse: float16 in ONNX, where tensors begin anywhere,
is saved 0.5 % less in blocks of 512 KiB, and 0.2 % more in blocks of 128 KiB, which take a quarter longer."""

_WINDOWS, _WINDOW = 16, 1 << 17
"""An estimate is made from this many parts of a file, of this many bytes each."""
_DEFLATE_LEVEL = 6
_WHAT_TO_DO = b"This model is packed for the download. Unpack the folder that it is in by  python -m hatch_mlbundle.runtime.unpack FOLDER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A file that was packed: bytes before and after, the original's SHA-256 (hex), how many blocks have each layout."""

    before: int
    after: int
    sha256: str
    layouts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a file of `size` bytes would take packed, and deflated as in wheels and archives; bytes."""

    size: int
    packed: int
    deflated: int


def pack_file(source: Path, target: Path, *, workers: int | None = None) -> Packed:
    """Write the packed form of a file to a new one; the bytes do not depend on `workers` (threads; None means one a core).

    Raises ModelError where the file changes meanwhile, or would unpack to so much more than its size that no reader takes it.
    """
    size = source.stat().st_size
    digest = hashlib.sha256()
    layouts: Counter[str] = Counter()
    with source.open("rb") as original, target.open("xb") as stream:
        stream.write(bytes(HEAD_SIZE))
        for layout, data in _encoded(_blocks(original, size, digest.update), workers or os.cpu_count() or 1):
            layouts[layout] += 1
            stream.write(data)
        after = stream.tell()
        if size > max(FREE_SIZE, after * MAX_RATIO):
            raise ModelError(f"{size} bytes pack to {after}: it holds next to nothing, and no reader believes that; leave it out")
        stream.seek(0)
        stream.write(write_head(Head(BLOCK, size, digest.digest())))
    return Packed(before=size, after=after, sha256=digest.hexdigest(), layouts=dict(sorted(layouts.items())))


def check_packed(path: Path, sha256: str) -> None:
    """Unpack a packed file to nowhere, by the code that applications do it with; raises UnsoundResultError where it is another file."""
    try:
        with path.open("rb") as stream:
            found = sha256_of_original(stream, path.stat().st_size).hex()
    except ValueError as error:
        raise UnsoundResultError(f"packed, it does not unpack: {error}") from error
    if found != sha256:
        raise UnsoundResultError("packed, it unpacks to something else")


def estimate(path: Path) -> Estimate:
    """Estimate what packing a file would give, from parts of it."""
    size = path.stat().st_size
    seen = packed = deflated = 0
    with path.open("rb", buffering=0) as stream:
        for start in _starts(size):
            stream.seek(start)
            data = stream.read(_WINDOW)
            block = np.frombuffer(data, np.uint8)
            seen += len(data)
            packed += len(encode(block, choose_layout(block)))
            deflated += len(deflate.deflate_compress(data, _DEFLATE_LEVEL))
    whole = size / max(seen, 1)
    return Estimate(size=size, packed=HEAD_SIZE + round(packed * whole), deflated=round(deflated * whole))


def signpost(name: str) -> bytes:
    """Return what stands under a packed file's name: every loader refuses it, and a person who looks finds what to do.

    No format begins like this: safetensors reads a header of 5 * 10^18 bytes; a pickle takes the start for a number and a string of
    78 bytes, behind which the first blank is no opcode; protobuf ends a group that never began. What is read by offsets is too short.
    """
    return SIGN + _WHAT_TO_DO + f" ({name}{COMPRESSED} holds it)\n".encode(errors="backslashreplace")


def _blocks(stream: BinaryIO, size: int, look: Callable[[bytes], object]) -> Iterator[bytes]:
    """Yield the file's bytes in blocks, and let `look` see each; raises ModelError where it has not the size that it had."""
    left = size
    while data := stream.read(BLOCK):
        left -= len(data)
        look(data)
        yield data
    if left:
        raise ModelError("its size changed while it was read; let nobody write to it")


def _starts(size: int) -> list[int]:
    """Return where an estimate looks: everywhere in small files, else at multiples of 64 bytes."""
    if size <= _WINDOWS * _WINDOW:
        return list(range(0, size, _WINDOW))
    step = (size - _WINDOW) // (_WINDOWS - 1) // 64 * 64
    return [number * step for number in range(_WINDOWS)]


def _encoded(blocks: Iterator[bytes], workers: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each block's layout and the block as it stands in the file, in order; encoded by so many threads."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[tuple[str, bytes]]] = deque()
        for data in blocks:
            waiting.append(pool.submit(_encode, data))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _encode(data: bytes) -> tuple[str, bytes]:
    block = np.frombuffer(data, np.uint8)
    layout = choose_layout(block)
    return layout.name, encode(block, layout)
