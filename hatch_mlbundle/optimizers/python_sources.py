"""Drop the source files of modules that are in a frozen executable as bytecode, where nothing reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from hatch_mlbundle.frozenmodules import FrozenModules, archive_of
from hatch_mlbundle.model import Bundle, Change, Drop, Finding, Keep
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.modulesets.reading import Sources, has_reading_words, why_read
from hatch_mlbundle.optimizer import ArtifactKind, Context, Optimizer, Options, option


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
        read = _read(bundle, modules, sources, context)
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


def _read(bundle: Bundle, modules: FrozenModules, sources: Mapping[str, str], context: Context) -> dict[str, str]:
    """Return why each source stays, by path."""
    below = {path: path[len(f"{modules.contents}{name.partition('.')[0]}/") :] for path, name in sources.items()}

    def paths_of(package: str) -> list[str]:
        return [path for name, paths in modules.files.items() if is_below(name, (package,)) for path in paths]

    return why_read(bundle, Sources(names=sources, below=below, modules=paths_of, may_read=has_reading_words), context)


def _source_beside_bytecode(path: str, modules: FrozenModules) -> str | None:
    """Return the module of a source file that is in every executable which has any of its package."""
    name = modules.name(path)
    if name is None or not path.endswith((".py", ".pyw")) or archive_of(path):
        return None
    holding = {archive_of(other) for other in modules.files[name]} - {None}
    return name if holding and holding == modules.holders(name) else None
