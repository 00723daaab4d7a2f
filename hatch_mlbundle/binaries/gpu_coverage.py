"""Which GPUs lose code when some of what a fat binary has is taken out of it: what a bundle says of itself, and tells its user.

Code goes by nvcc's names for it (`sm_90`, `compute_90`, `lto_90`, with an `a` or `f` behind; what follows them does not count). What runs
where is in the CUDA C++ Programming Guide, "Compute Capabilities" and "Feature Set Compiler Targets": a cubin on its own major version
from its minor version on, but not between systems on a chip (Tegra) and other GPUs; PTX, and LTO-IR, on everything from its version on;
what ends in `a` on just its version, what ends in `f` on later minor versions of the same major one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from .gpu_targets import TEGRA, Target

Capability: TypeAlias = tuple[int, int]
"""A GPU's compute capability: major and minor."""

_NAME = re.compile(r"(sm|compute|lto)_(\d{2,3})([af]?)(?![0-9A-Za-z])")
_END: Capability = (1 << 16, 0)
"""Above all GPUs."""
_KINDS = (("sm", "compute"), ("lto",))
"""Kinds of which the one serves as well as the other: LTO-IR has to be linked first."""
_TEGRA_EDGES = {(number // 10, number % 10 + more) for number in TEGRA for more in (0, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """GPUs of compute capability `first` (as `8.0`) and more, but less than `below`, None for no end."""

    first: str
    below: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """Code of a kind (`sm`, `compute` or `lto`) that runs on GPUs from `first` on and before `end`."""

    kind: str
    first: Capability
    end: Capability

    def runs_on(self, gpu: Capability, *, strictly: bool) -> bool:
        if strictly and self.kind == "sm" and gpu != self.first and (Target(*gpu).is_tegra or Target(*self.first).is_tegra):
            return False
        return self.first <= gpu < self.end


def lost(before: Iterable[str], after: Collection[str]) -> tuple[Span, ...]:
    """Return the GPUs that code of one container runs on before something is taken out of it, and none of what is left.

    `before` names all that the container has, `after` what is left of it. Names of anything else count for nothing. Among the others, a
    system on a chip is told of even where it may have had none.
    """
    had, has = list(_codes(before)), list(_codes(after))
    edges = sorted({*_TEGRA_EDGES, *(edge for code in (*had, *has) for edge in (code.first, code.end))})
    return _spans((first, end) for first, end in pairwise(edges) if _loses(first, had, has))


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
        yield _Code(kind=match[1], first=(major, minor), end=end)


def _loses(gpu: Capability, had: Sequence[_Code], has: Sequence[_Code]) -> bool:
    def serves(codes: Sequence[_Code], kinds: Collection[str], *, strictly: bool) -> bool:
        return any(code.kind in kinds and code.runs_on(gpu, strictly=strictly) for code in codes)

    cases = ((kinds, strictly) for kinds in _KINDS for strictly in (False, True))
    return any(serves(had, kinds, strictly=strictly) and not serves(has, kinds, strictly=strictly) for kinds, strictly in cases)


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
