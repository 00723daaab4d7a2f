"""Decode the tensors of a packed file (container.py) with numpy, a bounded piece at a time, straight into an array that is there."""

from __future__ import annotations

from .container import SIZES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .container import Entry

    ReadInto = Callable[[int, Any], None]
    """Fills an array with the bytes from an offset of the file on."""

try:
    import numpy as np
except ImportError as error:
    raise ImportError(
        "packed weights need numpy, which this application lacks; install it, or include it in the frozen application"
    ) from error

PIECE = 1 << 18
"""Elements decoded at a time."""
_BITMAP_PIECE = 1 << 20
"""Bits of a bitmap counted at a time."""
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "C64": "<c8",
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    **{f"{sign}{8 * size}": f"<{sign.lower()}{size}" for sign in "IU" for size in (2, 4, 8)},
}
_LOWEST_OF_BFLOAT16 = 16
"""Bits of a float32 that bfloat16 has not."""


def numpy_type(dtype: str) -> Any:
    """Return numpy's type for a tensor's; types that numpy lacks come as their bits: BF16 as uint16, those of 8 bits as uint8."""
    return np.dtype(_NUMPY.get(dtype, "|u1"))


def empty(dtype: str, count: int) -> Any:
    """Return a flat array for so many elements of a tensor's type, of any content."""
    return np.empty(count, numpy_type(dtype))


def decode(entry: Entry, first: int, last: int, read_into: ReadInto, out: Any) -> None:
    """Fill `out`, a flat array of `numpy_type(entry.dtype)`, with the rows from `first` up to `last`.

    Raises ValueError where a sparse tensor's bitmap cannot be right, OSError.
    """
    if entry.encoding == "raw":
        _fill(out, entry.parts["data"][0] + first * entry.columns * SIZES[entry.dtype], read_into)
    elif entry.encoding == "sparse":
        _decode_sparse(entry, first * entry.columns, last * entry.columns, read_into, out)
    elif entry.encoding == "cast":
        _decode_cast(entry, first * entry.columns, read_into, out)
    else:
        _decode_int8(entry, first, last, read_into, out)


def _fill(array: Any, offset: int, read_into: ReadInto) -> Any:
    """Read an array's bytes from an offset of the file on, and return it."""
    if array.size:
        read_into(offset, array.reshape(-1).view(np.uint8))
    return array


def _pieces(start: int, stop: int, step: int = PIECE) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def _decode_cast(entry: Entry, start: int, read_into: ReadInto, out: Any) -> None:
    for first, last in _pieces(0, out.size):
        _store(_stored(entry, start + first, last - first, read_into), entry.dtype, out[first:last])


def _stored(entry: Entry, at: int, count: int, read_into: ReadInto) -> Any:
    """Return `count` of the stored elements from number `at` on; bfloat16 comes as float32 where the tensor itself is of another type."""
    found = _fill(empty(entry.stored, count), entry.parts["data"][0] + at * SIZES[entry.stored], read_into)
    return _widened(found) if entry.stored == "BF16" != entry.dtype else found


def _widened(bits: Any) -> Any:
    """Return bfloat16, given as its bits, as float32."""
    wide = bits.astype(np.uint32)
    wide <<= _LOWEST_OF_BFLOAT16
    return wide.view(np.float32)


def _store(values: Any, dtype: str, out: Any) -> None:
    """Put floating-point values into `out`, rounded to nearest, ties to even."""
    if dtype == "BF16":
        out[...] = _narrowed(values.astype(np.float32, copy=False))
        return
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = values


def _narrowed(values: Any) -> Any:
    """Return float32 as the bits of bfloat16; what is no number stays none."""
    bits = values.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> _LOWEST_OF_BFLOAT16 & 1))) >> _LOWEST_OF_BFLOAT16
    return np.where(np.isnan(values), bits >> _LOWEST_OF_BFLOAT16 | 0x40, rounded).astype(np.uint16)


