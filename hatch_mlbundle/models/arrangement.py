"""Where everything goes in a file of tensors, each stored by its encoding: a safetensors file, or a packed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.models.dtypes import BITS
from hatch_mlbundle.models.encodings import AsItWas, Cast, Encoding, Int8
from hatch_mlbundle.models.packed import PackedTensor, plan_packed
from hatch_mlbundle.models.safetensors import Header, Tensor, layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """A file to be written: its first bytes, the offset of the first byte of each tensor's parts, and its size in bytes."""

    head: bytes
    places: Mapping[str, Mapping[str, int]]
    size: int


def arrange_plain(header: Header, encodings: Mapping[str, Encoding]) -> Arrangement:
    """Return where the tensors go in a safetensors file; they are cast or as they were.

    They are ordered by the size of their elements, the largest first, so that each is aligned. The header is as long as with BF16
    for every F16, so that a tensor's choice between the two moves nothing.
    """
    rows = sorted(((each.name, _stored(each, encodings), each.shape) for each in header.tensors), key=lambda row: -BITS[row[1]])
    longest = [(name, "BF16" if dtype == "F16" else dtype, shape) for name, dtype, shape in rows]
    least = layout(longest, header.metadata)[1].data_start
    head, made = layout(rows, header.metadata, least)
    return Arrangement(head=head, places={each.name: {"data": each.start} for each in made.tensors}, size=made.size)


def arrange_packed(header: Header, encodings: Mapping[str, Encoding], twins: Mapping[str, str]) -> Arrangement:
    """Return where the tensors go in a packed file, which holds those with the same bytes, `twins`, once.

    Raises KeptError where it cannot hold one of them.
    """
    rows = [_packed_tensor(each, encodings[each.name], twins.get(each.name)) for each in header.tensors]
    try:
        planned = plan_packed(rows, header.metadata)
    except ValueError as error:
        raise KeptError(f"it cannot be packed: {error}") from error
    places = {name: {part: start for part, (start, _) in parts.items()} for name, parts in planned.parts.items()}
    return Arrangement(head=planned.header, places=places, size=planned.size)


def _stored(tensor: Tensor, encodings: Mapping[str, Encoding]) -> str:
    encoding = encodings[tensor.name]
    return encoding.stored if isinstance(encoding, Cast) else tensor.dtype


def _packed_tensor(tensor: Tensor, encoding: Encoding, twin: str | None) -> PackedTensor:
    name, dtype, shape = tensor.name, tensor.dtype, tensor.shape
    match encoding:
        case Int8(group=0):
            return PackedTensor(name, dtype, shape, "int8-row", "I8", same_as=twin)
        case Int8(group=group, scale_dtype=scale):
            return PackedTensor(name, dtype, shape, "int8-group", "I8", group, scale, same_as=twin)
        case Cast(stored=stored):
            return PackedTensor(name, dtype, shape, "cast", stored, same_as=twin)
        case AsItWas():
            return PackedTensor(name, dtype, shape, "raw", dtype, same_as=twin)
    raise TypeError(f"{encoding!r} is not known here")
