"""Drop what the user names: by globs, and by groups of files that serve developers rather than a running application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import basename, splitext
from typing import ClassVar, Literal, TypeAlias

from hatch_mlbundle.filegroups import GROUPS, always_stays, examine_compiling, examine_stub_reader, is_metadata
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.importpaths import ImportPaths, companion_of
from hatch_mlbundle.model import Bundle, Change, Drop, Finding, Keep, Kind
from hatch_mlbundle.optimizer import EVERY_KIND, Context, Optimizer, Options, Risk, option
from hatch_mlbundle.schema import Glob
from hatch_mlbundle.usage import Usage

GroupName: TypeAlias = Literal["headers", "static-libs", "cmake", "type-stubs", "bytecode", "docs", "debug-files", "sources"]
"""The names in `filegroups.GROUPS`."""


@dataclass(frozen=True, kw_only=True)
class ExcludeOptions(Options):
    """What to leave out."""

    paths: tuple[Glob, ...] = option(
        "Globs (as in .gitignore) of files to leave out; one that begins with `!` takes files out again.", default=()
    )
    groups: tuple[GroupName, ...] = option("Groups of files to leave out; licences, `py.typed` and dist-info stay.", default=())


class Exclude(Optimizer[ExcludeOptions]):
    """Drops the files that its globs and groups match.

    dist-info stays but for what a glob names by its whole path, and of that METADATA, WHEEL and RECORD stay all the same.
    """

    name = "exclude"
    version = "1"
    risk: ClassVar[Risk] = "medium"
    artifacts = EVERY_KIND
    options_type = ExcludeOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Drop or a Keep, with its reason, for every file matched, in the order of the paths."""
        modules = ImportPaths(bundle)
        by_glob = self._by_glob(bundle, context)
        by_group = {path: group for path, group in self._by_group(bundle, context).items() if path not in by_glob}
        needed = {
            **_compiled_at_run_time(bundle, modules, by_group, context),
            **_without_source(modules, by_group),
            **_stubs_read(bundle, modules, by_group, context),
            **_docs_read(bundle, modules, by_group, context),
        }
        for path in sorted({*by_glob, *by_group}):
            if path in by_glob:
                yield _named(path, by_glob[path])
            elif path in needed:
                yield Keep(path=path, reason=needed[path])
            else:
                yield Drop(path=path, reason=f"group {by_group[path]!r}: {GROUPS[by_group[path]].why}")

    def _by_glob(self, bundle: Bundle, context: Context) -> dict[str, str]:
        """Return which glob matches each file: as in .gitignore the last one decides."""
        chosen: dict[str, str] = {}
        for glob in self.options.paths:
            matches = matcher([glob.removeprefix("!")])
            matched = [path for path in bundle if matches(path)]
            if not matched:
                message = f"the glob {glob!r} in `paths` matches no file; correct it, or take it out"
                context.report(Finding(code="MB303", message=message))
            for path in matched:
                chosen.pop(path, None)
                if not glob.startswith("!"):
                    chosen[path] = glob
        return chosen

    def _by_group(self, bundle: Bundle, context: Context) -> dict[str, str]:
        chosen: dict[str, str] = {}
        droppable = [file for file in bundle.values() if not always_stays(file)]
        for name in self.options.groups:
            matched = [file.path for file in droppable if GROUPS[name].belongs(file)]
            for path in matched:
                chosen.setdefault(path, name)
        return chosen


def _named(path: str, glob: str) -> Change:
    if is_metadata(path) and basename(path) in {"METADATA", "WHEEL", "RECORD", "PKG-INFO"}:
        return Keep(path=path, reason="installers and importlib.metadata need it")
    if is_metadata(path) and glob.strip("/") != path:
        return Keep(path=path, reason=f"metadata of a distribution, which {glob!r} does not name by its whole path")
    return Drop(path=path, reason=f"the configuration leaves out {glob!r}")


def _compiled_at_run_time(bundle: Bundle, modules: ImportPaths, by_group: Mapping[str, str], context: Context) -> dict[str, str]:
    """Return the headers, libraries and sources of packages that run a compiler themselves, and report them by package (MB302)."""
    wanted = [path for path, group in sorted(by_group.items()) if GROUPS[group].compiled]
    tops = {modules.top_level(path) for path in wanted}
    python = [file for path, file in sorted(bundle.items()) if file.kind is Kind.PYTHON and modules.top_level(path) in tops]
    shown: dict[str, str] = {}
    for path, line in context.examine("compiling", python, examine_compiling).items():
        if line:
            shown.setdefault(modules.top_level(path), f"{path}:{line}")
    for top in sorted(tops & shown.keys()):
        files = [path for path in wanted if modules.top_level(path) == top]
        message = (
            f"{len(files)} files of {basename(top)} stay, because {shown[top]} shows that it compiles code while it runs; "
            "where the application never does that, name them in `paths`"
        )
        context.report(Finding(code="MB302", message=message, path=files[0]))
    return {path: f"its package compiles code while it runs: {shown[top]}" for path in wanted if (top := modules.top_level(path)) in shown}


def _without_source(modules: ImportPaths, by_group: Mapping[str, str]) -> dict[str, str]:
    """Return the bytecode that has no source beside it."""
    orphans: dict[str, str] = {}
    for path, group in by_group.items():
        if group == "bytecode" and not any(source.endswith(".py") for source in modules.provided_by(companion_of(path) or "")):
            orphans[path] = "its source is not there: the bytecode is the module"
    return orphans


def _stubs_read(bundle: Bundle, modules: ImportPaths, by_group: Mapping[str, str], context: Context) -> dict[str, str]:
    """Return the type stubs that their own module reads when it is imported (lazy_loader)."""
    readers: dict[str, str] = {}
    for path, group in sorted(by_group.items()):
        if group == "type-stubs":
            readers |= {reader: path for reader in modules.provided_by(companion_of(path) or "") if bundle[reader].kind is Kind.PYTHON}
    reads = context.examine("stub readers", [bundle[path] for path in readers], examine_stub_reader)
    return {stub: f"{reader} reads it when it is imported" for reader, stub in readers.items() if reads[reader]}


def _docs_read(bundle: Bundle, modules: ImportPaths, by_group: Mapping[str, str], context: Context) -> dict[str, str]:
    """Return the documents that a module names: it may print one, or serve it."""
    docs = [path for path, group in by_group.items() if group == "docs"]
    words = sorted({splitext(basename(path))[0].lower() for path in docs})
    if not docs:
        return {}
    usage = Usage(bundle, modules, docs, (), words)
    usage.trace(context, {})
    return usage.kept
