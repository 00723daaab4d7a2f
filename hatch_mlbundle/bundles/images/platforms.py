"""Which of the images for several platforms is meant."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from .documents import Document
from .layer import Digest
from .layouts import Layout

_ARCHITECTURES = {"aarch64": "arm64", "arm64": "arm64", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x"}
"""Go's names (image-spec, image-index.md) for what `platform.machine` tells; any other is amd64."""
_UNKNOWN = "unknown"
"""The platform of what belongs to an image but is none: attestations of BuildKit."""
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on, such as linux and amd64."""

    os: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    @classmethod
    def of(cls, document: Document) -> Platform | None:
        """Return what a document says, None where it says nothing; raises ArtifactError."""
        found = cls(os=document.get("os", str, ""), architecture=document.get("architecture", str, ""))
        return found if found.os or found.architecture else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An image among others: its manifest's digest, its platform as far as the index tells, and the name that it has there."""

    digest: Digest
    platform: Platform | None
    name: str


def images(choices: Iterable[Choice]) -> list[Choice]:
    """Return the images among these, without attestations, which are none."""
    return [each for each in choices if not (each.platform and each.platform.os == _UNKNOWN)]


def choose(layout: Layout, choices: Sequence[Choice], look: Callable[[Choice], Platform | None]) -> Choice:
    """Return the only image, or the only one for Linux on this machine; raises ArtifactError where there is none, or more than one.

    `look` finds the platform of an image that the index has none for.
    """
    found = images(choices)
    if len(found) == 1:
        return found[0]
    if not found:
        raise layout.fault("holds no image: its index names none")
    wanted = Platform(os="linux", architecture=_ARCHITECTURES.get(platform.machine(), "amd64"))
    found = [each if each.platform else replace(each, platform=look(each)) for each in found]
    fitting = [each for each in found if each.platform == wanted]
    if len(fitting) == 1:
        return fitting[0]
    told = ", ".join(f"{each.platform} {each.name}".strip() for each in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    problem = f"holds {len(fitting)} images for {wanted}" if fitting else f"holds no image for {wanted}"
    raise layout.fault(f"{problem}, but {told!a}{more}; copy the one that is meant into a layout of its own (docs/images.md)")
