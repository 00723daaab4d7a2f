"""Take docstrings out of bytecode, in `.pyc` files and in frozen executables, where nothing reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import dirname
from typing import TYPE_CHECKING

from hatch_mlbundle.bundles.scripts import python_release
from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.importpaths import SCRIPTS, ImportPaths, is_in_pyz
from hatch_mlbundle.model import Bundle, Change, Convert, File, Finding, Keep, Kind
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Json, Optimizer, Options, option
from hatch_mlbundle.unmarshal import RELEASE

from .roots import report_unknown
from .target import OURS

if TYPE_CHECKING:
    from .readers import Readers


@dataclass(frozen=True, kw_only=True)
class StripDocstringsOptions(Options):
    """The options of `strip_docstrings`."""

    packages: tuple[str, ...] = option("Dotted names of packages whose docstrings go whether anything may read them or not.", default=())
    keep: tuple[str, ...] = option("Dotted names of packages and modules whose docstrings stay.", default=())


class StripDocstrings(Optimizer[StripDocstringsOptions]):
    """Leaves docstrings out of bytecode of this very release of CPython, but for those that something may read when it runs."""

    name = "strip_docstrings"
    version = "1"
    lossless = False
    risk = "medium"
    artifacts = ("wheel", "folder", "frozen")
    options_type = StripDocstringsOptions

    def programs(self) -> Mapping[str, str]:
        """Return the release of Python, for which alone bytecode can be read."""
        import platform

        return {"python": platform.python_version()}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each bytecode file with docstrings that nothing is known to read, and a Keep for those that stay."""
        from .readers import Readers, examine_code, examine_source

        files = [file for file in bundle.of_kind(Kind.BYTECODE) if file.path.endswith(".pyc")]
        files = self._of_this_python(files, bundle, context)
        if not files:
            return
        paths = ImportPaths(bundle)
        facts = dict(context.examine("docstrings", files, examine_code))
        told = {path: each for path, each in facts.items() if "error" not in each}
        sources = context.examine("docstring-readers", bundle.of_kind(Kind.PYTHON), examine_source)
        names = {path: paths.name(path) for path in (*facts, *sources)}
        readers = Readers({path: name.partition(".")[0] for path, name in names.items()}, {**told, **sources})
        named = {"packages": self.options.packages, "keep": self.options.keep}
        report_unknown(named, {names[path] for path in facts}, "bytecode", context)
        for path, each in sorted(facts.items()):
            if "error" in each:
                yield Keep(path=path, reason=f"it cannot be read: {each['error']}")
            elif each["size"]:
                saves = min(each["size"], bundle[path].size)  # equal ones are there once, and modules of executables are compressed
                yield self._change(path, names[path], readers, saves)

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the bytecode without docstrings; raises UnsoundResultError where it is not the same but for them."""
        from .docstrings import without_docstrings
        from .marshal_tree import read_tree, write_tree
        from .proof import prove
        from .pyc_file import header_size

        (path,) = task.change.sources
        data, size = task.sources[path].read_bytes(), header_size(path)
        kept = frozenset(json.loads(task.change.key))
        before = read_tree(data[size:])
        after = write_tree(without_docstrings(before, kept))
        problem = prove(write_tree(before), after, kept)
        if problem:
            raise UnsoundResultError(problem)
        place = task.target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data[:size] + after)
        return {}

    def remedy(self, path: str, module: str | None) -> str:
        """Return how a module's docstrings stay."""
        return f'add "{module}" to `keep` in [tool.mlbundle.{self.name}]' if module else super().remedy(path, module)

    def _of_this_python(self, files: list[File], bundle: Bundle, context: Context) -> list[File]:
        """Return the files that are bytecode of the running Python, and tell of the others, once."""
        if any(dirname(path).endswith(SCRIPTS) for path in bundle):
            message = "the modules of an executable that PyInstaller has still to make stay; run this step on the finished folder"
            context.report(Finding(code="MB943", message=message))
            files = [file for file in files if not is_in_pyz(file.path)]
        frozen = any(is_in_pyz(file.path) for file in files)
        release = python_release(bundle) if frozen else RELEASE
        known = context.examine("magic", [file for file in files if not is_in_pyz(file.path)], _is_ours)
        ours = [file for file in files if (release == RELEASE if is_in_pyz(file.path) else known[file.path])]
        if others := len(files) - len(ours):
            told = f"{others:,} bytecode files are not of CPython {OURS}, which runs this, and stay"
            message = f"{told}; run mlbundle with the Python that they are for"
            context.report(Finding(code="MB941", message=message))
        return ours

    def _change(self, path: str, name: str, readers: Readers, saves: int) -> Change:
        if is_below(name, self.options.keep):
            return Keep(path=path, reason="the configuration keeps its docstrings")
        forced = is_below(name, self.options.packages)
        if not forced and (reason := readers.why_kept(path)):
            return Keep(path=path, reason=f"its docstrings stay: {reason}")
        kept = [] if forced else list(readers.kept_names(path))
        reason = "without docstrings" if forced else "without docstrings; nothing is known to read them"
        return Convert(path=path, reason=reason, sources=(path,), outputs=(path,), saves=saves, key=json.dumps(kept))


def _is_ours(file: File) -> Json:
    from importlib.util import MAGIC_NUMBER

    return next(file.content.chunks(), b"")[:4] == MAGIC_NUMBER