def _decode_int8(entry: Entry, first: int, last: int, read_into: ReadInto, out: Any) -> None:
    """Multiply the integers with the scales of their rows, or groups: many rows at a time, or a part of one where it is long."""
    columns = entry.columns
    if not columns:
        return
    group = entry.group if entry.encoding == "int8-group" else columns
    width = columns if columns <= PIECE else max(1, PIECE // group) * group
    rows = out.reshape(last - first, columns)
    for top, bottom in _pieces(first, last, max(1, PIECE // columns)):
        scales = _scales(entry, top, bottom, read_into)
        for left, right in _pieces(0, columns, width):
            integers = np.empty((bottom - top, right - left), np.int8)
            _fill(integers, entry.parts["data"][0] + top * columns + left, read_into)
            target = rows[top - first : bottom - first, left:right]
            _scale(integers, scales[:, left // group : -(-right // group)], group, entry.dtype, target)


def _scales(entry: Entry, top: int, bottom: int, read_into: ReadInto) -> Any:
    found = empty(entry.scale_dtype, (bottom - top) * entry.groups)
    _fill(found, entry.parts["scale"][0] + top * entry.groups * found.itemsize, read_into)
    return found.reshape(bottom - top, entry.groups).astype(np.float32, copy=False)


def _scale(integers: Any, scales: Any, group: int, dtype: str, out: Any) -> None:
    """Multiply integers and scales as float32, and put them into `out`; the last group of a row may be shorter."""
    if scales.shape[1] > 1:
        scales = np.repeat(scales, group, axis=1)[:, : integers.shape[1]]
    values = out if dtype == "F32" else np.empty(integers.shape, np.float32)
    values[...] = integers
    with np.errstate(over="ignore", invalid="ignore"):
        values *= scales
    if values is not out:
        _store(values, dtype, out)


def _decode_sparse(entry: Entry, start: int, stop: int, read_into: ReadInto, out: Any) -> None:
    """Put the stored elements where the bitmap has ones; those before `start` are counted to know where to begin."""
    size = SIZES[entry.stored]
    stored = (entry.parts["data"][1] - entry.parts["data"][0]) // size
    seen = _ones_before(entry, start, read_into)
    for first, last in _pieces(start, stop):
        bits = _bits(entry, first, last, read_into)
        count = int(np.count_nonzero(bits))
        if seen + count > stored:
            break
        target = out[first - start : last - start]
        target[...] = 0
        values = np.empty(count, target.dtype)
        _store_as(_stored(entry, seen, count, read_into), entry, values)
        target[bits] = values
        seen += count
    else:
        if stop < entry.count or (seen == stored and not _bits_behind(entry, read_into)):
            return
    raise ValueError("the bitmap of a sparse tensor does not fit what is stored")


def _store_as(values: Any, entry: Entry, out: Any) -> None:
    if entry.stored == entry.dtype:
        out[...] = values
    else:
        _store(values, entry.dtype, out)


def _bits(entry: Entry, first: int, last: int, read_into: ReadInto) -> Any:
    """Return the bits from number `first` up to `last` of a bitmap, as booleans."""
    packed = _fill(empty("U8", (last + 7) // 8 - first // 8), entry.parts["bitmap"][0] + first // 8, read_into)
    return np.unpackbits(packed, bitorder="little").view(bool)[first % 8 : first % 8 + last - first]


def _ones_before(entry: Entry, stop: int, read_into: ReadInto) -> int:
    return sum(int(np.count_nonzero(_bits(entry, first, last, read_into))) for first, last in _pieces(0, stop, _BITMAP_PIECE))


def _bits_behind(entry: Entry, read_into: ReadInto) -> bool:
    """Say whether bits are set behind the last element's."""
    behind = -entry.count % 8
    if not behind:
        return False
    last = _fill(empty("U8", 1), entry.parts["bitmap"][1] - 1, read_into)
    return bool(last[0] >> (8 - behind))
