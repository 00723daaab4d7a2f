"""Recompress one JPEG by mozjpeg and prove it: coefficients are coded anew, metadata and pixels are the same."""

from __future__ import annotations

from hatch_mlbundle.errors import KeptError, ModelError

from .pixels import same_pixels

SIGNATURE = b"\xff\xd8\xff"

_FRAMES = {0xC0: "", 0xC1: "", 0xC2: ""}
"""Start-of-frame markers of sequential and progressive Huffman coding (ITU-T T.81, table B.1)."""

_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_TOLD = frozenset({*range(0xE0, 0xF0), 0xFE})
"""APP0 to APP15, and comments."""


def recompressed(data: bytes, max_pixels: int) -> bytes:
    """Return the same picture in a smaller, progressive JPEG, its EXIF data, colour profile and comments as they were.

    Raises KeptError where it is to stay as it is, ModelError where it is damaged, UnsoundResultError.
    """
    import mozjpeg_lossless_optimization as mozjpeg

    before = _metadata(data, max_pixels)
    try:
        made: bytes = mozjpeg.optimize(data, copy=mozjpeg.COPY_MARKERS.ALL)
    except ValueError as error:
        raise ModelError(f"mozjpeg cannot read it: {error}") from error
    if len(made) >= len(data):
        raise KeptError("mozjpeg makes it no smaller")
    if _metadata(made, max_pixels) != before:
        raise KeptError("mozjpeg would change its metadata")
    same_pixels(data, made, "JPEG")
    return made


def _metadata(data: bytes, max_pixels: int) -> list[tuple[int, bytes]]:
    """Return the markers with metadata, each with its content, in order; raises KeptError, ModelError."""
    found: list[tuple[int, bytes]] = []
    position = 2
    while True:
        marker, position = _next_marker(data, position)
        if marker == 0xD9:
            break
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        content = data[position + 2 : position + length]
        if length < 2 or len(content) != length - 2:
            raise ModelError("it ends in the middle of a segment")
        position += length
        if marker in _TOLD:
            found.append((marker, content))
        _refuse(marker, content, max_pixels)
        if marker == 0xDA:
            position = _end_of_scan(data, position)
    if position != len(data):
        raise KeptError("other data follows the picture")
    return found


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    if data[position : position + 1] != b"\xff":
        raise ModelError("it ends too early" if position >= len(data) else "something stands between its segments")
    while data[position : position + 1] == b"\xff":
        position += 1
    if position >= len(data):
        raise ModelError("it ends too early")
    return data[position], position + 1


def _end_of_scan(data: bytes, position: int) -> int:
    """Return where the next marker stands that is no restart and no stuffed byte (ITU-T T.81, section B.1.1.5)."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise ModelError("it ends in the middle of its pixels")
        if data[position + 1] not in (0x00, 0xFF, *range(0xD0, 0xD8)):
            return position
        position += 1 if data[position + 1] == 0xFF else 2


def _refuse(marker: int, content: bytes, max_pixels: int) -> None:
    if marker in _OTHER_FRAMES:
        raise KeptError("it is coded in a way that hardly any program reads: arithmetic, lossless or hierarchical")
    if marker in _FRAMES:
        if content[:1] != b"\x08":
            raise KeptError("its samples have more than 8 bits")
        if int.from_bytes(content[1:3], "big") * int.from_bytes(content[3:5], "big") > max_pixels:
            raise KeptError("it has more pixels than `max-pixels`")
    if marker == 0xE2 and content.startswith(b"MPF\0"):
        raise KeptError("it says where in the file other pictures lie")
    if marker == 0xEB and content.startswith(b"JP"):
        raise KeptError("it may be signed (C2PA), which covers every byte")
