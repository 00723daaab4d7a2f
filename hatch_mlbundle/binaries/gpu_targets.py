"""GPUs that code is kept for, and which entries of a fat binary these can use.

Sources: CUDA C++ Programming Guide, "Application Compatibility" and "Feature Availability": a cubin runs on GPUs of its own major and the same
or a later minor compute capability, but not between Tegra and other ones; PTX is compiled for any later one; what is architecture-specific
(`sm_90a`) is for exactly its own, what is family-specific (`sm_100f`) for later minors, too. Which entry is taken where several could
be is what NVIDIA's nvJitLink does (tests/binaries/test_fatbin_choice.py): the cubin of the latest capability, or PTX of a later one than any
cubin has. Where a driver might do otherwise, both are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .fatbin import CUBIN, Container, Entry

Ptx: TypeAlias = Literal["when-needed", "newest", "all", "none"]
"""Which PTX is kept: where a target has no cubin as new in the same container; that and each container's newest, for GPUs to come; all; none."""

_CAPABILITY = re.compile(r"([1-9][0-9]?)\.([0-9])")
_OLDEST_MAJOR = 3
_TEGRA = frozenset({32, 53, 62, 72, 87, 88, 101, 110})
_RENAMED = {101: 110, 110: 101}
"""Jetson Thor is 10.1 up to CUDA 12.9, and 11.0 from 13.0 on."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A GPU by its compute capability, `8.0` for one."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that is written `"8.0"`; raises ValueError, in one line, for anything else."""
        match = _CAPABILITY.fullmatch(text)
        if match is None or int(match[1]) < _OLDEST_MAJOR:
            raise ValueError(f"{text[:40]!r} is no compute capability of a GPU; write it like '8.0' or '12.1'")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """Return it as `parse` takes it."""
        return f"{self.major}.{self.minor}"

    @property
    def architecture(self) -> int:
        """The number in `sm_80`."""
        return 10 * self.major + self.minor

    def is_exactly(self, entry: Entry) -> bool:
        """Say whether code is for just this capability."""
        return entry.architecture in (self.architecture, _RENAMED.get(self.architecture))

    def can_use(self, entry: Entry) -> bool:
        """Say whether an entry that is understood can be used."""
        if self.is_exactly(entry):
            return True
        is_older = entry.architecture < self.architecture and not entry.is_specific
        return is_older and (entry.architecture // 10 == self.major or not (entry.is_family or _is_cubin(entry)))

    def is_sure_of(self, cubin: Entry) -> bool:
        """Say whether a cubin that can be used is sure to run: not where one of the two is for a Tegra system, and they differ."""
        return self.is_exactly(cubin) or _TEGRA.isdisjoint((self.architecture, cubin.architecture))


def kept_entries(container: Container, targets: Sequence[Target], ptx: Ptx) -> frozenset[int]:
    """Return the numbers of those entries of the container that any of the targets could use, and of all that are not understood."""
    numbered = [(number, entry) for number, entry in enumerate(container.entries) if entry.is_understood]
    kept = {number for number, entry in enumerate(container.entries) if not entry.is_understood}
    for target in targets:
        usable = [(number, entry) for number, entry in numbered if target.can_use(entry)]
        kept.update(number for number, entry in usable if entry.is_lto)
        kept.update(_best_cubins(usable, target))
        if ptx != "none":
            kept.update(number for number, entry in usable if _is_ptx(entry) and entry.architecture > newest_cubin(container, target))
    if ptx == "all":
        kept.update(number for number, entry in numbered if _is_ptx(entry))
    if ptx == "newest":
        kept.update(_newest_ptx(numbered))
    return frozenset(kept)


def newest_cubin(container: Container, target: Target) -> int:
    """Return the architecture of the newest cubin that is sure to run on the target, 0 where there is none."""
    cubins = [entry for entry in container.entries if entry.is_understood and _is_cubin(entry) and target.can_use(entry)]
    return max((entry.architecture for entry in cubins if target.is_sure_of(entry)), default=0)


def needs_ptx(container: Container, target: Target) -> frozenset[int]:
    """Return the numbers of the PTX without which the target has no code in this container that is sure to run."""
    if newest_cubin(container, target):
        return frozenset()
    numbered = enumerate(container.entries)
    return frozenset(number for number, entry in numbered if entry.is_understood and _is_ptx(entry) and target.can_use(entry))


def _is_ptx(entry: Entry) -> bool:
    return entry.kind != CUBIN and not entry.is_lto


def _is_cubin(entry: Entry) -> bool:
    return entry.kind == CUBIN and not entry.is_lto


def _best_cubins(usable: Sequence[tuple[int, Entry]], target: Target) -> Iterator[int]:
    """Yield the numbers of the cubins for exactly the target, or else of the newest ones: of Tegra, of others, architecture-specific."""
    cubins = [(number, entry) for number, entry in usable if _is_cubin(entry)]
    is_served = any(target.is_exactly(entry) and not entry.is_specific for _, entry in cubins)
    newest: dict[bool, int] = {}
    for _, entry in cubins:
        if not entry.is_specific:
            newest[entry.architecture in _TEGRA] = max(entry.architecture, newest.get(entry.architecture in _TEGRA, 0))
    for number, entry in cubins:
        if target.is_exactly(entry) or (not is_served and entry.architecture in newest.values()):
            yield number


def _newest_ptx(numbered: Sequence[tuple[int, Entry]]) -> Iterator[int]:
    """Yield the numbers of the newest PTX that later GPUs take, too."""
    lasting = [(number, entry) for number, entry in numbered if _is_ptx(entry) and not entry.is_specific and not entry.is_family]
    newest = max((entry.architecture for _, entry in lasting), default=0)
    yield from (number for number, entry in lasting if entry.architecture == newest)
