"""Inspect the files of a bundle: which inspectors want which, where their bytes are on disk, and the manifest's rows of it all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hatch_mlbundle.errors import ConfigurationError, MlbundleError
from hatch_mlbundle.examine import examine
from hatch_mlbundle.manifest import ContentsRow, View
from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.pipeline import Services

from .inspector import Extent, Inside, Inspector
from .parts import by_size, coalesced, parts_of

_BUILT_IN = "hatch-mlbundle"
_APART = (Kind.FROZEN, Kind.BYTECODE)
"""An executable's row counts what is left of it beside its modules; modules are marshalled code."""
_FORMAT = 1
"""Raised when facts that older releases left in the cache can no longer be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspecting:
    """An inspector, and the distribution that it comes from."""

    inspector: Inspector
    distribution: str
    distribution_version: str

    @property
    def identity(self) -> Json:
        """What decides what it tells, beside the files' bytes."""
        return [self.inspector.name, self.inspector.version, self.distribution, self.distribution_version]


def contents_of(bundle: Bundle, inspecting: Sequence[Inspecting], services: Services) -> tuple[ContentsRow, ...]:
    """Return what the bundle's files are made of, sorted by path and view: on all cores, from the cache where that knows it.

    Files that lie in an archive are unpacked into the workspace, as for the steps. Of inspectors that tell the same of a file the
    first one's word is taken. What cannot be believed is left out. Raises StorageError, and ConfigurationError where a plugin's
    inspector fails in any way that it may not.
    """
    wanting = _wanting(bundle, inspecting)

    def inspect(file: File) -> Json:
        path = file.content.local_path() or services.workspace.local(file)
        return _facts(file, path, wanting[file.path])

    identity = ["contents", _FORMAT, [each.identity for each in inspecting]]
    files = [bundle[path] for path in wanting]
    local = all(file.content.local_path() for file in files)
    facts = examine(identity, files, inspect, None if local else services.pool, services.cache)
    rows = [*_own_rows(facts), *_located_rows(bundle, facts)]
    told = {(row.path, row.view): row for row in reversed(rows)}
    return tuple(told[key] for key in sorted(told))


def _wanting(bundle: Bundle, inspecting: Sequence[Inspecting]) -> dict[str, list[Inspecting]]:
    """Return who is to inspect which file, by path."""
    of_kind = {kind: [each for each in inspecting if kind in each.inspector.kinds] for kind in Kind}
    suffixes = {suffix for each in inspecting for suffix in each.inspector.suffixes}
    wanting: dict[str, list[Inspecting]] = {}
    for path, file in bundle.items():
        suffix = f".{path.rpartition('.')[2].lower()}"
        if (of_kind[file.kind] or suffix in suffixes) and file.link is None and file.size and file.kind not in _APART:
            wanting[path] = [each for each in inspecting if each in of_kind[file.kind] or suffix in each.inspector.suffixes]
    return wanting


def _facts(file: File, path: Path, inspecting: Sequence[Inspecting]) -> Json:
    """Return what is told of a file, as JSON: its parts by view, and the extents that it names in other files."""
    own: dict[View, dict[str, int]] = {}
    located: list[Json] = []
    for each in inspecting:
        for inside in _told(each, file.path, path):
            if inside.location is not None:
                located.append([inside.location, [list(extent) for extent in coalesced(inside.extents)]])
            elif inside.view not in own and (parts := parts_of(inside, file.size)) is not None:
                own[inside.view] = parts
    return {"own": own, "located": located}


def _told(inspecting: Inspecting, name: str, path: Path) -> list[Inside]:
    try:
        return list(inspecting.inspector.inspect(path))
    except (MlbundleError, OSError):
        return []
    except Exception as error:
        if inspecting.distribution == _BUILT_IN:
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        problem = f"inspector {inspecting.inspector.name!r} fails on {name!a} ({told}); tell its authors, or uninstall it"
        raise ConfigurationError([f"plugin {inspecting.distribution}: {problem}"]) from error


def _own_rows(facts: Mapping[str, Json]) -> Iterator[ContentsRow]:
    for path, each in facts.items():
        for view, parts in each["own"].items():
            yield ContentsRow(path=path, view=view, parts=dict(by_size(parts)))  # the cache keeps no order


def _located_rows(bundle: Bundle, facts: Mapping[str, Json]) -> Iterator[ContentsRow]:
    """Yield what models tell of the files with the data of their tensors: what one of them names or another does."""
    named: defaultdict[str, list[Extent]] = defaultdict(list)
    for path, each in sorted(facts.items()):
        for location, extents in each["located"]:
            named[(PurePosixPath(path).parent / location).as_posix()] += [Extent(*extent) for extent in extents]
    for path, extents in named.items():
        file = bundle.get(path)
        if file is None or file.link is not None or not file.size:
            continue
        parts = parts_of(Inside(view="tensors", extents=extents), file.size)
        if parts is not None:
            yield ContentsRow(path=path, view="tensors", parts=parts)
