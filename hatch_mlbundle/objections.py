"""Why a change that an optimizer asks for cannot be made to the bundle as it is."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping

from .model import Add, Bundle, Change, Convert, Drop, Leave, Link, MemoryContent, Rewrite, Tell


def touched(change: Change) -> tuple[str, ...]:
    """Return the paths that a change is about."""
    match change:
        case Convert():
            return tuple(dict.fromkeys((*change.sources, *change.outputs)))
        case Leave():
            return change.paths
    return (change.path,)


def parts_of(change: Change) -> Iterator[Change]:
    """Yield a change as changes of one file each: what it may do to each of its files."""
    match change:
        case Convert():
            yield from _parts_of_conversion(change)
        case Leave():
            yield from (Drop(path=path, reason=change.reason) for path in change.paths)
        case Tell():
            yield Add(path=change.path, reason=change.reason, content=MemoryContent(b""))
        case _:
            yield change


def _parts_of_conversion(change: Convert) -> Iterator[Change]:
    for path in change.sources:
        yield (Rewrite if path in change.outputs else Drop)(path=path, reason=change.reason)
    for path in change.outputs:
        if path not in change.sources:
            yield Add(path=path, reason=change.reason, content=MemoryContent(b""))


def objection(change: Change, bundle: Bundle, taken: Mapping[str, Change]) -> str | None:
    """Return why a change cannot be made, or None; `taken` are the paths that other changes of the step are about, each with its change."""
    if not taken.keys().isdisjoint(touched(change)):
        return "the same step asked for another change of the file before"
    if isinstance(change, Convert):
        return _muddled(change, bundle, taken)
    if isinstance(change, Add) or (isinstance(change, Tell) and change.path not in bundle):
        return _unfit(change.path, bundle, taken)
    if any(path not in bundle for path in touched(change)):
        return "there is no such file"
    if isinstance(change, Rewrite | Tell) and bundle[change.path].link is not None:
        return "a link has no bytes of its own"
    return _astray(change, bundle) if isinstance(change, Link) else None


def _muddled(change: Convert, bundle: Bundle, taken: Mapping[str, Change]) -> str | None:
    """Return why files cannot be converted, or None."""
    if change.path not in (*change.sources, *change.reads):
        return "its path is no file that it converts or reads"
    for path in (*change.sources, *change.reads):
        if path not in bundle:
            return f"there is no {path}"
        if bundle[path].link is not None and path in change.sources:
            return f"{path} is a link, which has no bytes of its own"
    new = [path for path in change.outputs if path not in change.sources]
    return next((f"{path}: {problem}" for path in new if (problem := _unfit(path, bundle, taken))), None)


def _unfit(path: str, bundle: Bundle, taken: Mapping[str, Change]) -> str | None:
    """Return why no file can be added at `path`, or None."""
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(parts):
        return "the path leaves the bundle"
    if path in bundle:
        return "a file of this name is there already"
    present: Collection[str] = {*bundle, *_added(taken)}
    if any("/".join(parts[:length]) in present for length in range(1, len(parts))):
        return "one of its folders is a file or a link"
    if any(other.startswith(f"{path}/") for other in present):
        return "a folder of this name is there already"
    return None


def _added(taken: Mapping[str, Change]) -> Iterator[str]:
    for path, change in taken.items():
        if isinstance(change, Add | Tell) or (isinstance(change, Convert) and path in change.outputs):
            yield path


def _astray(change: Link, bundle: Bundle) -> str | None:
    """Return why a link cannot point where it should, or None."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(change.path), change.target))
    if change.target.startswith("/") or target not in bundle or target == change.path:
        return f"its target {change.target!r} is no other file of the bundle"
    return None
