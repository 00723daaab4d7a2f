"""Make the manifest from what the pipeline did: every byte before and after has a row, and the totals reconcile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .applied import Applied
from .bundles.artifact import Side
from .config import options_to_dict
from .manifest import ArtifactRow, ChangeRow, DetailRow, FileRow, FileState, Saved, StepRow, Totals
from .model import File
from .pipeline import Done

Measure = Callable[[File], int]
"""Returns the compressed bytes of a file that one step made and a later one replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books of one run: the artifact before and after, the stages between, and how to measure what came in between."""

    before: Side
    after: Side
    stages: tuple[Done, ...]
    measure: Measure

    def artifact(self, name: str, kind: str) -> ArtifactRow:
        """Return the artifact's sizes before and after."""
        return ArtifactRow(name=name, kind=kind, before=_totals(self.before), after=_totals(self.after))

    def files(self) -> tuple[FileRow, ...]:
        """Return a row for each file before, after or between, sorted by path."""
        histories: defaultdict[str, list[tuple[int, Applied]]] = defaultdict(list)
        for number, stage in enumerate(self.stages):
            for applied in stage.changes:
                histories[applied.path].append((number, applied))
        passing = (path for path, history in histories.items() if any(applied.action != "keep" for _, applied in history))
        paths = sorted({*self.before.bundle, *self.after.bundle, *passing})
        return tuple(self._file(path, histories.get(path, [])) for path in paths)

    def steps(self, files: Iterable[FileRow]) -> tuple[StepRow, ...]:
        """Return a row for each stage, with what the files' rows say that it saved."""
        by_step: defaultdict[int | None, list[ChangeRow]] = defaultdict(list)
        for row in files:
            for change in row.changes:
                by_step[change.step].append(change)
        return tuple(self._step(done, by_step[number]) for number, done in enumerate(self.stages))

    def details(self) -> tuple[DetailRow, ...]:
        """Return what the optimizers say of the files that they made anew, step by step."""
        made = ((number, applied) for number, stage in enumerate(self.stages) for applied in stage.changes)
        return tuple(DetailRow(step=number, path=each.path, detail=each.detail) for number, each in made if each.detail is not None)

    def remainder(self, steps: Iterable[StepRow]) -> Saved:
        """Return what was saved beside the steps, so that all of it together is the artifact's difference."""
        saved = self._total(step.saved for step in steps)
        before, after = _totals(self.before), _totals(self.after)
        compressed = None if saved.compressed is None else before.size - after.size - saved.compressed
        return Saved(installed=before.installed - after.installed - saved.installed, compressed=compressed)

    def _file(self, path: str, history: list[tuple[int, Applied]]) -> FileRow:
        first, last = _state(self.before, path), _state(self.after, path)
        file = self.after.bundle.get(path) or self.before.bundle.get(path) or _last(history)
        changes = tuple(self._changes(first, last, history))
        return FileRow(path=path, kind=file.kind.value, owner=file.owner, before=first, after=last, changes=changes)

    def _changes(self, first: FileState | None, last: FileState | None, history: list[tuple[int, Applied]]) -> Iterator[ChangeRow]:
        state = first
        final = max((number for number, applied in history if applied.action != "keep"), default=None)
        for number, applied in history:
            following = state
            if applied.action != "keep":
                following = last if number == final else self._measured(applied.after)
            yield ChangeRow(step=number, action=applied.action, reason=applied.reason, saved=self._difference(state, following))
            state = following
        if not _same(state, last):
            action = "drop" if last is None else "add" if state is None else "rewrite"
            yield ChangeRow(step=None, action=action, reason="by writing the artifact", saved=self._difference(state, last))

    def _step(self, done: Done, changes: list[ChangeRow]) -> StepRow:
        counts = Counter(change.action for change in changes)
        return StepRow(
            optimizer=done.stage.name,
            distribution=done.stage.distribution,
            version=done.stage.version,
            lossless=done.stage.optimizer.lossless,
            options=options_to_dict(done.stage.optimizer.options),
            changes=dict(sorted(counts.items())),
            saved=self._total(change.saved for change in changes),
        )

    @property
    def _packs(self) -> bool:
        return self.before.account.compressed is not None

    def _measured(self, file: File | None) -> FileState | None:
        if file is None:
            return None
        return FileState(size=file.size, compressed=self.measure(file) if self._packs else None, sha256=file.sha256)

    def _difference(self, before: FileState | None, after: FileState | None) -> Saved:
        installed = (before.size if before else 0) - (after.size if after else 0)
        if not self._packs:
            return Saved(installed=installed, compressed=None)
        packed = ((state.compressed or 0) if state else 0 for state in (before, after))
        return Saved(installed=installed, compressed=next(packed) - next(packed))

    def _total(self, saved: Iterable[Saved]) -> Saved:
        each = list(saved)
        compressed = sum(one.compressed or 0 for one in each) if self._packs else None
        return Saved(installed=sum(one.installed for one in each), compressed=compressed)


def _last(history: list[tuple[int, Applied]]) -> File:
    """Return a file as it was when a step dropped it that another one had added."""
    return next(file for _, applied in reversed(history) if (file := applied.after or applied.before))


def _same(one: FileState | None, other: FileState | None) -> bool:
    """Say whether nothing became of a file: in a layer that is packed anew, one that stays takes a few bytes more or less."""
    return one == other or bool(one and other and (one.size, one.sha256) == (other.size, other.sha256))


def _totals(side: Side) -> Totals:
    account = side.account
    return Totals(
        size=account.size,
        installed=side.bundle.size,
        structure=account.structure,
        files=len(side.bundle),
        sha256=account.sha256,
    )


def _state(side: Side, path: str) -> FileState | None:
    file = side.bundle.get(path)
    if file is None:
        return None
    compressed = None if side.account.compressed is None else side.account.compressed[path]
    return FileState(size=file.size, compressed=compressed, sha256=file.sha256)
