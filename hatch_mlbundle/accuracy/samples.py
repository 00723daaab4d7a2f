"""Read the user's samples: .npz files of arrays, .jsonl files of objects; what is damaged, hostile or of no use is refused in one line.

The formats: numpy.lib.format (NEP 1) in a zip archive; JSON Lines (jsonlines.org).
"""

from __future__ import annotations

import json
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hatch_mlbundle.errors import AccuracyError, MissingLibraryError
from hatch_mlbundle.units import format_size

from .evaluator import Samples

LARGEST = 4 * 10**9
"""Bytes that samples may take in memory: whoever has more has put in the wrong file."""

MOST = 1_000_000
"""Samples: each takes some hundred bytes, whatever is in it."""

_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What Python's zipfile raises for archives that are damaged, encrypted, or compressed in a way that it does not know."""

_TOO_MANY = f"it holds more than {MOST:,} samples; take fewer"

_HEADER = 1 << 16
"""Bytes that the header of an array may have, at most; a real one has 118."""


def check_samples(path: Path, name: str) -> int:
    """Return the number of samples in a file, called `name`; of arrays only the headers are read.

    Raises AccuracyError where it holds none that can be read, MissingLibraryError without numpy.
    """
    try:
        return _count_arrays(path) if path.suffix == ".npz" else len(_read_lines(path))
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AccuracyError(f"{name}: cannot be used as samples: {' '.join(reason.split())}") from error


def load_samples(path: Path) -> Samples:
    """Return the samples in a file that `check_samples` finds nothing wrong with; raises as numpy does where its data is damaged."""
    if path.suffix == ".jsonl":
        return Samples(rows=_read_lines(path))
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    count = len(next(iter(arrays.values())))
    return Samples(rows=[{name: array[number] for name, array in arrays.items()} for number in range(count)])


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if path.stat().st_size > LARGEST:
        raise ValueError(_too_large(path.stat().st_size))
    rows: list[dict[str, Any]] = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                if len(rows) == MOST:
                    raise ValueError(_TOO_MANY)
                rows.append(_row(line, number))
                if rows[-1].keys() != rows[0].keys():
                    raise ValueError(f"line {number} has the keys {_names(rows[-1])}, the first one {_names(rows[0])}")
    if not rows:
        raise ValueError("there is no sample in it")
    return rows


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number} is no UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is no JSON ({error})") from error
    if not isinstance(row, dict) or not row:
        raise ValueError(f'line {number} is no JSON object with inputs by name, like {{"text": "..."}}')
    return row


def _names(row: dict[str, Any]) -> str:
    return ", ".join(map(repr, row))


def _count_arrays(path: Path) -> int:
    """Go by what the archive's directory and the arrays' headers say: numpy reads no more than that later, and checks the CRCs."""
    counts: dict[str, int] = {}
    total = 0
    for name, shape, size in _headers(path):
        total += size
        if total > LARGEST:
            raise ValueError(_too_large(total))
        if not shape:
            raise ValueError(f"array {name!r} has no axis that counts the samples")
        if shape[0] > MOST:
            raise ValueError(_TOO_MANY)
        counts[name] = shape[0]
    if not counts or not any(counts.values()):
        raise ValueError("there is no sample in it")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise ValueError(f"the first axes of its arrays count different numbers of samples ({told})")
    return next(iter(counts.values()))


def _headers(path: Path) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield the name, the shape and the bytes of each array."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("two of its arrays have the same name")
        for info in infos:
            if info.filename.endswith("/") or not info.filename.endswith(".npy"):
                raise ValueError(f"{info.filename!r} is no array of numpy's")
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as stream:
                shape, size, offset = _header(stream, name)
            if offset + size != info.file_size:
                raise ValueError(f"array {name!r} is not as long as its header says")
            yield name, shape, size


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], int, int]:
    """Return an array's shape, its bytes, and where in the stream they begin."""
    try:
        from numpy.lib import format as npy
    except ImportError as error:
        raise MissingLibraryError("samples in .npz files need numpy; pip install 'hatch-mlbundle[models]'") from error

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        shape, _, dtype = readers[version](stream, max_header_size=_HEADER)
    except (KeyError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"array {name!r} has a header that cannot be read") from error
    if dtype.hasobject:
        raise ValueError(f"array {name!r} holds pickled objects, which are never loaded; store numbers")
    if dtype.kind not in "biuf":
        raise ValueError(f"array {name!r} holds {dtype}, no numbers; texts go into a .jsonl file")
    if any(length < 0 for length in shape):
        raise ValueError(f"array {name!r} has a negative axis")
    return shape, math.prod(shape) * dtype.itemsize, stream.tell()


def _too_large(size: int) -> str:
    return f"it takes {format_size(size)}, more than {format_size(LARGEST)}; take fewer samples"
