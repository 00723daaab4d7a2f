"""Take the white space out of JSON files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.model import Bundle, Change, File, Keep, Kind, Rewrite
from hatch_mlbundle.named_digests import files_called, unless_named
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.schema import Size

_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class MinifyJsonOptions(Options):
    """Which JSON files are made smaller."""

    suffixes: tuple[str, ...] = option(
        "How the names of the files end. Notebooks are not among them: people read and compare them as text.",
        default=(".json", ".geojson", ".jsonl", ".map", ".ndjson", ".webmanifest"),
    )
    max_size: Size = option("Larger files stay: comparing takes some thirty times as much memory.", default=Size(100_000_000))


class MinifyJson(Optimizer[MinifyJsonOptions]):
    """Takes the white space between the tokens of JSON files out; every value is written as it was."""

    name = "minify_json"
    version = "1"
    risk: ClassVar[Risk] = "low"
    options_type = MinifyJsonOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each JSON file, or a Keep with its reason, in the order of the paths."""
        found = files_called(self.options.suffixes, bundle, context)
        files = [file for file in found if file.kind is not Kind.METADATA]  # what describes a distribution is for installers
        return unless_named(files, bundle, context, self._change)

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the file without white space; raises KeptError, UnsoundResultError."""
        from .json_text import minified, minified_lines

        before = task.source.read_bytes()
        after = minified_lines(before) if _is_lines(task.file.path) else minified(before)
        if len(after) >= len(before):
            raise KeptError("it has no white space that can go")
        task.target.write_bytes(after)

    def _change(self, file: File) -> Change:
        if file.size > self.options.max_size:
            return Keep(path=file.path, reason="it is larger than `max-size`")
        key = "lines" if _is_lines(file.path) else "whole"
        return Rewrite(path=file.path, reason="JSON without white space between its tokens", key=key)


def _is_lines(path: str) -> bool:
    return path.lower().endswith(_LINES)
