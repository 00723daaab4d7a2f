"""Choose how a block of weights is laid out for packing, by its bytes alone, and write it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hatch_mlbundle.runtime.planes import CONSTANT, DEFLATE, LAYOUT, LENGTH, PLANE, RAW, WIDTHS

Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"

_WINDOWS, _WINDOW = 4, 4096
"""A block is judged by this many parts of it, of this many bytes each."""
_CODED_BELOW = 7.85
"""Bits of entropy from which on a plane stays as it is: 16 KiB of noise seem to have as few as 7.9."""
_WIDER = 0.02
"""Bits a byte that a layout of twice the width must save: the estimates differ by as much where there is nothing to choose."""
_TRIAL = 1 << 14
"""Bytes on which a strategy of deflate is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a block is taken apart (runtime/planes.py); `bits` estimates the entropy of each plane, in bits a byte."""

    width: int
    turned: bool = False
    phase: int = 0
    bits: tuple[float, ...]

    @property
    def name(self) -> str:
        """What the manifest calls it: the bytes of a number, and whether the exponent was made a byte of its own."""
        return f"{self.width} turned" if self.turned else str(self.width)


def choose_layout(block: Bytes) -> Layout:
    """Return the layout that takes the fewest bytes, judged by a part of the block."""
    sample = _sample(block)
    if len(sample) < 8:
        return Layout(width=1, bits=(8.0,))
    by_lane = _histograms(sample)
    plain = [Layout(width=width, bits=_entropies(by_lane.reshape(8 // width, width, 256).sum(axis=0))) for width in WIDTHS]
    best = min(plain, key=_cost)
    return best if best.width == 1 else min(best, _turned(best, sample), key=_cost)


def encode(block: Bytes, layout: Layout) -> bytes:
    """Return the block as it stands in a packed file, its length before it."""
    count = (len(block) - layout.phase) // layout.width
    end = layout.phase + count * layout.width
    numbers = block[layout.phase : end].reshape(count, layout.width)
    loose = [block[: layout.phase].tobytes(), block[end:].tobytes()]
    planes = [_encode_plane(plane, bits, layout) for plane, bits in zip(_planes(numbers, layout), layout.bits, strict=True)]
    head = LAYOUT.pack(layout.width, layout.turned, layout.phase) + b"".join(PLANE.pack(coding, len(data)) for coding, data in planes)
    body = b"".join([head, *loose, *(data for _, data in planes)])
    return LENGTH.pack(len(body)) + body


def _sample(block: Bytes) -> Bytes:
    """Return parts of the block, each beginning at a multiple of 8 bytes."""
    if len(block) <= _WINDOWS * _WINDOW:
        return block[: len(block) // 8 * 8]
    step = (len(block) - _WINDOW) // (_WINDOWS - 1) // 8 * 8
    return np.concatenate([block[start : start + _WINDOW] for start in range(0, step * _WINDOWS, step)])


def _histograms(sample: Bytes) -> Any:
    """Return how often each byte stands at each place in 8 bytes: an array of 8 by 256."""
    keys = sample.reshape(-1, 8) + (np.arange(8, dtype=np.uint16) << 8)
    return np.bincount(keys.ravel(), minlength=2048).reshape(8, 256)


def _cost(layout: Layout) -> float:
    """Return about how many bits a byte takes."""
    return round(sum(map(_worth, layout.bits)) / layout.width + _WIDER * WIDTHS.index(layout.width), 3)


def _turned(plain: Layout, sample: Bytes) -> Layout:
    """Return the layout of the same width with the exponent a byte of its own, wherever the numbers begin."""
    # the exponent's byte has the least entropy but for bytes that are all the same
    top = min(range(plain.width), key=lambda place: (round(plain.bits[place], 6) == 0, plain.bits[place], -place))
    phase = (top + 1) % plain.width
    return Layout(width=plain.width, turned=True, phase=phase, bits=_bits_when_turned(sample, plain.bits, phase))


def _bits_when_turned(sample: Bytes, bits: tuple[float, ...], phase: int) -> tuple[float, ...]:
    width = len(bits)
    low, high = _turned_planes(sample[phase : len(sample) - (width - phase) % width].reshape(-1, width))
    rest = tuple(bits[(phase + place) % width] for place in range(width - 2))
    return (*rest, *_entropies(np.stack([np.bincount(plane, minlength=256) for plane in (low, high)])))


def _entropies(histograms: Any) -> tuple[float, ...]:
    """Return the Shannon entropy of each row of counts, in bits; few counts seem to have less than they have (Miller and Madow, 1955)."""
    totals = histograms.sum(axis=1)
    shares = histograms / totals[:, None]
    logarithms = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    unseen = ((histograms > 0).sum(axis=1) - 1) / (2 * math.log(2) * totals)
    return tuple(np.minimum(unseen - (shares * logarithms).sum(axis=1), 8.0).tolist())


def _worth(bits: float) -> float:
    return bits if bits < _CODED_BELOW else 8.0


def _planes(numbers: Bytes, layout: Layout) -> Iterator[Bytes]:
    plain = layout.width - 2 if layout.turned else layout.width
    for place in range(plain):
        yield np.ascontiguousarray(numbers[:, place])
    if layout.turned:
        yield from _turned_planes(numbers)


def _turned_planes(numbers: Bytes) -> tuple[Bytes, Bytes]:
    """Return the upper two planes with each number's upper 16 bits turned left by one."""
    upper = numbers.view("<u2")[:, -1].copy()
    sign = upper >> 15
    upper <<= 1
    upper |= sign
    planes = upper.view(np.uint8)
    return planes[0::2].copy(), planes[1::2].copy()


def _encode_plane(plane: Bytes, bits: float, layout: Layout) -> tuple[int, bytes | memoryview]:
    raw = RAW, plane.data
    if not len(plane) or bits >= _CODED_BELOW:
        return raw
    if round(bits, 6) == 0 and bool((plane == plane[0]).all()):
        return CONSTANT, plane[:1].tobytes()
    coded = _deflate(plane.data, _strategy(plane) if layout.width == 1 else zlib.Z_HUFFMAN_ONLY)
    return (DEFLATE, coded) if len(coded) < len(plane) else raw


def _strategy(plane: Bytes) -> int:
    """Single bytes may be anything, also what has strings that repeat; the planes of numbers have none, and finding so is slow."""
    trial = plane[:_TRIAL].data
    return min((zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY), key=lambda strategy: len(_deflate(trial, strategy)))


def _deflate(data: memoryview, strategy: int) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
    return stream.compress(data) + stream.flush()
