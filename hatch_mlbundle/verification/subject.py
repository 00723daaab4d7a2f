"""An artifact laid out on disk so that commands can be run on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Artifact
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.verify_settings import VerifySettings

from .environments import Environment, install
from .stand import Stand, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An artifact that can become one snapshot after another, always at the same place.

    `on_disk` gives the files of a bundle as they lie there; `places` are what a command's placeholders stand for; `environment` is set
    where there is a virtual environment.
    """

    stand: Stand
    on_disk: Callable[[Bundle], Bundle | None]
    places: Mapping[str, Path]
    environment: Environment | None = None
    _shown: list[Bundle] = field(default_factory=list)

    def become(self, bundle: Bundle) -> None:
        """Lay the files of a snapshot; raises StorageError, UnsoundResultError."""
        if self._shown != [bundle]:
            self.stand.become(self.on_disk(bundle) or bundle)
            self._shown[:] = [bundle]


def folder_subject(artifact: Artifact, name: str, folder: Path, pool: Executor) -> Subject:
    """Return a folder or frozen bundle called `name`, to be laid out in `folder`, an empty one."""
    root, store = folder / name, folder / ".store"
    for each in (root, store):
        each.mkdir()
    return Subject(stand=Stand(root, Store(folder=store), pool), on_disk=artifact.on_disk, places={"bundle": root})


def wheel_subject(artifact: Artifact, wheel: Path, before: Bundle, settings: VerifySettings, folder: Path, pool: Executor) -> Subject:
    """Return a wheel installed into a fresh virtual environment in `folder`; raises VerificationError."""
    store = folder / ".store"
    store.mkdir()
    environment = install(wheel, settings.requirements, folder)
    root = environment.site_packages
    foreign = _others(root, artifact.on_disk(before) or before)
    stand = Stand(root, Store(folder=store), pool, foreign)
    return Subject(stand=stand, on_disk=artifact.on_disk, places={"bundle": root, "python": environment.python}, environment=environment)


def _others(root: Path, ours: Collection[str]) -> frozenset[str]:
    """Return the files below a folder that are not ours."""
    found = {(Path(place) / name).relative_to(root).as_posix() for place, _, names in os.walk(root) for name in names}
    return frozenset(found.difference(ours))
