"""The container of packed weights, version 1: what it holds, read strictly before anything of it is believed.

Bytes 0-7 `MLBUNDLE`; 8-11 the version, 12-15 zero, 16-23 the header's length N, all little-endian; N bytes of JSON, padded with blanks so
that 24 + N is a multiple of 64; then the parts, each at a multiple of 64, in order and with nothing but the padding between them. The
JSON is `{"metadata": {str: str}, "tensors": {name: {...}}}`; a tensor has `dtype` and `shape`, what it is loaded as, and says how it is
stored: `encoding`, `stored` (the dtype of its data) and `parts`, the ranges of bytes after the header by name. Dtypes are safetensors'.

    raw         data: the tensor's bytes
    cast        data: its elements in another floating-point type
    int8-row    data: I8; scale: one for each row (index of the first dimension); an element is data * scale
    int8-group  data: I8; scale: one for each `group` consecutive elements of a row, whose last group may be shorter
    sparse      bitmap: a bit for each element, from the lowest of a byte, 1 where it is not zero; data: the elements that are not

Scales are of `scale_dtype`, F32 unless it says F16. Several tensors may have exactly the same parts: they are tied.
"""

from __future__ import annotations

import json
import struct

from .signpost import MAGIC, PACKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn

VERSION = 1
SUFFIX = PACKED
"""What the name of a packed file has after that of the file it stands for."""
ALIGNMENT = 64
"""Bytes: parts begin at multiples of it, counted from the start of the file."""
PREFIX = struct.Struct("<8sIIQ")
"""What is before the JSON: magic, version, zero, the JSON's length."""
SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
"""Bytes of an element, by safetensors' name of its type."""
FLOATS = ("F64", "F32", "F16", "BF16")
PARTS = {"raw": ("data",), "cast": ("data",), "int8-row": ("data", "scale"), "int8-group": ("data", "scale"), "sparse": ("data", "bitmap")}
"""The parts of a tensor, by its encoding."""

_LONGEST_HEADER = 100_000_000
"""Bytes, as in safetensors."""
_MOST_ELEMENTS = 1 << 48
_MOST_DIMENSIONS = 32
_LARGEST_GROUP = 1 << 20
_KEYS = {"dtype", "shape", "encoding", "parts", "stored"}
_MORE_KEYS = {"group", "scale_dtype"}


