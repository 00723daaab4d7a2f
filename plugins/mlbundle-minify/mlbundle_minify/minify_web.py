"""Take comments and white space out of JavaScript and CSS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import dirname, join, normpath
from typing import ClassVar

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, File, Keep, Rewrite
from hatch_mlbundle.named_digests import files_called, unless_named
from hatch_mlbundle.optimizer import Context, Json, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.schema import Size

_SCRIPTS = (".js", ".mjs", ".cjs")
_STYLES = (".css",)
_LEAST = 100
"""A file that would lose less than a hundredth of its bytes was minified already, and stays."""

_MAP = re.compile(rb"[#@][ \t]*sourceMappingURL=([^\s'\"*]+)")
"""Where a script or style sheet says which source map it has (ECMA-426, section 11)."""


@dataclass(frozen=True, kw_only=True)
class MinifyWebOptions(Options):
    """Which scripts and style sheets are made smaller."""

    scripts: bool = option("JavaScript: `.js`, `.mjs` and `.cjs`.", default=True)
    styles: bool = option("CSS.", default=True)
    max_size: Size = option("Larger files stay: comparing takes about three seconds a MB.", default=Size(10_000_000))


class MinifyWeb(Optimizer[MinifyWebOptions]):
    """Takes comments and white space out of JavaScript (rjsmin) and CSS (rcssmin); names and code stay, licences too."""

    name = "minify_web"
    version = "1"
    risk: ClassVar[Risk] = "low"
    options_type = MinifyWebOptions

    def programs(self) -> Mapping[str, str]:
        """Return the releases of the libraries that decide a result; raises MissingLibraryError."""
        names = ("rcssmin", "rjsmin", "tinycss2", "tree-sitter", "tree-sitter-javascript")
        return library_versions(self.name, *names, install="mlbundle-minify")

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each script and style sheet, or a Keep with its reason, in the order of the paths."""
        suffixes = (*(_SCRIPTS if self.options.scripts else ()), *(_STYLES if self.options.styles else ()))
        files = files_called(suffixes, bundle, context)
        maps = context.examine("source maps", files, _examine_map)

        def change(file: File) -> Change:
            if file.size > self.options.max_size:
                return Keep(path=file.path, reason="it is larger than `max-size`")
            if _has_map(file.path, maps[file.path], bundle):
                return Keep(path=file.path, reason="it has a source map, which would no longer fit")
            return Rewrite(path=file.path, reason="without comments and white space", key="style" if _is_style(file.path) else "script")

        return unless_named(files, bundle, context, change)

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the smaller file; raises KeptError."""
        before = task.source.read_bytes()
        after = _minified(task.file.path, before)
        if len(before) - len(after) < len(before) / _LEAST:
            raise KeptError("it was minified already")
        task.target.write_bytes(after)


def _is_style(path: str) -> bool:
    return path.lower().endswith(_STYLES)


def _minified(path: str, text: bytes) -> bytes:
    if _is_style(path):
        from .style_text import minified_style

        return minified_style(text)
    from .script_text import minified_script

    return minified_script(text)


def _examine_map(file: File) -> Json:
    found = _MAP.findall(file.read()[-100_000:])
    return found[-1].decode("utf-8", "replace") if found else None


def _has_map(path: str, url: str | None, bundle: Bundle) -> bool:
    """Say whether the source map is in the file itself or in the bundle."""
    return url is not None and (url.startswith("data:") or normpath(join(dirname(path), url)) in bundle)
