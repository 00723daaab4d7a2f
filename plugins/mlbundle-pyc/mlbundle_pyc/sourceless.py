"""Put bytecode in the place of Python sources, where nothing reads them and one Python alone runs it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname

from hatch_mlbundle.importpaths import ImportPaths, installed, module_of
from hatch_mlbundle.model import Bundle, Change, Convert, Finding, Keep, Kind
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.modulesets.reading import Sources, why_read
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Optimizer, Options, option

from .roots import report_unknown
from .source_reading import may_read_sources
from .target import OURS, why_not

_SCRIPTS = {
    "__main__.py": "it may be run by its path",
    "conftest.py": "pytest looks for it by its name",
    "setup.py": "it is run by its name",
    "sitecustomize.py": "site looks for it by its name",
    "usercustomize.py": "site looks for it by its name",
}


@dataclass(frozen=True, kw_only=True)
class SourcelessOptions(Options):
    """The options of `sourceless`."""

    python: str = option('Of a folder: the release of Python that runs it ("3.11"), where its paths do not tell.', default="")
    docstrings: bool = option("Whether docstrings stay that nothing is known to read.", default=True)
    asserts: bool = option("Whether `assert` statements stay; without them `__debug__` is false in these modules.", default=True)
    may_grow: bool = option("Whether bytecode takes a source's place also where it is larger.", default=False)
    packages: tuple[str, ...] = option("Dotted names of packages whose sources go whether anything may read them or not.", default=())
    keep: tuple[str, ...] = option("Dotted names of packages and modules whose sources stay.", default=())


class Sourceless(Optimizer[SourcelessOptions]):
    """Compiles the modules of wheels for one release of CPython, and of folders, to `.pyc` files in the place of their sources."""

    name = "sourceless"
    version = "1"
    lossless = False
    risk = "medium"
    artifacts = ("wheel", "folder")
    options_type = SourcelessOptions

    def programs(self) -> Mapping[str, str]:
        """Return the release of Python, which decides the bytecode."""
        import platform

        return {"python": platform.python_version()}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each module that may go, and a Keep with its reason for each that may not."""
        paths = ImportPaths(bundle)
        sources = {file.path: paths.name(file.path) for file in bundle.of_kind(Kind.PYTHON) if file.path.endswith(".py")}
        if not sources:
            return
        problem = why_not(bundle, context.artifact, self.options.python)
        if problem:
            context.report(Finding(code="MB941", message=f"{problem}; no source was compiled"))
            return
        named_by_options = {"packages": self.options.packages, "keep": self.options.keep}
        report_unknown(named_by_options, set(sources.values()), "source", context)
        named = {path: reason for path in sources if (reason := _why_not_module(path, bundle, paths))}
        kept = self._kept_docstrings(bundle, sources, context)
        read = self._read(bundle, paths, {path: name for path, name in sources.items() if path not in named}, context)
        for path, name in sorted(sources.items()):
            target = path[:-3] + ".pyc"
            reason = named.get(path) or self._why_kept(name, read.get(path))
            if target in bundle:
                reason = f"{basename(target)} is there already"
            yield Keep(path=path, reason=reason) if reason else self._conversion(path, target, kept.get(path))

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the bytecode; raises KeptError where this Python cannot compile the source, UnsoundResultError."""
        from .compiling import compile_source

        (path,), (target,) = task.change.sources, task.change.outputs
        source = task.sources[path].read_bytes()
        kept = json.loads(task.change.key)
        data = compile_source(source, installed(path), asserts=self.options.asserts, kept=kept)
        place = task.target / target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return {}

    def remedy(self, path: str, module: str | None) -> str:
        """Return how a module's source stays."""
        return f'add "{module}" to `keep` in [tool.mlbundle.{self.name}]' if module else super().remedy(path, module)

    def _conversion(self, path: str, target: str, kept: list[str] | None) -> Convert:
        reason = f"compiled for CPython {OURS}" + (", without docstrings that nothing is known to read" if kept is not None else "")
        return Convert(path=path, reason=reason, sources=(path,), outputs=(target,), may_grow=self.options.may_grow, key=json.dumps(kept))

    def _kept_docstrings(self, bundle: Bundle, names: Mapping[str, str], context: Context) -> dict[str, list[str]]:
        """Return the definitions whose docstrings stay, for each module of which not all stay."""
        if self.options.docstrings:
            return {}
        from .readers import Readers, examine_compiled

        facts = context.examine("compiled-docstrings", [bundle[path] for path in names], examine_compiled)
        told = {path: each for path, each in facts.items() if "error" not in each}
        readers = Readers({path: name.partition(".")[0] for path, name in names.items()}, told)
        return {path: list(readers.kept_names(path)) for path in told if readers.why_kept(path) is None}

    def _why_kept(self, name: str, reader: str | None) -> str | None:
        if is_below(name, self.options.keep):
            return "the configuration keeps it"
        return None if is_below(name, self.options.packages) else reader

    def _read(self, bundle: Bundle, paths: ImportPaths, names: Mapping[str, str], context: Context) -> dict[str, str]:
        """Return why each source stays that something may read, by path."""
        tops = {path: paths.top_level(path) for path in bundle if module_of(path)}
        of_package: dict[str, list[str]] = {}
        for path, top in tops.items():
            of_package.setdefault(basename(top).partition(".")[0], []).append(path)
        below = {path: installed(path)[len(tops[path]) + 1 :] for path in names}
        modules = Sources(names=names, below=below, modules=lambda package: of_package.get(package, ()), may_read=may_read_sources)
        return why_read(bundle, modules, context)


def _why_not_module(path: str, bundle: Bundle, paths: ImportPaths) -> str | None:
    """Return why a source is not one that is only imported, or None."""
    name = basename(path)
    if name in _SCRIPTS:
        return _SCRIPTS[name]
    if not path.isprintable():
        return "its name is no text, which new files need"
    if module_of(path) is None or installed(path).partition("/")[0].endswith(".data"):
        return "it is no module that can be imported"
    folder = dirname(installed(path))
    if folder and folder != paths.root_of(path) and not any(_inits(folder, paths)):
        return "its folder is no package with an __init__, so it may be a script or data"
    return "it is executable, so it may be run by its path" if bundle[path].mode & 0o111 else None


def _inits(folder: str, paths: ImportPaths) -> Iterator[str]:
    return (each for each in paths.provided_by(folder) if basename(each).startswith("__init__."))
