"""Take out of SVG drawings what nobody sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, File, Keep, Rewrite
from hatch_mlbundle.named_digests import files_called, unless_named
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Risk, Task

from .recompress import INSTALL

_LARGEST = 5_000_000
"""Bytes of the largest drawing: scour takes some seconds a MB."""


class MinifySvg(Optimizer[Options]):
    """Takes white space, comments and the notes of drawing programs out of SVG drawings; elements and identifiers stay."""

    name = "minify_svg"
    version = "1"
    lossless: ClassVar[bool] = False
    risk: ClassVar[Risk] = "medium"

    def programs(self) -> Mapping[str, str]:
        """Return scour's release; raises MissingLibraryError."""
        return library_versions(self.name, "scour", install=INSTALL)

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each drawing, or a Keep with its reason, in the order of the paths."""
        return unless_named(files_called((".svg",), bundle, context), bundle, context, _change)

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the smaller drawing; raises KeptError, UnsoundResultError."""
        from .svg import minified

        task.target.write_bytes(minified(task.source.read_bytes()))


def _change(file: File) -> Change:
    if file.size > _LARGEST:
        return Keep(path=file.path, reason="it is too large to be read")
    return Rewrite(path=file.path, reason="drawing without white space and the notes of drawing programs")
