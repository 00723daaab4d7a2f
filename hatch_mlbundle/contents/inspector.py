"""What an inspector is: it tells what files of some kind are made of. Any distribution may register some (hookspecs.py)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from hatch_mlbundle.manifest import View
from hatch_mlbundle.model import Kind

HEADERS, PADDING, OTHER = "(headers)", "(padding)", "(other)"
"""Names of what is no section, architecture or dtype: tables, what lies between, and everything else."""


class Extent(NamedTuple):
    """Bytes `start` to `end` of a file, and the name of the part that they belong to."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What a file is made of in one view: extents in any order, each byte of which is counted once, with the first that has it.

    `rest` names the bytes that no extent has; in the view `gpu` they are not told. With `location` it is about another file than the
    one inspected: the path, from that one's folder, of a file with data of its tensors. Several may tell of the same one.
    """

    view: View
    extents: Sequence[Extent]
    rest: str = OTHER
    location: str | None = None


class Inspector(ABC):
    """Reads the headers of the files that are of one of `kinds`, or have one of `suffixes`: lower case, from the last dot on.

    Made without arguments. `version` is to be raised whenever `inspect` may tell something else: it is part of the cache's keys.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]] = frozenset()
    suffixes: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def inspect(self, path: Path) -> Iterable[Inside]:
        """Return what the file at `path`, under some name with its own suffix, is made of; nothing where it is of another format.

        Raises MlbundleError where anything about it cannot be believed: then nothing is told of it. What it reads is to be bounded,
        and nothing of the file may be executed. Called from several threads at once. What it tells depends on the file's bytes alone.
        """
