"""GPUs that code is kept for, and which entries of a fat binary these can use.

Source: CUDA C++ Programming Guide, "Compute Capabilities" and "Application Compatibility": a cubin runs on GPUs of its own major and the
same or a later minor compute capability, but not between Tegra and other ones; PTX is compiled by the driver for any later capability.
What is architecture-specific (`sm_90a`) runs on exactly its own; what is family-specific (`sm_100f`) in its family, later minors included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .fatbin import CUBIN, Container, Entry

Ptx: TypeAlias = Literal["when-needed", "newest", "all", "none"]
"""Which PTX is kept: where a target has no cubin in the same container; that and each container's newest, for GPUs to come; all; none."""

_CAPABILITY = re.compile(r"([1-9][0-9]?)\.([0-9])")
TEGRA = frozenset({32, 53, 62, 72, 87, 101, 110})
"""Compute capabilities of systems on a chip (Jetson, Drive), as in `Target.architecture`."""
_FIRST_MAJOR = 3


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A GPU by its compute capability, `8.0` for one."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that is written `"8.0"`; raises ValueError, in one line, for anything else."""
        match = _CAPABILITY.fullmatch(text)
        if match is None or int(match[1]) < _FIRST_MAJOR:
            raise ValueError(f"{text[:40]!r} is no compute capability of a GPU; write it like '8.0' (which also takes code for sm_80a)")
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


def kept_entries(container: Container, targets: Sequence[Target], ptx: Ptx) -> frozenset[int]:
    """Return the numbers of those entries of the container that any of the targets could use, and of all whose kind is not known."""
    kept = {number for number, entry in enumerate(container.entries) if entry.name is None}
    known = [(number, entry) for number, entry in enumerate(container.entries) if entry.name is not None]
    for target in targets:
        kept.update(number for number, entry in known if entry.is_lto and is_usable(entry, target))
        kept.update(_cubins(known, target))
        if ptx != "none" and needs_ptx(container, target):
            kept.update(number for number, entry in known if is_ptx(entry) and is_usable(entry, target))
    if ptx == "all":
        kept.update(number for number, entry in known if is_ptx(entry))
    if ptx == "newest":
        kept.update(_newest_ptx(known))
    return frozenset(kept)


def is_ptx(entry: Entry) -> bool:
    """Say whether it is PTX."""
    return entry.name is not None and not entry.is_lto and entry.kind != CUBIN


def is_cubin(entry: Entry) -> bool:
    """Say whether it is code that a GPU runs as it is."""
    return entry.name is not None and not entry.is_lto and entry.kind == CUBIN


def is_usable(entry: Entry, target: Target) -> bool:
    """Say whether an entry of a known kind can be used on the target."""
    if entry.is_specific:
        return entry.architecture == target.architecture
    if entry.is_family or is_cubin(entry):
        return entry.architecture // 10 == target.major and entry.architecture <= target.architecture
    return entry.architecture <= target.architecture


def needs_ptx(container: Container, target: Target) -> bool:
    """Say whether the target may have to compile PTX of this container, if there is any."""
    cubins = [entry for entry in container.entries if is_cubin(entry) and is_usable(entry, target)]
    if target.is_tegra:
        return all(entry.architecture != target.architecture for entry in cubins)
    return not cubins


def _cubins(known: Sequence[tuple[int, Entry]], target: Target) -> Iterator[int]:
    """Yield the numbers of the cubins for exactly the target, else of all that run there."""
    usable = [(number, entry) for number, entry in known if is_cubin(entry) and is_usable(entry, target)]
    exact = [number for number, entry in usable if entry.architecture == target.architecture]
    yield from exact or (number for number, _ in usable)


def _newest_ptx(known: Sequence[tuple[int, Entry]]) -> Iterator[int]:
    """Yield the numbers of the newest PTX that later GPUs take, too."""
    lasting = [(number, entry) for number, entry in known if is_ptx(entry) and not entry.is_specific and not entry.is_family]
    newest = max((entry.architecture for _, entry in lasting), default=0)
    yield from (number for number, entry in lasting if entry.architecture == newest)
