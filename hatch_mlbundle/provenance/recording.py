"""Make the record of a run from what the pipeline did."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.config import options_to_dict
from hatch_mlbundle.pipeline import Done, Outcome

from .record import Author, Input, Output, RecordedRun, RecordedStep, extended_record

_HEADERS = 30 + 46
"""Bytes of a member's two headers in a zip archive, without its name (APPNOTE.TXT, 4.3.7 and 4.3.12)."""
_ROW = 60
"""Bytes of a row of RECORD, without the path; its hash does not compress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Who writes records; `private` are folders of this machine that none may name: the project's, the user's."""

    author: Author
    private: tuple[Path, ...]

    def record(self, path: str, before: Side, outcome: Outcome) -> bytes | None:
        """Return the record to be at `path`, extended where there is one; None where the steps saved less than it takes.

        Raises ManifestError for a file there that is no record.
        """
        earlier = before.bundle.get(path)
        old = earlier.read() if earlier else b""
        run = self._run(path, before, outcome)
        data = extended_record(old, path, run)
        installed, packed = len(data) - len(old), len(zlib.compress(data, 9)) - len(zlib.compress(old, 9))
        new = 0 if earlier else 1
        takes = installed + new * (_ROW + len(path)), packed + new * (_HEADERS + _ROW + 2 * len(path))
        saved = run.before.installed - run.after.installed, _packed_saving(before, outcome)
        return data if saved[0] > takes[0] and saved[1] > takes[1] else None

    def _run(self, path: str, before: Side, outcome: Outcome) -> RecordedRun:
        left_out = (path, f"{path.rpartition('/')[0]}/RECORD")
        first, last = before.bundle.without(left_out), outcome.bundle.without(left_out)
        return RecordedRun(
            generator=f"{self.author.name} {self.author.version}",
            before=Input(sha256=before.account.sha256, size=before.account.size, files=len(first), installed=first.size),
            after=Output(files=len(last), installed=last.size),
            steps=tuple(self._steps(outcome.stages)),
        )

    def _steps(self, stages: Sequence[Done]) -> Iterator[RecordedStep]:
        for done in stages:
            actions = sorted(each.action for each in done.changes if each.action != "keep")
            if actions:
                yield RecordedStep(
                    optimizer=done.stage.name,
                    distribution=done.stage.distribution,
                    version=done.stage.version,
                    lossless=done.stage.optimizer.lossless,
                    options=self._decisive(done.stage.optimizer.options),
                    changes={action: actions.count(action) for action in dict.fromkeys(actions)},
                )

    def _decisive(self, options: Any) -> dict[str, Any]:
        """Return the options that are not the defaults."""
        defaults = options_to_dict(type(options)())
        return {key: self._public(value) for key, value in options_to_dict(options).items() if value != defaults[key]}

    def _public(self, value: Any) -> Any:
        """Return an option without the folders of this machine: of a path below one, what is below it."""
        if isinstance(value, dict):
            return {key: self._public(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._public(each) for each in value]
        for folder in self.private if isinstance(value, str) else ():
            value = value.removeprefix(f"{folder}/")
        return value


def _packed_saving(before: Side, outcome: Outcome) -> float:
    """Return about how many bytes the wheel loses: a file that was rewritten is taken to compress as it did, a new one not at all."""
    packed = before.account.compressed or {}
    saved = 0.0
    for path in {*before.bundle, *outcome.bundle}:
        first, last = before.bundle.get(path), outcome.bundle.get(path)
        if first and last:
            saved += (first.size - last.size) * packed[path] / max(first.size, 1)
        else:
            saved += packed[path] if first else -last.size if last else 0
    return saved
