"""Which GPUs lose code when some of what a fat binary has is taken out of it: what a bundle says of itself, and tells its user.

Code goes by nvcc's names for it (`sm_90`, `compute_90`, `lto_90`, with an `a` or `f` behind; what follows them does not count). What runs
where is in the CUDA C++ Programming Guide, "Compute Capabilities" and "Feature Set Compiler Targets": a cubin on its own major version
from its minor version on; PTX, and LTO-IR, on everything from its version on; what ends in `a` on just its version, what ends in `f` on
later minor versions of the same major one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

Capability: TypeAlias = tuple[int, int]
"""A GPU's compute capability: major and minor."""

_NAME = re.compile(r"(sm|compute|lto)_(\d{2,3})([af]?)(?![0-9A-Za-z])")
_END: Capability = (1 << 16, 0)
"""Above all GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """GPUs of compute capability `first` (as `8.0`) and more, but less than `below`, None for no end."""

    first: str
    below: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """Code that runs on GPUs from `first` on and before `end`; where it is `loose`, it has to be linked first."""

    first: Capability
    end: Capability
    loose: bool


def lost(before: Iterable[str], after: Collection[str]) -> tuple[Span, ...]:
    """Return the GPUs that code of one container runs on before something is taken out of it, and none of what is left.

    `before` names all that the container has, `after` what is left of it. Names of anything else count for nothing.
    """
    had, has = list(_codes(before)), list(_codes(after))
    edges = sorted({edge for code in (*had, *has) for edge in (code.first, code.end)})
    return _spans((first, end) for first, end in pairwise(edges) if any(_loses(first, had, has, loose=loose) for loose in (False, True)))


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


def _codes(names: Iterable[str]) -> Iterator[_Code]:
    for name in names:
        match = _NAME.match(name)
        if match is None:
            continue
        major, minor = divmod(int(match[2]), 10)
        end = (major + 1, 0) if match[1] == "sm" or match[3] else _END
        if match[3] == "a":
            end = major, minor + 1
        yield _Code(first=(major, minor), end=end, loose=match[1] == "lto")


def _loses(gpu: Capability, had: Iterable[_Code], has: Iterable[_Code], *, loose: bool) -> bool:
    def serves(codes: Iterable[_Code]) -> bool:
        return any(code.loose == loose and code.first <= gpu < code.end for code in codes)

    return serves(had) and not serves(has)


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
