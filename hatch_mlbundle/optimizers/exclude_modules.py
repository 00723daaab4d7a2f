"""Drop modules that an inference application does without: by named sets, each proved on a real application, and by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from posixpath import dirname, join, normpath
from typing import ClassVar, Literal, TypeAlias, get_args

from hatch_mlbundle.bundles.scripts import entry_scripts, python_release
from hatch_mlbundle.closure import Closure, ModuleNeeds, is_known, used_attributes
from hatch_mlbundle.filegroups import is_metadata
from hatch_mlbundle.frozenmodules import FrozenModules
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.importtime import Needs, examine_needs
from hatch_mlbundle.model import Bundle, Change, Drop, File, Finding, Keep, Kind
from hatch_mlbundle.modulesets import SETS
from hatch_mlbundle.modulesets.diffusers import unneeded_classes
from hatch_mlbundle.modulesets.families import unneeded_models
from hatch_mlbundle.modulesets.model import ModuleSet, is_below
from hatch_mlbundle.optimizer import ArtifactKind, Context, Optimizer, Options, Risk, option
from hatch_mlbundle.testfiles import is_licence
from hatch_mlbundle.unmarshal import Unmarshaller, unmarshaller

SetName: TypeAlias = Literal[
    "test-runners",
    "build-tools",
    "notebooks",
    "compilers",
    "torch-training",
    "torch-export",
    "transformers-training",
    "transformers-models",
    "diffusers-models",
]
"""The names in `modulesets.SETS`, and the sets that depend on the models in the bundle."""

_NATIVE = (Kind.ELF, Kind.PE, Kind.MACHO)


@dataclass(frozen=True, kw_only=True)
class ExcludeModulesOptions(Options):
    """Which modules go."""

    sets: tuple[SetName, ...] = option("Named sets of modules to leave out (docs/module-sets.md).", default=get_args(SetName))
    modules: tuple[str, ...] = option("Dotted names of further modules to leave out, with all below them.", default=())
    keep: tuple[str, ...] = option("Dotted names of modules that stay whatever set they are in, with all below them.", default=())
    families: tuple[str, ...] = option(
        "Model families of transformers (folders of `transformers/models`) to keep besides those of the models in the bundle.", default=()
    )
    classes: tuple[str, ...] = option(
        "Classes of diffusers (pipelines, models, schedulers) to keep besides those that the models in the bundle name.", default=()
    )


class ExcludeModules(Optimizer[ExcludeModulesOptions]):
    """Drops modules of a frozen application by named sets, unless something that stays imports them."""

    name = "exclude_modules"
    version = "1"
    risk: ClassVar[Risk] = "medium"
    artifacts: ClassVar[tuple[ArtifactKind, ...]] = ("frozen",)
    options_type = ExcludeModulesOptions

    def remedy(self, path: str, module: str | None) -> str:
        """Say what to add to `keep`; data files, which have no module's name, are for `exclude`."""
        return f'add "{module}" to `keep` in [tool.mlbundle.{self.name}]' if module else super().remedy(path, module)

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Drop or a Keep, with its reason, for every file of a module in the sets, in the order of the paths."""
        with unmarshaller(python_release(bundle)) as quick:
            yield from self._plan(bundle, quick, context)

    def _plan(self, bundle: Bundle, quick: Unmarshaller | None, context: Context) -> Iterator[Change]:
        modules = FrozenModules(bundle)
        scripts = entry_scripts(bundle)
        needs = ModuleNeeds(bundle, modules, context, quick)
        own = self._own(bundle, modules, scripts, context)
        wanted = self._wanted_sets(own, context)
        going = self._going(modules, wanted, context)
        if "diffusers-models" in self.options.sets:
            self._add(going, unneeded_classes(bundle, modules, self.options.classes, own, context))
        if "transformers-models" in self.options.sets:
            closure = self._closure(bundle, modules, going, scripts, needs, context)
            gone = going.keys() - closure.kept.keys()
            self._add(going, unneeded_models(bundle, modules, self.options.families, own, needs.of(modules.files.keys() - gone), context))
        closure = self._closure(bundle, modules, going, scripts, needs, context)
        if closure.unread:
            path, problem = min(closure.unread.items())
            message = f"cannot be read ({problem}), so that nothing tells which modules it needs: all stay; optimize with a newer mlbundle"
            context.report(Finding(code="MB316", path=path, message=message))
            return
        yield from self._changes(bundle, modules, going, closure.kept, wanted)

    def _add(self, going: dict[str, str], more: Mapping[str, str]) -> None:
        going |= {name: why for name, why in more.items() if name not in going and not is_below(name, self.options.keep)}

    def _closure(
        self,
        bundle: Bundle,
        modules: FrozenModules,
        going: Mapping[str, str],
        scripts: list[File],
        needs: ModuleNeeds,
        context: Context,
    ) -> Closure:
        whole = {name for each in self.options.sets if each in SETS for name in SETS[each].whole}
        closure = Closure(bundle, modules, going, scripts, needs, whole)
        for path in self._linked(bundle):
            if name := modules.name(path):
                closure.keep(name, "a link points to it")
        for name in self._untouched(modules, going, context):
            closure.keep(name, "left alone by `include` and `exclude`")
        closure.trace(context)
        return closure

    def _own(self, bundle: Bundle, modules: FrozenModules, scripts: list[File], context: Context) -> dict[str, Needs]:
        """Return what the application's own modules import and mention, by path: those of no package that we know."""
        signs = sorted({sign for name in self.options.sets if name in SETS for sign in SETS[name].signs})
        paths = sorted(path for name, paths in modules.files.items() if not is_known(name) for path in paths)
        files = [*scripts, *(bundle[path] for path in paths if bundle[path].kind in (Kind.BYTECODE, Kind.PYTHON))]
        facts = context.examine(f"signs:{signs}", files, partial(examine_needs, attributes=signs))
        return {path: Needs.from_json(fact) for path, fact in facts.items()}

    def _wanted_sets(self, own: Mapping[str, Needs], context: Context) -> dict[str, ModuleSet]:
        """Return the sets but for those that the application itself shows that it uses."""
        used = used_attributes(own)
        wanted: dict[str, ModuleSet] = {}
        for name in (name for name in self.options.sets if name in SETS):
            shown = next((sign for sign in SETS[name].signs if sign in used), None)
            if shown is None:
                wanted[name] = SETS[name]
            else:
                message = (
                    f"the set {name!r} stays, because {used[shown]} uses {shown}; where it never runs that, name its modules in `modules`"
                )
                context.report(Finding(code="MB311", message=message))
        return wanted

    def _going(self, modules: FrozenModules, wanted: Mapping[str, ModuleSet], context: Context) -> dict[str, str]:
        """Return why each module goes, by its name."""
        going: dict[str, str] = {}
        for root in self.options.modules:
            below = [name for name in modules.files if is_below(name, (root,))]
            if not below:
                context.report(
                    Finding(code="MB312", message=f"no module is called {root!r}, which `modules` names; correct it, or take it out")
                )
            going |= dict.fromkeys(below, f"the configuration leaves out {root!r}")
        for set_name, each in wanted.items():
            for name in modules.files:
                if each.holds(name):
                    going.setdefault(name, f"set {set_name!r}: {each.why}")
        return {name: reason for name, reason in going.items() if not is_below(name, self.options.keep)}

    def _untouched(self, modules: FrozenModules, going: Collection[str], context: Context) -> list[str]:
        return [name for name in sorted(going) if not all(context.selects(path) for path in modules.files[name])]

    def _linked(self, bundle: Bundle) -> Iterator[str]:
        for file in bundle.of_kind(Kind.LINK):
            yield normpath(join(dirname(file.path), file.link or ""))

    def _changes(
        self, bundle: Bundle, modules: FrozenModules, going: Mapping[str, str], kept: Mapping[str, str], wanted: Mapping[str, ModuleSet]
    ) -> Iterator[Change]:
        data = _DeadFolders(modules, going, kept)
        programs = {name: matcher([f"/{modules.contents}{glob}" for glob in each.programs]) for name, each in wanted.items()}
        for path, file in sorted(bundle.items()):
            name = modules.name(path)
            if name is not None and name in kept:
                yield Keep(path=path, reason=kept[name])
            elif name is not None and name in going:
                yield Drop(path=path, reason=going[name])
            elif name is None and _is_data(file) and (why := data.why(modules.folder(path))):
                yield Drop(path=path, reason=f"data of modules of which none stays ({why})")
            elif name is None:
                yield from (
                    Drop(path=path, reason=f"set {each!r}: {wanted[each].why}") for each, matches in programs.items() if matches(path)
                )


class _DeadFolders:
    """The folders, by dotted name, in and below which no module stays although there were some."""

    def __init__(self, modules: FrozenModules, going: Mapping[str, str], kept: Mapping[str, str]) -> None:
        self._alive = {each for name in modules.files if name not in going or name in kept for each in _prefixes(name)}
        self._dead = {folder: reason for name, reason in going.items() for folder in _prefixes(name) if folder not in self._alive}

    def why(self, folder: str) -> str | None:
        """Return why the modules went whose data a folder holds, None where some stay, or there never were any."""
        nearest = next((each for each in _prefixes(folder) if each in self._alive or each in self._dead), "")
        return self._dead.get(nearest)


def _prefixes(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _is_data(file: File) -> bool:
    """Licences stay, and so do libraries, which others may be linked with."""
    return not (file.kind in _NATIVE or file.kind is Kind.LINK or is_metadata(file.path) or is_licence(file.path))
