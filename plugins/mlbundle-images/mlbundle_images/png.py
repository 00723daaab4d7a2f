"""Recompress one PNG by oxipng and prove it: every chunk but the pixels' is the same, and the pixels are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TypeAlias

from hatch_mlbundle.errors import KeptError, ModelError

from .pixels import same_pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"

Chunk: TypeAlias = tuple[bytes, bytes]

_NAMES = b"""
IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI tEXt zTXt iTXt bKGD hIST pHYs sPLT eXIf tIME acTL fcTL fdAT oFFs vpAg
"""
_KNOWN = frozenset(_NAMES.split())
"""The chunks of the PNG specification (third edition, section 11), and two of pages' places, which tell nothing of where compressed
bytes lie. Others may: Apple's `iDOT` does; `CgBI` is another format; `npTc` is a nine-patch; C2PA's `caBX` signs the whole file."""

_MOST_FRAMES = 1000
_LARGEST_PROFILE = 10_000_000
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def recompressed(data: bytes, level: int, max_pixels: int) -> bytes:
    """Return the same picture in a smaller PNG: colour type, bit depth, interlacing and all other chunks stay.

    Raises KeptError where it is to stay as it is, ModelError where it is damaged, UnsoundResultError.
    """
    import oxipng

    before = list(chunks(data))
    _refuse(before, max_pixels)
    try:
        made: bytes = oxipng.optimize_from_memory(
            data,
            level=level,
            interlace=None,
            strip=oxipng.StripChunks.none(),
            bit_depth_reduction=False,
            color_type_reduction=False,
            palette_reduction=False,
            grayscale_reduction=False,
            optimize_alpha=False,
        )
    except oxipng.PngError as error:
        raise ModelError(f"oxipng cannot read it: {error}") from error
    if len(made) >= len(data):
        raise KeptError("oxipng makes it no smaller")
    if _told(before) != _told(list(chunks(made))):
        raise KeptError("oxipng would change what it says beside its pixels")
    same_pixels(data, made, "PNG")
    return made


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield type and content of each chunk; raises ModelError for damage, KeptError for bytes behind the last one."""
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + 8 + length
        if end + 4 > len(data):
            raise ModelError("it ends in the middle of a chunk")
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ModelError(f"the checksum of its chunk {kind.decode('ascii', 'replace')!r} is wrong")
        yield kind, data[position + 8 : end]
        position = end + 4
    if position != len(data):
        raise KeptError("other data follows the picture")


def _refuse(found: list[Chunk], max_pixels: int) -> None:
    """Raise KeptError for what oxipng or the proof may not see all of."""
    kind, head = found[0]
    if kind != b"IHDR" or len(head) != 13:
        name = kind.decode("ascii", "replace")
        raise KeptError(f"it begins with the chunk {name!r}: that is another format")
    unknown = sorted({kind for kind, _ in found} - _KNOWN)
    if unknown:
        raise KeptError(f"its chunk {unknown[0].decode('ascii', 'replace')!r} may depend on how the pixels are stored")
    frames = sum(kind == b"fcTL" for kind, _ in found)
    if int.from_bytes(head[:4], "big") * int.from_bytes(head[4:8], "big") * max(frames, 1) > max_pixels:
        raise KeptError("it has more pixels than `max-pixels`")
    if head[8] == 16 and _CHANNELS.get(head[9], 0) > 1:
        raise KeptError("its channels have 16 bits each, of which Pillow would compare eight")
    if frames > _MOST_FRAMES:
        raise KeptError(f"it has more than {_MOST_FRAMES} frames")


def _told(found: list[Chunk]) -> list[Chunk]:
    """Return the chunks without pixels, sorted: oxipng puts `bKGD` behind others.

    An `fcTL` counts those with pixels, of which there may be fewer; a profile is compressed anew, and called otherwise.
    """
    told = []
    for kind, content in found:
        if kind == b"fcTL":
            told.append((kind, content[4:]))
        elif kind == b"iCCP":
            told.append((kind, _profile(content)))
        elif kind not in (b"IDAT", b"fdAT"):
            told.append((kind, content))
    return sorted(told)


def _profile(content: bytes) -> bytes:
    """Return a colour profile (PNG specification, section 11.3.2.3)."""
    try:
        return zlib.decompressobj().decompress(content.partition(b"\0")[2][1:], _LARGEST_PROFILE)
    except zlib.error as error:
        raise ModelError(f"its colour profile is damaged: {error}") from error
