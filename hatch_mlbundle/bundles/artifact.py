"""The port between artifacts of every sort and the application: what can be read as a bundle, and written back from one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.manifest import AdviceRow, ComponentRow, ContentsRow, LayerRow, PackedRow
from hatch_mlbundle.model import Bundle, Change, Finding
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.removable import RemovableRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where an artifact's bytes are: `size` is the artifact's own, `compressed` what each file takes of them, by path.

    `structure` bytes belong to no file (headers, directories of an archive), so that all of `compressed` and `structure`
    make up `size`. A folder compresses nothing: `compressed` is None there, and `size` is that of its files.
    """

    size: int
    sha256: str
    structure: int
    compressed: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An artifact before or after: its files, where its bytes are, and of an image what was found in reading it.

    That is its layers, findings, what its files are made of and could lose, its components, and what could be done about it.
    """

    bundle: Bundle
    account: Account
    layers: tuple[LayerRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    contents: tuple[ContentsRow, ...] = ()
    removable: tuple[RemovableRow, ...] = ()
    components: tuple[ComponentRow, ...] = ()
    advice: tuple[AdviceRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An artifact as it was written, and `path`, where it lies until it takes its place; `packed` are the files it was packed into.

    `findings` are what came of writing it.
    """

    side: Side
    path: Path
    packed: tuple[PackedRow, ...] = ()
    findings: tuple[Finding, ...] = ()


class Artifact(Protocol):
    """A wheel, a folder, ... open for reading."""

    @property
    def kind(self) -> ArtifactKind:
        """Return what sort of artifact it is."""

    def scan(self) -> Side:
        """Return the files, each read once and checked; raises ArtifactError."""

    def refuses(self, change: Change) -> str | None:
        """Return why an artifact of this sort cannot have a change, or None."""

    def on_disk(self, bundle: Bundle) -> Bundle | None:
        """Return the files of a bundle made from this one as they lie where the artifact is used; None where it cannot be laid out."""

    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> AbstractContextManager[Written]:
        """Write a bundle made from this one beside `target`; it takes the target's place when the body ends without an error.

        Gives the artifact as it was written. `target` may be this artifact itself. Raises StorageError where the disk refuses.
        """
