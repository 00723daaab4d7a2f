"""Inspect the files of a bundle: which inspectors want which, where their bytes are on disk, and the manifest's rows of it all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from hatch_mlbundle.errors import ClaimError, DistrustError, MlbundleError, StrangeError
from hatch_mlbundle.examine import examine
from hatch_mlbundle.guard import OURS, Caution, error_line
from hatch_mlbundle.manifest import ContentsRow, View
from hatch_mlbundle.model import Bundle, File, Finding, Kind
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.pipeline import Services
from hatch_mlbundle.writewatch import Places

from .inspector import Extent, Inside, Inspector
from .parts import by_size, coalesced, parts_of

_SECONDS = 60.0
"""Seconds that a plugin's inspector may take for one file."""
_MOST_VIEWS = 10_000
"""Things that it may tell of one file, among them what lies in others."""
_MOST_EXTENTS = 200_000
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


def contents_of(
    bundle: Bundle, inspecting: Sequence[Inspecting], services: Services
) -> tuple[tuple[ContentsRow, ...], tuple[Finding, ...]]:
    """Return what the bundle's files are made of, sorted by path and view: on all cores, from the cache where that knows it.

    Files that lie in an archive are unpacked into the workspace, as for the steps. Of inspectors that tell the same of a file the
    first one's word is taken. What cannot be believed is left out, and all of a plugin's inspector that fails in any way that it may
    not: the findings say so. Raises StorageError.
    """
    findings: list[Finding] = []
    while True:
        try:
            return _rows(bundle, inspecting, services), tuple(findings)
        except _FailureError as failure:
            findings.append(failure.finding)
            inspecting = [each for each in inspecting if each is not failure.inspecting]


class _FailureError(Exception):
    """A plugin's inspector failed on a file, as it may not."""

    def __init__(self, inspecting: Inspecting, path: str, problem: str) -> None:
        super().__init__(problem)
        self.inspecting = inspecting
        message = f"plugin {inspecting.distribution}: inspector {inspecting.inspector.name!r} {problem}; what it tells was left out"
        self.finding = Finding(code="MB127", path=path, message=message)


def _rows(bundle: Bundle, inspecting: Sequence[Inspecting], services: Services) -> tuple[ContentsRow, ...]:
    wanting = _wanting(bundle, inspecting)
    guards = _guards(inspecting, services)

    def inspect(file: File) -> Json:
        path = file.content.local_path() or services.workspace.local(file)
        return _facts(file, path, wanting[file.path], guards)

    identity = ["contents", _FORMAT, [each.identity for each in inspecting]]
    files = [bundle[path] for path in wanting]
    local = all(file.content.local_path() for file in files)
    facts = examine(identity, files, inspect, None if local else services.pool, services.cache)
    rows = [*_own_rows(facts), *_located_rows(bundle, facts)]
    told = {(row.path, row.view): row for row in reversed(rows)}
    return tuple(told[key] for key in sorted(told))


def _guards(inspecting: Sequence[Inspecting], services: Services) -> dict[str, Caution]:
    """Return how to call the inspectors of each other distribution: they may write nowhere."""
    strangers = {each.distribution for each in inspecting} - {OURS}
    if not strangers:
        return {}
    workspace, rules = services.workspace, services.rules
    places = Places(own=workspace.new_folder(), forbidden=(workspace.root, *rules.forbidden), project=rules.project)
    return {name: Caution(name, seconds=_SECONDS, places=places) for name in strangers}


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


def _facts(file: File, path: Path, inspecting: Sequence[Inspecting], guards: Mapping[str, Caution]) -> Json:
    """Return what is told of a file, as JSON: its parts by view, and the extents that it names in other files."""
    own: dict[View, dict[str, int]] = {}
    located: list[Json] = []
    for each in inspecting:
        for inside in _told(each, file.path, path, guards):
            if inside.location is not None:
                located.append([inside.location, [list(extent) for extent in coalesced(inside.extents)]])
            elif inside.view not in own and (parts := parts_of(inside, file.size)) is not None:
                own[inside.view] = parts
    return {"own": own, "located": located}


def _told(inspecting: Inspecting, name: str, path: Path, guards: Mapping[str, Caution]) -> list[Inside]:
    inspect = inspecting.inspector.inspect
    guard = guards.get(inspecting.distribution)
    try:
        return guard.call(lambda: _sound(islice(inspect(path), _MOST_VIEWS))) if guard else list(inspect(path))
    except (DistrustError, StrangeError) as error:
        raise _FailureError(inspecting, name, f"fails ({error})") from error
    except (MlbundleError, OSError):
        return []
    except Exception as error:
        if guard is None:
            raise
        raise _FailureError(inspecting, name, f"fails ({error_line(error)})") from error


def _sound(told: Iterable[Inside]) -> list[Inside]:
    """Return what a plugin's inspector tells, its extents read; raises ClaimError for what is nothing of the sort."""
    sound = []
    for inside in told:
        if type(inside) is not Inside or inside.view not in get_args(View):
            raise ClaimError(f"tells {inside!r:.100}")
        extents = list(islice((Extent(*extent) for extent in inside.extents), _MOST_EXTENTS + 1))
        texts: tuple[Any, Any] = (inside.rest, inside.location)
        odd = [each for each in extents if (type(each.start), type(each.end), type(each.name)) != (int, int, str)]
        if odd or len(extents) > _MOST_EXTENTS or not isinstance(texts[0], str) or not isinstance(texts[1], str | None):
            raise ClaimError(f"tells extents that are none, or more than {_MOST_EXTENTS:,}" + (f": {odd[0]!r:.100}" if odd else ""))
        sound.append(replace(inside, extents=extents))
    return sound


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
