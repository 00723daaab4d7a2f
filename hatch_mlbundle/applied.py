"""What becomes of each file by a change that was carried out, and of the bundle by all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .identify import HEAD, identify
from .model import Add, Bundle, Change, Convert, Drop, File, Kind, Leave, Link, MemoryContent, Rewrite, Tell
from .optimizer import Detail
from .rewriting import Rewritten


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one file: as it was before (None where it was added) and is after (None where it was dropped).

    What was made together, by one Convert or Leave, has the change's path as its `group`: it is put back together, too. `detail` is what
    the optimizer says of how the file was made. `leave` is the change by which a model left, `tell` the one that says so: a file of these
    follows from the others' and is made again with them.
    """

    action: Literal["drop", "keep", "rewrite", "add", "link"]
    path: str
    reason: str
    before: File | None
    after: File | None
    group: str | None = None
    detail: Detail | None = None
    leave: Leave | None = None
    tell: Tell | None = None


def leaves_of(applied: Iterable[Applied]) -> list[Leave]:
    """Return how models left by these changes, each model once."""
    return list({each.leave.name: each.leave for each in applied if each.leave}.values())


def left(change: Leave, files: Mapping[str, File]) -> list[Applied]:
    """Return what becomes of each file of a model that leaves."""
    return [
        Applied(action="drop", path=path, reason=change.reason, before=files[path], after=None, group=change.path, leave=change)
        for path in change.paths
    ]


def told(change: Tell, before: File | None, leaves: Collection[Leave]) -> Applied | None:
    """Return what becomes of the file that tells of the models that left; None where it is not to be, or stays as it is."""
    data = change.render(leaves)
    if data is None or (before is not None and before.sha256 == hashlib.sha256(data).hexdigest()):
        return None
    new = _added(Add(path=change.path, reason=change.reason, content=MemoryContent(data)))
    after = new if before is None else replace(before, size=new.size, sha256=new.sha256, content=new.content)
    return Applied(action="rewrite" if before else "add", path=change.path, reason=change.reason, before=before, after=after, tell=change)


def applied_by(change: Change, bundle: Bundle, results: Mapping[str, Rewritten]) -> list[Applied]:
    """Return what became of each file that a change is about; `results` are those of rewrites and conversions, by path."""
    before, reason = bundle.get(change.path), change.reason
    match change:
        case Drop():
            return [Applied(action="drop", path=change.path, reason=reason, before=before, after=None)]
        case Add():
            return [Applied(action="add", path=change.path, reason=reason, before=None, after=_added(change))]
        case Link() if before:
            return [Applied(action="link", path=change.path, reason=reason, before=before, after=_linked(before, change.target))]
        case Leave():
            return left(change, bundle)
        case Tell():
            return []  # when all others are carried out
        case Rewrite() | Convert() if results[change.path].kept is None:
            return list(_made(change, bundle, results[change.path]))
        case Rewrite() | Convert():
            reason = str(results[change.path].kept)
    return [Applied(action="keep", path=change.path, reason=reason, before=before, after=before)]


def _made(change: Rewrite | Convert, bundle: Bundle, result: Rewritten) -> Iterator[Applied]:
    """Yield what became of each file that a change touches."""
    group = change.path if isinstance(change, Convert) else None
    after = {file.path: file for file in result.files}
    sources = change.sources if isinstance(change, Convert) else (change.path,)
    for path in dict.fromkeys((*sources, *after)):
        before, detail = bundle.get(path), result.details.get(path)
        if path not in after:
            yield Applied(action="drop", path=path, reason=_gone(change, after), before=before, after=None, group=group)
            continue
        action: Literal["rewrite", "add"] = "rewrite" if before else "add"
        yield Applied(action=action, path=path, reason=change.reason, before=before, after=after[path], group=group, detail=detail)


def _gone(change: Change, after: Iterable[str]) -> str:
    return f"{change.reason}: now in {', '.join(sorted(after))}"


def _added(change: Add) -> File:
    data = b"".join(change.content.chunks())
    return File(
        path=change.path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mode=change.mode,
        kind=identify(change.path, data[:HEAD]),
        owner=change.path.partition("/")[0],
        content=change.content,
    )


def _linked(file: File, target: str) -> File:
    return replace(file, size=0, sha256=hashlib.sha256(b"").hexdigest(), kind=Kind.LINK, content=MemoryContent(b""), link=target)


def bundle_after(bundle: Bundle, applied: Iterable[Applied]) -> Bundle:
    """Return the bundle with all that became of its files."""
    dropped = [each.path for each in applied if each.after is None]
    return bundle.without(dropped).replacing(each.after for each in applied if each.after is not None)
