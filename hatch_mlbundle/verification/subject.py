"""An artifact laid out on disk so that commands can be run on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Artifact
from hatch_mlbundle.bundles.images.writable import WritableImage
from hatch_mlbundle.model import Bundle, File
from hatch_mlbundle.models.left_models import laid_out, models_folder, models_told_of
from hatch_mlbundle.pipeline import Done
from hatch_mlbundle.storage import storage_errors
from hatch_mlbundle.verify_settings import VerifySettings

from .environments import Environment, install
from .image_root import PLACES, ImageRoot, mount_points
from .stand import Stand, Store

_DATA = re.compile(r"[^/]+\.data/data/(.+)")


@dataclass(slots=True, kw_only=True)
class Subject:
    """An artifact that can become one snapshot after another, always at the same place.

    `on_disk` gives the files of a bundle as they lie there; `places` are what a command's placeholders stand for; `environment` is set
    where there is a virtual environment, `root` where commands run in the artifact as their root. `models` has those models that a
    snapshot's descriptors tell of, as far as it was told of them by `learn`; `neighbour` is the folder of those that had left the
    untouched artifact before.
    """

    stand: Stand
    models: Stand
    on_disk: Callable[[Bundle], Bundle | None]
    places: Mapping[str, Path]
    environment: Environment | None = None
    root: ImageRoot | None = None
    neighbour: Path | None = None
    _known: dict[str, File] = field(default_factory=dict, init=False)
    _packed: dict[str, Bundle] = field(default_factory=dict, init=False)
    _shown: Bundle | None = field(default=None, init=False)
    _needs_models: bool = field(default=False, init=False)

    def become(self, bundle: Bundle) -> None:
        """Lay the files of a snapshot, and the models that left it; raises StorageError, UnsoundResultError."""
        if self._shown != bundle:
            self.stand.become(self.on_disk(bundle) or bundle)
            told = models_told_of(next((self._packed[file.sha256] for file in bundle.values() if file.sha256 in self._packed), bundle))
            self.models.become(laid_out(told, self._known))
            self._needs_models = bool(told)
            self._shown = bundle

    def learn(self, stages: Iterable[Done]) -> None:
        """Keep in mind the models that left in these steps, as they were before as well: a snapshot may be made that lacks them."""
        for done in stages:
            for applied in done.changes:
                known = (applied.before, applied.after, *(applied.leave.files if applied.leave else ()))
                self._known |= {file.sha256: file for file in known if file and file.link is None}

    def learn_packed(self, sha256: str, bundle: Bundle) -> None:
        """Keep in mind which bundle was packed into an executable, whose own files do not show."""
        self._packed[sha256] = bundle

    def model_folders(self) -> list[Path]:
        """Return where the models are that the snapshot lacks, none where it lacks none."""
        if not self._needs_models:
            return []
        return [self.models.root, *([self.neighbour] if self.neighbour else [])]

    def mend(self) -> list[str]:
        """Undo what a command did to the files; return the paths of those of the artifact, and of the models' by their own, sorted."""
        return sorted({*self.stand.mend(), *self.models.mend()})


def folder_subject(artifact: Artifact, name: str, folder: Path, pool: Executor) -> Subject:
    """Return a folder or frozen bundle called `name`, to be laid out in `folder`, an empty one."""
    root, models, store = folder / name, models_folder(folder / name), Store(folder=folder / ".store")
    with storage_errors(folder):
        for each in (root, models, store.folder):
            each.mkdir()
    stand, beside = Stand(root, store, pool), Stand(models, store, pool)
    return Subject(stand=stand, models=beside, on_disk=artifact.on_disk, places={"bundle": root})


def image_subject(artifact: WritableImage, before: Bundle, folder: Path, pool: Executor) -> Subject:
    """Return a container image, to be unpacked in `folder`, an empty one, where its commands run as in a container; raises TrialError."""
    root, models, store = folder / "root", folder / "models", Store(folder=folder / ".store")
    folders = {*artifact.folders, *mount_points(artifact.running, before)}
    with storage_errors(folder):
        for each in (root, models, store.folder, *(root / each for each in sorted(folders))):
            each.mkdir(parents=True, exist_ok=True)
    return Subject(
        stand=Stand(root, store, pool, folders),
        models=Stand(models, store, pool),
        on_disk=artifact.on_disk,
        places=PLACES,
        root=ImageRoot.of(root, artifact.running, artifact.text("etc/passwd"), artifact.text("etc/group")),
    )


def wheel_subject(artifact: Artifact, wheel: Path, before: Bundle, settings: VerifySettings, folder: Path, pool: Executor) -> Subject:
    """Return a wheel installed into a fresh virtual environment in `folder`; raises VerificationError."""
    store, models = Store(folder=folder / ".store"), folder / "models"
    with storage_errors(folder):
        store.folder.mkdir()
        models.mkdir()
    environment = install(wheel, settings.requirements, folder)
    site_packages = environment.site_packages.relative_to(environment.folder).as_posix()

    def on_disk(bundle: Bundle) -> Bundle:
        imported = artifact.on_disk(bundle) or bundle
        return Bundle([*(replace(file, path=f"{site_packages}/{file.path}") for file in imported.values()), *_data(bundle)])

    foreign = _others(environment.folder, on_disk(before))
    stand, beside = Stand(environment.folder, store, pool, foreign), Stand(models, store, pool)
    places = {"bundle": environment.site_packages, "python": environment.python}
    return Subject(stand=stand, models=beside, on_disk=on_disk, places=places, environment=environment)


def _data(bundle: Bundle) -> Iterator[File]:
    """Yield the files that a wheel puts into the environment's own folder (PyPA, binary distribution format, "The .data directory").

    Its scripts and headers are not followed: installers change the former, and nobody runs the latter.
    """
    for path, file in bundle.items():
        match = _DATA.fullmatch(path)
        if match:
            yield replace(file, path=match[1])


def _others(root: Path, ours: Collection[str]) -> frozenset[str]:
    """Return what is below a folder and not ours: files, links, and folders with nothing in them."""
    found: set[str] = set()
    for place, folders, names in os.walk(root):
        inside = Path(place).relative_to(root)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found.update((inside / name).as_posix() for name in (*names, *links))
        if not folders and not names:
            found.add(inside.as_posix())
    return frozenset(found.difference(ours))
