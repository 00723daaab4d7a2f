"""A wheel as an artifact: read through the cache, written beside its target and put in its place."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hatch_mlbundle.atomic import replace_atomically
from hatch_mlbundle.bundles.artifact import Account, Side, Written
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.wheel import REQUIRED, WheelSource
from hatch_mlbundle.bundles.wheel_scan import export_facts, import_facts
from hatch_mlbundle.bundles.wheel_writer import write_wheel
from hatch_mlbundle.cache import Cache
from hatch_mlbundle.canonical import digest, sha256_of_file
from hatch_mlbundle.importpaths import installed
from hatch_mlbundle.model import Bundle, Change, Keep, Link
from hatch_mlbundle.optimizer import ArtifactKind

RECORD_NAME = "mlbundle.json"
"""The name in dist-info of the record of what was done to a wheel (provenance/record.py)."""


def wheel_refusal(change: Change, sacred: Collection[str]) -> str | None:
    """Return why a wheel cannot have a change, or None: wheels carry no links, and `sacred` are the files that make it one."""
    if isinstance(change, Link):
        return "wheels carry no links"
    return "installers need the file as it is" if change.path in sacred and not isinstance(change, Keep) else None


class WheelArtifact:
    """An open wheel. `workers` threads read and write it; `cache` knows the files of wheels that were read before.

    `folder` takes the native files and models that are unpacked while the wheel is read.
    """

    kind: ArtifactKind = "wheel"

    def __init__(self, source: WheelSource, workers: int, cache: Cache | None, folder: Path) -> None:
        self._source = source
        self._workers = workers
        self._cache = cache
        self._folder = folder
        self._sacred = {f"{source.dist_info}/{name}" for name in REQUIRED} | set(source.signatures)
        self._scanned = Bundle()

    def scan(self) -> Side:
        """Return the members, each read once and compared with RECORD; raises ArtifactError."""
        source = self._source
        sha256 = source.sha256()
        key = digest(["scan", 1, sha256])
        entry = self._cache.get(key) if self._cache else None
        known = None
        with suppress(ValueError):
            known = import_facts(entry.value) if entry else None
        self._scanned = source.scan(self._workers, known, self._folder)
        if self._cache and known is None:
            self._cache.put(key, export_facts(self._scanned))
        account = Account(size=source.size, sha256=sha256, structure=source.structure_size, compressed=source.compressed_sizes)
        return Side(bundle=self._scanned, account=account)

    def refuses(self, change: Change) -> str | None:
        """Refuse links, any change of the files that make the archive a wheel, and of the record of what was done to it."""
        if change.path == f"{self._source.dist_info}/{RECORD_NAME}" and not isinstance(change, Keep):
            return "it is the record of what was done to the wheel"
        return wheel_refusal(change, self._sacred)

    def on_disk(self, bundle: Bundle) -> Bundle:
        """Return what comes to lie in site-packages, under its paths there."""
        importable = (replace(file, path=installed(path)) for path, file in bundle.items())
        return Bundle(file for file in importable if not file.path.partition("/")[0].endswith(".data"))

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> Iterator[Written]:
        """Write the wheel; one that did not change is copied as it is."""
        with replace_atomically(target) as stream:
            if bundle == self._scanned:
                with self._source.path.open("rb") as original:
                    shutil.copyfileobj(original, stream)
                stream.flush()
                yield Written(side=self.scan(), path=Path(stream.name))
                return
            written = write_wheel(self._source, bundle, stream, compressor=compressor, workers=self._workers)
            stream.flush()
            account = Account(
                size=written.size,
                sha256=sha256_of_file(Path(stream.name)),
                structure=written.structure_size,
                compressed=written.compressed_sizes,
            )
            yield Written(side=Side(bundle=written.bundle, account=account), path=Path(stream.name))
