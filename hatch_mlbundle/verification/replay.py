"""What the bundle would be had some of the changes not been made."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hatch_mlbundle.applied import Applied, leaves_of, left, told
from hatch_mlbundle.model import Bundle, File
from hatch_mlbundle.models.left_models import leaving_again
from hatch_mlbundle.pipeline import Done


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One change: the position of the step that made it, and the file's path."""

    step: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The bundle that comes of the steps without some changes, and what each step then did."""

    bundle: Bundle
    stages: tuple[Done, ...]


def changes(stages: Sequence[Done]) -> dict[Site, Applied]:
    """Return every change that was made, in order, but for what only tells of others."""
    made = ((number, applied) for number, done in enumerate(stages) for applied in done.changes)
    return {Site(number, applied.path): applied for number, applied in made if applied.action != "keep" and not applied.tell}


def replay(before: Bundle, stages: Sequence[Done], reverted: Mapping[Site, str] | Collection[Site]) -> Replayed:
    """Make the changes again, on `before`, but for `reverted` (with the reasons, where it maps to them) and what hangs on these.

    A change hangs on another where it starts from the file that the other one made, or links to it. A model leaves all the same, with the
    files that it then has.
    """
    reasons = reverted if isinstance(reverted, Mapping) else {}
    original, state = dict(before), dict(before)
    done = []
    for number, stage in enumerate(stages):
        made = []
        telling = [applied for applied in stage.changes if applied.tell]
        stage = replace(stage, changes=tuple(applied for applied in stage.changes if not applied.tell))
        if original != state:
            stage = replace(stage, changes=tuple(_leaving_again(number, stage.changes, reverted, original, state)))
        problems = _problems(number, stage.changes, reverted, original, state)
        for applied, problem in zip(stage.changes, problems, strict=True):
            if applied.action != "keep" and problem is None:
                _apply(applied, state)
                made.append(applied)
            else:
                kept = state.get(applied.path)
                reason = applied.reason if problem is None else reasons.get(Site(number, applied.path), problem)
                made += [] if problem and applied.action == "add" else [_kept(applied, reason, kept)]
            _apply(applied, original)
        for applied in telling:
            made += _told_again(applied, made, state)
            _apply(applied, original)
        done.append(replace(stage, changes=tuple(made)))
    return Replayed(bundle=_in_order(before, state), stages=tuple(done))


def _leaving_again(
    number: int, changes: Sequence[Applied], reverted: Collection[Site], original: dict[str, File], state: Mapping[str, File]
) -> list[Applied]:
    """Return the changes of a step, with models that leave as they now are; of those, `original` is then what `state` is."""
    leaves = leaves_of(changes)
    bundle = Bundle(state.values() if leaves else ())
    spared = {applied.leave.name for applied in changes if applied.leave and Site(number, applied.path) in reverted}
    again: dict[str, list[Applied]] = {}
    for leave in leaves:
        new = leaving_again(leave, bundle) if leave.name not in spared else None
        if new:
            again[leave.name] = left(new, state)
            for path in {*leave.paths, *new.paths}:
                _set(original, path, state.get(path))
    waiting = dict(again)
    made: list[Applied] = []
    for applied in changes:
        name = applied.leave.name if applied.leave else ""
        made += waiting.pop(name, ()) if name in again else [applied]
    return made


def _told_again(applied: Applied, made: Sequence[Applied], state: dict[str, File]) -> list[Applied]:
    """Make again what tells of the models that left, now that some may not have; nothing where there is nothing to tell."""
    if applied.tell is None:
        return []
    again = told(applied.tell, state.get(applied.path), leaves_of(made))
    if again and applied.after and again.after and again.after.sha256 == applied.after.sha256:
        again = applied  # the very same, so that what later steps made of it stands
    if again:
        _apply(again, state)
    return [again] if again else []


def _problems(
    number: int, changes: Sequence[Applied], reverted: Collection[Site], original: Mapping[str, File], state: Mapping[str, File]
) -> list[str | None]:
    """Return for each change of a step why it is not made this time, None where it is; what was made together is put back together."""
    problems = [_problem(applied, Site(number, applied.path), reverted, original, state) for applied in changes]
    undone = {applied.group: problem for applied, problem in zip(changes, problems, strict=True) if applied.group and problem}
    return [problem or (undone.get(applied.group) if applied.group else None) for applied, problem in zip(changes, problems, strict=True)]


def _problem(
    applied: Applied, site: Site, reverted: Collection[Site], original: Mapping[str, File], state: Mapping[str, File]
) -> str | None:
    """Return why a change is not made this time, None where it is (or was none)."""
    if applied.action == "keep":
        return None
    if site in reverted:
        return "put back"
    if state.get(applied.path) is not original.get(applied.path):
        return "what an earlier step made of it was put back"
    target = _target(applied)
    if target is not None and state.get(target) is not original.get(target):
        return f"{target}, to which it would be a link, was put back"
    return None


def _target(applied: Applied) -> str | None:
    link = applied.after.link if applied.after else None
    return None if link is None else posixpath.normpath(posixpath.join(posixpath.dirname(applied.path), link))


def _apply(applied: Applied, files: dict[str, File]) -> None:
    if applied.action != "keep":
        _set(files, applied.path, applied.after)


def _set(files: dict[str, File], path: str, file: File | None) -> None:
    if file is None:
        files.pop(path, None)
    else:
        files[path] = file


def _kept(applied: Applied, reason: str, file: File | None) -> Applied:
    return replace(applied, action="keep", reason=reason, before=file, after=file, detail=None, leave=None)


def _in_order(before: Bundle, state: Mapping[str, File]) -> Bundle:
    """Return the files in the order of the artifact, those that were added at the end."""
    added: Iterable[str] = (path for path in state if path not in before)
    return Bundle([*(state[path] for path in before if path in state), *(state[path] for path in added)])
