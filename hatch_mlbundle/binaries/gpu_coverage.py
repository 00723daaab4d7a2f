"""Which GPUs lose code when some of what a fat binary has is taken out of it: what a bundle says of itself, and tells its user.

Code goes by nvcc's names for it (`sm_90`, `compute_90`, `lto_90`, with an `a` or `f` behind; what follows them does not count). What runs
where is in the CUDA C++ Programming Guide, "Compute Capabilities" and "Feature Set Compiler Targets": a cubin on its own major version
from its minor version on, but not between systems on a chip (Tegra) and other GPUs; PTX, and LTO-IR, on everything from its version on;
what ends in `a` on just its version, what ends in `f` on later minor versions of the same major one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import TypeAlias

from .gpu_targets import TEGRA

Capability: TypeAlias = tuple[int, int]
"""A GPU's compute capability: major and minor."""

_NAME = re.compile(r"(sm|compute|lto)_(\d{2,3})([af]?)(?![0-9A-Za-z])")
_NUMBERS = 1000
"""The GPUs that code can name, by the number in `sm_80`; all those above them count as one more."""
_END: Capability = (1 << 16, 0)
"""Above all GPUs."""
_TEGRA = sum(1 << number for number in TEGRA)
_Gpus: TypeAlias = int
"""A set of GPUs: bit 80 is one of compute capability 8.0, and bit `_NUMBERS` all above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """GPUs of compute capability `first` (as `8.0`) and more, but less than `below`, None for no end."""

    first: str
    below: str | None = None


def lost(before: Iterable[str], after: Iterable[str]) -> tuple[Span, ...]:
    """Return the GPUs that code of one container runs on before something is taken out of it, and none of what is left.

    `before` names all that the container has, `after` what is left of it. Names of anything else count for nothing. Among the others, a
    system on a chip is told of even where it may have had none.
    """
    return _spans(_ranges(reduce(or_, (had & ~has for had, has in zip(_served(before), _served(after), strict=True)))))


def united(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans as few and in order, with the same GPUs in them; raises ValueError for what is no compute capability."""
    return _spans((capability(span.first), _END if span.below is None else capability(span.below)) for span in spans)


def is_in(gpu: Capability, spans: Iterable[Span]) -> bool:
    """Say whether a GPU is in one of these spans; raises ValueError as `united` does."""
    return any(capability(span.first) <= gpu and (span.below is None or gpu < capability(span.below)) for span in spans)


def capability(text: str) -> Capability:
    """Return the compute capability that is written so, as `8.0`; raises ValueError."""
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text[:20]!a} is no compute capability, such as '8.0'")
    return int(match[1]), int(match[2])


def _served(names: Iterable[str]) -> tuple[_Gpus, _Gpus, _Gpus]:
    """Return the GPUs that code is for: what may run, what is sure to, and, for it has to be linked first, LTO-IR."""
    runs = sure = linked = 0
    for name in names:
        if match := _NAME.match(name):
            gpus, others = _gpus(match[1], int(match[2]), match[3])
            if match[1] == "lto":
                linked |= gpus
            else:
                runs |= gpus
                sure |= gpus & ~others
    return runs, sure, linked


@cache
def _gpus(kind: str, number: int, variant: str) -> tuple[_Gpus, _Gpus]:
    """Return the GPUs that such code may run on, and those of them of which that is not sure: of Tegra, or other ones."""
    end = 10 * (number // 10 + 1) if kind == "sm" or variant else _NUMBERS + 1
    if variant == "a":
        end = number + 1
    gpus = (1 << end) - (1 << number)
    own = 1 << number
    if kind != "sm":
        return gpus, 0
    return gpus, (gpus if own & _TEGRA else _TEGRA) & ~own


def _ranges(gpus: _Gpus) -> Iterator[tuple[Capability, Capability]]:
    """Yield the first of GPUs that follow each other, and the one that is no more of them."""
    while gpus:
        first = (gpus & -gpus).bit_length() - 1
        filled = gpus + (1 << first)
        end = (filled & -filled).bit_length() - 1
        yield divmod(first, 10), _END if end > _NUMBERS else divmod(end, 10)
        gpus = filled & ~(1 << end)


def _spans(pieces: Iterable[tuple[Capability, Capability]]) -> tuple[Span, ...]:
    found: list[tuple[Capability, Capability]] = []
    for first, end in sorted(pieces):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((first, end))
    return tuple(Span(first=_text(first), below=None if end == _END else _text(end)) for first, end in found)


def _text(capability: Capability) -> str:
    return "{}.{}".format(*capability)
