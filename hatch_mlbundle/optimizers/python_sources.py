"""Drop the source files of modules that are in a frozen executable as bytecode, where nothing reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from posixpath import dirname
from typing import ClassVar

from hatch_mlbundle.frozenmodules import FrozenModules, archive_of
from hatch_mlbundle.model import Bundle, Change, Drop, File, Finding, Keep, Kind
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.modulesets.sources import READING, SOURCE_READERS, SourceReaders
from hatch_mlbundle.optimizer import ArtifactKind, Context, Json, Optimizer, Options, option


@dataclass(frozen=True, kw_only=True)
class PythonSourcesOptions(Options):
    """Whose sources go."""

    packages: tuple[str, ...] = option("Dotted names of packages whose sources go whether anything may read them or not.", default=())
    keep: tuple[str, ...] = option("Dotted names of packages and modules whose sources stay.", default=())


class PythonSources(Optimizer[PythonSourcesOptions]):
    """Drops `.py` files whose modules are in the executable as bytecode, but for those that something reads when it runs."""

    name = "python_sources"
    version = "1"
    artifacts: ClassVar[tuple[ArtifactKind, ...]] = ("frozen",)
    options_type = PythonSourcesOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Drop or a Keep, with its reason, for every source beside bytecode, in the order of the paths."""
        modules = FrozenModules(bundle)
        sources = {path: name for path in sorted(bundle) if (name := _source_beside_bytecode(path, modules))}
        self._report_unknown(sources.values(), context)
        read = self._read(bundle, modules, sources, context)
        for path, name in sources.items():
            if is_below(name, self.options.keep):
                yield Keep(path=path, reason="the configuration keeps it")
            elif is_below(name, self.options.packages):
                yield Drop(path=path, reason="source of a module in the executable; the configuration says that nothing reads it")
            elif path in read:
                yield Keep(path=path, reason=read[path])
            else:
                yield Drop(path=path, reason="source of a module in the executable; nothing reads it")

    def _report_unknown(self, names: Iterable[str], context: Context) -> None:
        known = list(names)
        for key, roots in (("packages", self.options.packages), ("keep", self.options.keep)):
            for root in roots:
                if not any(is_below(name, (root,)) for name in known):
                    message = f"{key!r} names {root!r}, of which no source lies beside bytecode; correct it, or take it out"
                    context.report(Finding(code="MB321", message=message))

    def _read(self, bundle: Bundle, modules: FrozenModules, sources: Mapping[str, str], context: Context) -> dict[str, str]:
        """Return why each source stays, by path."""
        by_package: dict[str, list[str]] = defaultdict(list)
        for path, name in sources.items():
            by_package[name.partition(".")[0]].append(path)
        read: dict[str, str] = {}
        for package, paths in by_package.items():
            if package in SOURCE_READERS:
                read |= _read_of_known(bundle, modules, package, paths, context)
            elif reader := _reader_in(bundle, modules, package, context):
                read |= dict.fromkeys(paths, f"{reader} may read sources")
        return read


def _source_beside_bytecode(path: str, modules: FrozenModules) -> str | None:
    """Return the module of a source file that is in every executable which has any of its package."""
    name = modules.name(path)
    if name is None or not path.endswith((".py", ".pyw")) or archive_of(path):
        return None
    holding = {archive_of(other) for other in modules.files[name]} - {None}
    return name if holding and holding == modules.holders(name) else None


def _read_of_known(bundle: Bundle, modules: FrozenModules, package: str, paths: list[str], context: Context) -> dict[str, str]:
    readers = SOURCE_READERS[package]
    top = f"{modules.contents}{package}/"
    words = (*readers.words, *readers.lazy)
    held = context.examine(f"words:{words}", [bundle[path] for path in paths], partial(_words_in, words=words))
    lazy = {dirname(path) for path in paths if path.endswith("/__init__.py") and _holds(held[path], readers.lazy)}
    found = {}
    for path in paths:
        if _is_read(path[len(top) :], readers) or _holds(held[path], readers.words) or _lies_in(path, lazy):
            found[path] = readers.why
    return found


def _is_read(path: str, readers: SourceReaders) -> bool:
    return path in readers.files or any(path.startswith(f"{folder}/") for folder in readers.folders)


def _words_in(file: File, *, words: tuple[bytes, ...]) -> Json:
    source = file.read()
    return [word.decode() for word in words if word in source]


def _holds(held: Json, words: tuple[bytes, ...]) -> bool:
    return any(word.decode() in held for word in words)


def _lies_in(path: str, folders: set[str]) -> bool:
    while path := dirname(path):
        if path in folders:
            return True
    return False


def _reader_in(bundle: Bundle, modules: FrozenModules, package: str, context: Context) -> str | None:
    """Return the first module of a package that might read sources."""
    paths = [path for name, paths in modules.files.items() if is_below(name, (package,)) for path in paths]
    files = [bundle[path] for path in sorted(paths) if bundle[path].kind in (Kind.BYTECODE, Kind.PYTHON)]
    return next((path for path, reads in context.examine("readers", files, _may_read).items() if reads), None)


def _may_read(file: File) -> Json:
    return READING.search(file.read()) is not None
