"""GPUs that code is kept for, and which entries of a fat binary these can use.

Source of what runs where: CUDA C++ Programming Guide, "Application Compatibility" and "Feature Availability": a cubin runs on GPUs of its
own major and the same or a later minor compute capability, but not between Tegra and other ones; PTX is compiled for any later one; what is
architecture-specific (`sm_90a`) is for exactly its own, what is family-specific (`sm_100f`) for later minors, too.

Which entry is taken where several could be, NVIDIA does not say: nvJitLink takes the cubin of the latest capability, or PTX where that is
of a later one (tests/binaries/test_nvidia_tools.py). Where a driver might do otherwise, both are kept. A container without code for 8.6
keeps that for 8.0: libraries have some kernels for the first minor alone (cuBLAS, "Interaction with Other Libraries and Tools").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .fatbin import CUBIN, PTX, Container, Entry

Ptx: TypeAlias = Literal["when-needed", "newest", "all", "none"]
"""Which PTX is kept of a container: what is newer than a target's best cubin; that and the newest, for GPUs to come; all; none."""

_CAPABILITY = re.compile(r"([1-9][0-9]?)\.([0-9])")
_OLDEST_MAJOR = 3
TEGRA = frozenset({32, 53, 62, 72, 87, 88, 101, 110})
"""Architectures of systems on a chip (Jetson, Drive)."""
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

    @property
    def is_tegra(self) -> bool:
        """Whether it is a system on a chip (Jetson, Drive): only cubins of exactly its capability are sure to run there."""
        return self.architecture in TEGRA

    def is_exactly(self, entry: Entry) -> bool:
        """Say whether code is for just this capability."""
        return entry.architecture in (self.architecture, _RENAMED.get(self.architecture))


def kept_entries(container: Container, targets: Sequence[Target], ptx: Ptx) -> frozenset[int]:
    """Return the numbers of those entries of the container that any of the targets could use, and of all that are not understood."""
    numbered = [(number, entry) for number, entry in enumerate(container.entries) if entry.is_understood]
    kept = {number for number, entry in enumerate(container.entries) if not entry.is_understood}
    for target in targets:
        usable = [(number, entry) for number, entry in numbered if is_usable(entry, target)]
        kept.update(number for number, entry in usable if entry.is_lto)
        kept.update(_best_cubins(usable, target))
        if ptx != "none":
            kept.update(_later_ptx(container, target))
    if ptx == "all":
        kept.update(number for number, entry in numbered if is_ptx(entry))
    if ptx == "newest":
        kept.update(_newest_ptx(numbered))
    return frozenset(kept)


def is_ptx(entry: Entry) -> bool:
    """Say whether it is PTX that is understood."""
    return entry.is_understood and entry.kind == PTX and not entry.is_lto


def is_cubin(entry: Entry) -> bool:
    """Say whether it is code that is understood and runs as it is."""
    return entry.is_understood and entry.kind == CUBIN and not entry.is_lto


def is_usable(entry: Entry, target: Target) -> bool:
    """Say whether the target may use an entry that is understood."""
    if target.is_exactly(entry):
        return True
    if entry.is_specific or entry.architecture > target.architecture:
        return False
    return entry.architecture // 10 == target.major or not (entry.is_family or is_cubin(entry))


def needs_ptx(container: Container, target: Target) -> frozenset[int]:
    """Return the numbers of the PTX without which the target has no code in this container that is sure to run."""
    if any(_sure_cubins(container, target)):
        return frozenset()
    return frozenset(number for number, entry in enumerate(container.entries) if is_ptx(entry) and is_usable(entry, target))


def _sure_cubins(container: Container, target: Target) -> Iterator[Entry]:
    """Yield the cubins that are sure to run on the target."""
    for entry in container.entries:
        is_sure = target.is_exactly(entry) or not (_is_tegra(entry) or target.is_tegra)
        if is_sure and is_cubin(entry) and is_usable(entry, target):
            yield entry


def _later_ptx(container: Container, target: Target) -> Iterator[int]:
    """Yield the numbers of the PTX that is newer than any cubin that is sure to run, and not for just one architecture.

    Who links for `sm_90`, no particular GPU, does not take what is for `sm_90a`.
    """
    newest = max((entry.architecture for entry in _sure_cubins(container, target) if not entry.is_specific), default=0)
    for number, entry in enumerate(container.entries):
        if is_ptx(entry) and is_usable(entry, target) and entry.architecture > newest:
            yield number


def _best_cubins(usable: Sequence[tuple[int, Entry]], target: Target) -> Iterator[int]:
    """Yield the numbers of the cubins for exactly the target, or else of the newest ones: of Tegra, of others, architecture-specific."""
    cubins = [(number, entry) for number, entry in usable if is_cubin(entry)]
    is_served = any(target.is_exactly(entry) and not entry.is_specific for _, entry in cubins)
    lasting = [entry for _, entry in cubins if not entry.is_specific and not is_served]
    newest = {max((entry.architecture for entry in lasting if _is_tegra(entry) == tegra), default=0) for tegra in (False, True)}
    yield from (number for number, entry in cubins if target.is_exactly(entry) or entry.architecture in newest)


def _is_tegra(entry: Entry) -> bool:
    return entry.architecture in TEGRA


def _newest_ptx(numbered: Sequence[tuple[int, Entry]]) -> Iterator[int]:
    """Yield the numbers of the newest PTX that later GPUs take, too."""
    lasting = [(number, entry) for number, entry in numbered if is_ptx(entry) and not entry.is_specific and not entry.is_family]
    newest = max((entry.architecture for _, entry in lasting), default=0)
    yield from (number for number, entry in lasting if entry.architecture == newest)
