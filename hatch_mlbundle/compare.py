"""Two manifests side by side: what grew, what shrank, what moved, which releases changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .manifest import FileState, Manifest

Status: TypeAlias = Literal["added", "removed", "changed", "moved"]
"""`moved` is a file that is there under another path: with the same bytes, or as the same file of another release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes installed, bytes in the artifact (None where it compresses nothing), and the number of files."""

    installed: int
    compressed: int | None
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: the artifact's file name, its kind, its own bytes, and those that belong to no file.

    `sizes.compressed` are the artifact's own bytes, None where it compresses nothing; `structure` is a part of them.
    """

    name: str
    kind: str
    sizes: Sizes
    structure: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is not as it was. `former` is the path of a moved one before; `before` is None where added, `after` where removed."""

    path: str
    status: Status
    kind: str
    owner: str
    before: FileState | None
    after: FileState | None
    former: str | None = None

    @property
    def growth(self) -> int:
        """Bytes installed that came to it, negative where it shrank."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """All files of an owner or a kind, before and after."""

    name: str
    before: Sizes
    after: Sizes

    @property
    def growth(self) -> int:
        """Bytes installed that came to it, negative where it shrank."""
        return self.after.installed - self.before.installed


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChange:
    """A distribution whose release is another one; None where it is not there."""

    distribution: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences, the largest first. Groups that are as they were are in `owners` and `kinds`, too: they add up to the sides.

    `compressed` tells whether both sides have compressed sizes, `hashed` whether contents could be compared at all.
    """

    before: Side
    after: Side
    files: tuple[FileChange, ...]
    owners: tuple[GroupChange, ...]
    kinds: tuple[GroupChange, ...]
    versions: tuple[VersionChange, ...]
    hashed: bool

    @property
    def compressed(self) -> bool:
        """Whether both sides have compressed sizes."""
        return self.before.sizes.compressed is not None and self.after.sizes.compressed is not None

    def to_json(self) -> str:
        """Return the comparison as a document of its own."""
        raise NotImplementedError


def compare(before: Manifest, after: Manifest) -> Comparison:
    """Compare two artifacts as they are after all steps."""
    raise NotImplementedError
