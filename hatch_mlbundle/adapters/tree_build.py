"""A wheel that a build tool packs from a tree: the tree is made small before, and our wheel takes the place of the tool's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.adapters.ending import remove_what_tells
from hatch_mlbundle.application import Result, optimize
from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.bundles.atomic_folder import remove_folder
from hatch_mlbundle.bundles.wheel_tree import follow, recorded, tree_files
from hatch_mlbundle.bundles.wheel_writer import pack_wheel
from hatch_mlbundle.job import Job
from hatch_mlbundle.model import Finding
from hatch_mlbundle.session import open_compressor
from hatch_mlbundle.storage import storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished wheel in its place, and what was done to it."""

    wheel: Path
    result: Result


class TreeBuild:
    """The build of a wheel for the folder `dist`; `work` holds what comes on the way.

    The tool lays out a tree, lets us make it small, zips it uncompressed into the folder `zipped`, and leaves the rest to us. Nothing in
    `dist` is replaced before the small wheel, which has been verified and is within its budget, is complete.
    """

    def __init__(self, job: Job, work: Path, dist: Path) -> None:
        self._job = job
        self._dist = dist
        self._packed = work / "packed"
        self._built: Built | None = None
        self.zipped = work / "zipped"

    def optimize(self, tree: Path, dist_info: str, name: str) -> None:
        """Make the wheel `name` from the tree, put it in its place, and bring the tree to what it holds; raises MlbundleError."""
        packed = self._packed / name
        self._pack(tree, dist_info, packed)
        self._built = self._optimized(packed)
        with storage_errors(tree):
            follow(tree, packed, self._built.wheel)

    def finish(self) -> list[Built]:
        """Return the finished wheels, once the tool has zipped the tree: ours, or those that it made in another way.

        Some projects download a finished wheel instead, or change the wheel behind the tool's back: then that is what is meant, and it
        is optimized as it is. Raises MlbundleError.
        """
        return [self._finished(wheel) for wheel in sorted(self.zipped.glob("*.whl"))]

    def discard(self) -> None:
        """Remove the wheel that was made from the tree, and what tells of it: the build failed afterwards, or is to give another."""
        if self._built:
            remove_what_tells(self._job, self._built.wheel)
            self._built.wheel.unlink(missing_ok=True)

    def _pack(self, tree: Path, dist_info: str, wheel: Path) -> None:
        make_folder(wheel.parent)
        workers = self._job.config.workers
        with storage_errors(wheel), open_compressor(self._job) as compressor, wheel.open("wb") as stream:
            with ThreadPoolExecutor(workers) as pool:
                files = [file for file in tree_files(tree, pool) if file.path != f"{dist_info}/RECORD"]
            pack_wheel(files, dist_info, stream, compressor=compressor, workers=workers)

    def _optimized(self, wheel: Path, *findings: Finding) -> Built:
        make_folder(self._dist)
        place = self._dist / wheel.name
        return Built(wheel=place, result=optimize(self._job, wheel, place, findings))

    def _finished(self, zipped: Path) -> Built:
        ours = self._built
        if ours is None:
            return self._optimized(zipped, _late("was not packed from a tree by bdist_wheel"))
        same = recorded(zipped) == recorded(ours.wheel)
        if same and zipped.name == ours.wheel.name:
            return ours
        self.discard()
        if not same:
            return self._optimized(zipped, _late("was changed after bdist_wheel had packed it"))
        return self._optimized((self._packed / ours.wheel.name).rename(self._packed / zipped.name))


def _late(why: str) -> Finding:
    return Finding(code="MB003", message=f"the wheel {why}: it was optimized when it was finished, as `mlbundle optimize` does it")


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Give a folder for what comes on the way, gone afterwards; what a killed build left in it goes first. Raises StorageError."""
    with storage_errors(folder):
        remove_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
