"""Take the white space out of JSON files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.model import Bundle, Change, File, Keep, Kind, Rewrite
from hatch_mlbundle.named_digests import named_digests
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
        files = [file for path, file in sorted(bundle.items()) if self._is_json(file) and context.selects(path)]
        named = named_digests(files, bundle, context)
        for file in files:
            if file.path in named:
                yield Keep(path=file.path, reason="another file names its checksum")
            elif file.size > self.options.max_size:
                yield Keep(path=file.path, reason="it is larger than `max-size`")
            else:
                key = "lines" if _is_lines(file.path) else "whole"
                yield Rewrite(path=file.path, reason="JSON without white space between its tokens", key=key)

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the file without white space; raises KeptError, UnsoundResultError."""
        from .json_text import minified, minified_lines

        before = task.source.read_bytes()
        after = minified_lines(before) if _is_lines(task.file.path) else minified(before)
        if len(after) >= len(before):
            raise KeptError("it has no white space that can go")
        task.target.write_bytes(after)

    def _is_json(self, file: File) -> bool:
        """Say whether a file is JSON by its name; what describes a distribution is for installers, and stays."""
        return file.path.lower().endswith(self.options.suffixes) and file.link is None and file.kind is not Kind.METADATA and file.size > 0


def _is_lines(path: str) -> bool:
    return path.lower().endswith(_LINES)
