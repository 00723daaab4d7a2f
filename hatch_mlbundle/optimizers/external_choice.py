"""Which models leave a bundle, under which names, and why some have to stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from posixpath import dirname

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.links import resolve, target_of
from hatch_mlbundle.model import Bundle, Finding
from hatch_mlbundle.models.external import BundledModel, find_models, folder_model, named
from hatch_mlbundle.models.left_models import Descriptors
from hatch_mlbundle.models.weight_files import is_weights
from hatch_mlbundle.optimizer import Context
from hatch_mlbundle.optimizers.external_options import ExternalizeOptions, ExternalModel
from hatch_mlbundle.runtime.models.descriptor import Mode
from hatch_mlbundle.schema import Glob

_WILD = re.compile(r"[*?\[\]!\\]")
DEFAULT_SIZE = 10 * 10**6
"""Bytes from which on a model leaves where nothing is said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model that is to leave, and how the application is to come by it."""

    model: BundledModel
    mode: Mode
    sources: tuple[str, ...]

    @property
    def lacks_sources(self) -> bool:
        """Whether it is to be fetched, and nobody knows from where."""
        return self.mode == "download" and not self.sources


@dataclass(kw_only=True)
class Choice:
    """What the options choose of a bundle; what chooses nothing is reported."""

    bundle: Bundle
    context: Context
    options: ExternalizeOptions
    _tables: dict[str, ExternalModel] = field(default_factory=dict)

    def models(self) -> list[Chosen]:
        """Return the models that are to leave, sorted by path, each under its name."""
        found = find_models(self.bundle)
        tabled = [model for table in self.options.model for model in self._of_table(table, found)]
        free = [model for model in found if not any(_overlap(model, other) for other in tabled)]
        chosen = [*tabled, *self._by_options(free)]
        unnamed = [replace(model, name=self._given_name(model)) for model in chosen if self._is_wanted(model)]
        self._report_stuck([*found, *chosen])
        return [self._with_options(model) for model in named(unnamed, self.descriptors.known())]

    def root(self, chosen: Chosen, leaving: Sequence[str]) -> str:
        """Return the folder whose descriptor is to tell of a model, one of those at the paths `leaving`.

        Raises KeptError where the model has to stay, ModelError where the descriptor that is there cannot be believed.
        """
        model = chosen.model
        root = self.descriptors.root_of(model.path, leaving)
        if root is None:
            raise KeptError("it lies in no package, so that an installed application could not find its descriptor")
        if chosen.lacks_sources:
            raise KeptError("there are no `sources` to download it from; give it some in [[tool.mlbundle.externalize.model]]")
        if why := self._why_not_whole(model):
            raise KeptError(why)
        self.descriptors.models(root)
        return root

    def _why_not_whole(self, model: BundledModel) -> str | None:
        """Return why a model cannot leave with all its files, None where it can."""
        paths = {*(file.path for file in model.files), *model.hidden}
        if spared := next((path for path in sorted(paths) if not self.context.selects(path)), None):
            return f"`include` and `exclude` spare {spared} of it, and it leaves whole or not at all"
        if stray := next((file.path for file in model.files if file.link is not None), None):
            return f"{stray} is a link that leads to no file of the bundle"
        if link := next((link for link, ends in self._links.items() if link not in paths and _hits(ends, model, paths)), None):
            return f"{link} links to it, and would lead nowhere"
        return None

    @cached_property
    def descriptors(self) -> Descriptors:
        """The descriptors that the bundle has."""
        return Descriptors(self.bundle, self.context.artifact)

    @cached_property
    def _links(self) -> dict[str, tuple[str, str]]:
        """Where each link of the bundle leads: at once, and in the end."""
        links = [file for file in self.bundle.values() if file.link is not None]
        return {file.path: (target_of(file), end.path if (end := resolve(self.bundle, file.path)) else "") for file in links}

    def _of_table(self, table: ExternalModel, found: Sequence[BundledModel]) -> Iterator[BundledModel]:
        models = list(self._matching(self._in_place(table.path), found))
        if not models:
            self._report_idle(table.path, "model.path {!r}")
        if table.name and len(models) > 1:
            message = f"`name` {table.name!r} is for one model, and {table.path!r} matches {len(models)}; they have names of their own"
            self.context.report(Finding(code="MB901", message=message))
            table = replace(table, name="")
        for model in models:
            if model.path not in self._tables and not any(path.startswith(f"{model.path}/") for path in self._tables):
                self._tables[model.path] = table
                yield model

    def _in_place(self, glob: Glob) -> Glob:
        """Return a glob as it is written for the bundle: in a frozen application, the same as for the wheel of its packages."""
        contents, negated = self.descriptors.contents, glob.startswith("!")
        plain = glob[negated:]
        if not contents or "/" not in plain.rstrip("/") or any(map(matcher([plain]), self.bundle)):
            return glob
        return Glob(f"{'!' * negated}{contents}/{plain.lstrip('/')}")

    def _matching(self, glob: Glob, found: Sequence[BundledModel]) -> Iterator[BundledModel]:
        """Yield what a glob chooses: models; else the folder or file of that very name, or the files that match."""
        matches = matcher([glob])
        models = [model for model in found if any(matches(file.path) for file in model.files)]
        path = glob.strip("/")
        exact = None if _WILD.search(glob) or not path else folder_model(self.bundle, path)
        if exact and all(model.path.startswith(f"{path}/") for model in models) and (len(models) != 1 or not exact.is_file):
            yield exact
        elif models:
            yield from models
        else:
            for each in sorted(filter(matches, self.bundle)):
                if single := folder_model(self.bundle, each):
                    yield single

    def _by_options(self, found: Sequence[BundledModel]) -> Iterator[BundledModel]:
        options = self.options
        if options.models:
            yield from self._by_globs(found)
        elif options.min_size is not None or not options.model:
            yield from found

    def _by_globs(self, found: Sequence[BundledModel]) -> Iterator[BundledModel]:
        globs = {glob: self._in_place(glob) for glob in self.options.models}
        matches = matcher(list(globs.values()))
        taken = {model.path for model in found if any(matches(file.path) for file in model.files)}
        yield from (model for model in found if model.path in taken)
        for written, glob in globs.items():
            alone = matcher([glob])
            if glob.startswith("!") or any(alone(file.path) for model in found for file in model.files):
                continue
            others = [model for model in self._matching(glob, []) if model.path not in taken]
            taken |= {model.path for model in others}
            yield from others
            if not others and not any(map(alone, self.bundle)):
                self._report_idle(written, "the glob {!r} in `models`")

    def _is_wanted(self, model: BundledModel) -> bool:
        """Say whether a model is large enough, and not all of it to be spared."""
        if not any(self.context.selects(file.path) for file in model.files):
            return False
        size = self.options.min_size
        least = size if size is not None else 0 if self.options.models or self.options.model else DEFAULT_SIZE
        return model.path in self._tables or model.size >= least

    def _given_name(self, model: BundledModel) -> str:
        table = self._tables.get(model.path)
        return table.name if table else ""

    def _with_options(self, model: BundledModel) -> Chosen:
        table = self._tables.get(model.path, ExternalModel())
        return Chosen(model=model, mode=table.mode or self.options.mode, sources=table.sources or self.options.sources)

    def _report_idle(self, glob: Glob, what: str) -> None:
        """Report a glob that chooses nothing, unless what it chose had left before."""
        places = [glob, f"{self.descriptors.contents}/{glob.lstrip('/')}"] if self.descriptors.contents else [glob]
        if not any(map(matcher(places), self.descriptors.gone())):
            self.context.report(Finding(code="MB901", message=f"{what.format(glob)} matches nothing; correct it, or take it out"))

    def _report_stuck(self, models: Sequence[BundledModel]) -> None:
        """Report large weights that go with others in a folder that is no model's: what leaves is a folder or a file."""
        if self.options.models or self.options.model:
            return
        known = {file.path for model in models for file in model.files}
        known |= {path for model in models for path in model.hidden}
        size = DEFAULT_SIZE if self.options.min_size is None else self.options.min_size
        for path, file in sorted(self.bundle.items()):
            if path not in known and file.size >= size and self.context.selects(path) and is_weights(file):
                message = (
                    f"goes with other files in {dirname(path) or 'the root'}, where more than a model lies; give it a folder of its own"
                )
                self.context.report(Finding(code="MB902", path=path, message=f"{message}, so that it can leave; it stays"))


def _overlap(one: BundledModel, other: BundledModel) -> bool:
    return one.path == other.path or one.path.startswith(f"{other.path}/") or other.path.startswith(f"{one.path}/")


def _hits(ends: tuple[str, str], model: BundledModel, paths: set[str]) -> bool:
    at_once, finally_ = ends
    return finally_ in paths or at_once == model.path or at_once.startswith(f"{model.path}/")
