"""Run inspectors on single files, as the application does on those of a bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from hatch_mlbundle.bundles.images.streamed_contents import watcher
from hatch_mlbundle.contents.builtin import INSPECTORS
from hatch_mlbundle.contents.inspector import Inspector
from hatch_mlbundle.contents.models import TorchInspector
from hatch_mlbundle.contents.rows import Inspecting, contents_of
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.manifest import ContentsRow, View
from hatch_mlbundle.model import CHUNK, Bundle, Finding
from hatch_mlbundle.pipeline import Services
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.workspace import temporary_workspace
from tests.builders import bundle_from

OURS = tuple(Inspecting(inspector=each(), distribution="hatch-mlbundle", distribution_version="1") for each in INSPECTORS)


def inspecting(*inspectors: Inspector, distribution: str = "mlbundle-mine") -> tuple[Inspecting, ...]:
    return tuple(Inspecting(inspector=each, distribution=distribution, distribution_version="1") for each in inspectors)


def rows_of(bundle: Bundle, offered: tuple[Inspecting, ...] = OURS) -> tuple[ContentsRow, ...]:
    """Return the rows of a bundle, without a cache or threads."""
    return told_of(bundle, offered)[0]


def told_of(bundle: Bundle, offered: tuple[Inspecting, ...] = OURS) -> tuple[tuple[ContentsRow, ...], tuple[Finding, ...]]:
    """Return the rows of a bundle, and the findings."""
    with temporary_workspace() as workspace, ThreadPoolExecutor(2) as pool:
        services = Services(workspace=workspace, cache=None, pool=pool, progress=Silence(), refuses=lambda change: None)
        return contents_of(bundle, offered, services)


def parts_of(path: Path, view: str = "sections", offered: tuple[Inspecting, ...] = OURS) -> dict[str, int] | None:
    """Return the parts of one file in a view, None where it has no row; those of sections and tensors add up to it.

    Where it can be told from a stream, as of files in an image, that must be the same.
    """
    rows = [row for row in rows_of(bundle_from(path.parent), offered) if row.path == path.name]
    for row in rows:
        total = sum(row.parts.values())
        assert total == path.stat().st_size if row.view != "gpu" else total <= path.stat().st_size
        assert list(row.parts) == sorted(row.parts, key=lambda name: (-row.parts[name], name))
        assert all(size > 0 for size in row.parts.values())
    if offered is OURS and path.suffix.lower() not in TorchInspector.suffixes:
        for step in (CHUNK, 1009):
            assert streamed(path, step) == {row.view: dict(row.parts) for row in rows}
    return next((dict(row.parts) for row in rows if row.view == view), None)


def streamed(path: Path, step: int) -> dict[View, dict[str, int]]:
    """Return what is told of a file that streams by in pieces, by view."""
    with path.open("rb") as stream:
        pieces = iter(partial(stream.read, step), b"")
        head = next(pieces, b"")
        kind = identify(path.name, head[:HEAD])
        watch = watcher(path.name, kind, head[:HEAD], path.stat().st_size)
        if watch is None:
            return {}
        for piece in (head, *pieces):
            watch.feed(piece)
    return {view: dict(parts) for view, parts in watch.told().parts.items()}