class Entry:
    """One tensor as the header has it; raises ValueError where it cannot be so. `parts` are ranges of bytes in the file."""

    __slots__ = ("dtype", "encoding", "group", "parts", "scale_dtype", "shape", "stored")

    def __init__(self, dtype: str, shape: Sequence[int], encoding: str, stored: str, group: int = 0, scale_dtype: str = "F32") -> None:
        self.dtype = dtype
        self.shape = tuple(shape)
        self.encoding = encoding
        self.stored = stored
        self.group = group
        self.scale_dtype = scale_dtype
        self.parts: Mapping[str, tuple[int, int]] = {}
        _check_shape(self.shape)
        _check_encoding(self)

    @property
    def rows(self) -> int:
        """The length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        """The elements of a row."""
        return product(self.shape[1:])

    @property
    def count(self) -> int:
        """The elements of the whole tensor."""
        return product(self.shape)

    @property
    def groups(self) -> int:
        """The scales of a row."""
        return -(-self.columns // self.group) if self.encoding == "int8-group" else 1

    def sizes(self, nnz: int) -> dict[str, int]:
        """Return the bytes of each part; `nnz` is the number of elements that a sparse tensor stores."""
        if self.encoding == "sparse":
            return {"data": nnz * SIZES[self.stored], "bitmap": (self.count + 7) // 8}
        sizes = {"data": self.count * SIZES[self.stored]}
        if "scale" in PARTS[self.encoding]:
            sizes["scale"] = self.rows * self.groups * SIZES[self.scale_dtype]
        return sizes


def product(numbers: Iterable[int]) -> int:
    """Return the product of some numbers."""
    result = 1
    for each in numbers:
        result *= each
    return result


def aligned(offset: int) -> int:
    """Return the first place from `offset` on where a part may begin."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def read_header(size: int, read: Callable[[int, int], bytes]) -> tuple[dict[str, str], dict[str, Entry]]:
    """Return the metadata and the tensors of a file of `size` bytes, of which `read(offset, length)` returns some.

    Raises ValueError where anything about it is not as it has to be.
    """
    length = _header_length(size, read)
    try:
        header = json.loads(read(PREFIX.size, length).decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is no JSON ({_brief(error)})") from None
    if not isinstance(header, dict) or set(header) != {"metadata", "tensors"} or not isinstance(header["tensors"], dict):
        raise ValueError("its header has not just metadata and tensors")
    start = PREFIX.size + length
    entries = {name: _entry(name, value, start, size) for name, value in header["tensors"].items()}
    _check_parts((part for each in entries.values() for part in each.parts.values()), start, size)
    return _metadata(header["metadata"]), entries


def _header_length(size: int, read: Callable[[int, int], bytes]) -> int:
    if size < PREFIX.size:
        raise ValueError(f"it has {size} bytes, too few for a header")
    magic, version, zero, length = PREFIX.unpack(read(0, PREFIX.size))
    if magic != MAGIC:
        raise ValueError("it does not begin as a packed file does")
    if version != VERSION or zero:
        raise ValueError(f"its format has version {version}, and this loader knows version {VERSION}; update hatch-mlbundle")
    if length > min(size - PREFIX.size, _LONGEST_HEADER) or (PREFIX.size + length) % ALIGNMENT:
        raise ValueError(f"its header cannot have {length:,} bytes")
    return int(length)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError("its metadata is no table of texts")
    return value


def _entry(name: str, value: Any, start: int, size: int) -> Entry:
    """Return a tensor of the header, its parts checked each for itself."""
    try:
        if not isinstance(value, dict) or not _KEYS <= set(value) <= _KEYS | _MORE_KEYS:
            raise ValueError(f"it has not just {', '.join(sorted(_KEYS))}")
        texts = [value["dtype"], value["encoding"], value["stored"], value.get("scale_dtype", "F32")]
        if not all(isinstance(each, str) for each in texts) or not isinstance(value["shape"], list):
            raise ValueError("a value of it has the wrong type")
        dtype, encoding, stored, scale_dtype = texts
        entry = Entry(dtype, value["shape"], encoding, stored, value.get("group", 0), scale_dtype)
        entry.parts = _parts(entry, value["parts"], start, size)
    except ValueError as error:
        raise ValueError(f"its tensor {name[:100]!a} cannot be so: {error}") from None
    return entry


def _is_number(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _check_shape(shape: tuple[Any, ...]) -> None:
    if len(shape) > _MOST_DIMENSIONS or not all(_is_number(each, _MOST_ELEMENTS) for each in shape):
        raise ValueError("its shape is none")
    if product(max(each, 1) for each in shape) > _MOST_ELEMENTS:
        raise ValueError("its shape is larger than any tensor's")


def _check_encoding(entry: Entry) -> None:
    if entry.encoding not in PARTS:
        raise ValueError(f"its encoding {entry.encoding[:50]!a} is unknown")
    if entry.dtype not in SIZES or entry.stored not in SIZES:
        raise ValueError(f"its type {entry.dtype[:50]!a}, stored as {entry.stored[:50]!a}, is unknown")
    is_float = entry.dtype in FLOATS
    fits = {
        "raw": entry.stored == entry.dtype,
        "cast": is_float and entry.stored in FLOATS and entry.stored != entry.dtype,
        "int8-row": is_float and entry.stored == "I8" and entry.shape != (),
        "int8-group": is_float and entry.stored == "I8" and entry.shape != (),
        "sparse": entry.stored == entry.dtype or (is_float and entry.stored in FLOATS),
    }
    if not fits[entry.encoding]:
        raise ValueError(f"{entry.dtype} of {len(entry.shape)} dimensions cannot be stored as {entry.stored}, {entry.encoding}")
    if entry.encoding == "int8-group" and not (_is_number(entry.group, _LARGEST_GROUP) and entry.group):
        raise ValueError("its groups have no size")
    if entry.scale_dtype not in ("F32", "F16"):
        raise ValueError(f"its scales are {entry.scale_dtype[:50]!a}")


def _parts(entry: Entry, value: Any, start: int, size: int) -> dict[str, tuple[int, int]]:
    """Return where the parts are in the file, each of the size that it must have."""
    names = PARTS[entry.encoding]
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError(f"its parts are not {', '.join(names)}")
    for name, each in value.items():
        if not isinstance(each, list) or len(each) != 2 or not all(_is_number(place, size - start) for place in each):
            raise ValueError(f"its part {name} is not in the file")
    nnz, rest = divmod(value["data"][1] - value["data"][0], SIZES[entry.stored])
    if entry.encoding == "sparse" and (rest or not 0 <= nnz <= entry.count):
        raise ValueError("it stores more elements than it has, fewer than none, or a fraction of one")
    for name, length in entry.sizes(nnz).items():
        if value[name][1] - value[name][0] != length:
            raise ValueError(f"its part {name} has not {length:,} bytes")
    return {name: (start + value[name][0], start + value[name][1]) for name in names}


def _check_parts(parts: Iterable[tuple[int, int]], start: int, size: int) -> None:
    """Raise ValueError unless the parts lie one after the other, aligned, and fill the file."""
    end = start
    for first, last in sorted(set(parts)):
        if first != aligned(end):
            raise ValueError(f"its parts overlap, or leave a hole, at byte {first:,}")
        end = last
    if end != size:
        raise ValueError(f"it has {size:,} bytes, and its header accounts for {end:,}: it was cut or added to")
