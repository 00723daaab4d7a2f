"""Take models out of a bundle: what stays is a descriptor, by which the runtime finds them again (docs/models-outside.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from hatch_mlbundle.bundles.images.model_image import model_archive
from hatch_mlbundle.errors import ConfigurationError, KeptError, ModelError
from hatch_mlbundle.model import Bundle, Change, File, Finding, Keep, Leave, Tell
from hatch_mlbundle.models.external import BundledModel
from hatch_mlbundle.models.left_models import Descriptors, entry, kept_text, model_of
from hatch_mlbundle.optimizer import ArtifactKind, Context, Optimizer, Risk
from hatch_mlbundle.optimizers.external_choice import Choice, Chosen
from hatch_mlbundle.optimizers.external_faults import option_faults
from hatch_mlbundle.optimizers.external_findings import usage_findings
from hatch_mlbundle.optimizers.external_options import ExternalizeOptions
from hatch_mlbundle.optimizers.vendored_runtime import PACKAGE, vendored_files
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Model


class Externalize(Optimizer[ExternalizeOptions]):
    """Takes models out of the bundle, whole and unchanged; a descriptor says what left, and where it is found (docs/models-outside.md)."""

    name = "externalize"
    version = "1"
    lossless = True
    risk: ClassVar[Risk] = "high"
    artifacts: ClassVar[tuple[ArtifactKind, ...]] = ("wheel", "folder", "frozen", "image")
    options_type = ExternalizeOptions

    def inputs(self, project: object) -> Mapping[str, str]:
        """Return nothing; raises ConfigurationError for options that do not fit together, before any work."""
        faults = option_faults(self.options, f"tool.mlbundle.{self.name}")
        if faults:
            raise ConfigurationError(faults)
        return {}

    def remedy(self, path: str, module: str | None) -> str:
        """Return what to do where a file of a model is missed."""
        return f"{super().remedy(path, module)}, or load its model by hatch_mlbundle.runtime.model_path (docs/models-outside.md)"

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Leave for each model, a Keep, with its reason, for each that has to stay, and a Tell for each descriptor."""
        choice = Choice(bundle=bundle, context=context, options=self.options)
        entries: defaultdict[str, dict[str, tuple[Chosen, Model]]] = defaultdict(dict)
        chosen = choice.models()
        for each in chosen:
            try:
                root = choice.root(each, [other.model.path for other in chosen])
                entries[root][each.model.name] = each, self._entry(each, root)
            except (KeptError, ModelError) as error:
                code = "MB906" if each.lacks_sources else "MB902"
                context.report(Finding(code=code, path=each.model.path, message=f"{error}; it stays"))
                yield Keep(path=_main(each.model).path, reason=str(error))
            else:
                yield self._leave(each.model)
        for root, models in sorted(entries.items()):
            yield from self._telling(root, models, choice.descriptors)
        if any(entries.values()):
            for finding in usage_findings(bundle, context.artifact, vendored=self.options.vendor):
                context.report(finding)

    def _leave(self, model: BundledModel) -> Leave:
        form = self.options.form if self.options.keep else None
        return Leave(
            path=_main(model).path,
            reason=f"model {model.name!r} leaves the bundle" + ("" if form else ", and is not written beside it"),
            paths=(*(file.path for file in model.files), *model.hidden),
            name=model.name,
            place=model.path,
            is_file=model.is_file,
            files=model.files,
            form=form,
        )

    def _telling(self, root: str, entries: Mapping[str, tuple[Chosen, Model]], descriptors: Descriptors) -> Iterable[Tell]:
        yield Tell(
            path=_inside(root, FILE_NAME),
            reason="tells of the models that left",
            render=partial(self._text, root, entries, descriptors.models(root)),
        )
        if self.options.vendor:
            for name, data in vendored_files().items():
                reason = "the runtime that finds models, for applications without hatch-mlbundle"
                yield Tell(path=_inside(root, f"{PACKAGE}/{name}"), reason=reason, render=partial(_if_any, data))

    def _text(
        self, root: str, entries: Mapping[str, tuple[Chosen, Model]], earlier: Sequence[Model], leaves: Collection[Leave]
    ) -> bytes | None:
        """Return a descriptor that tells of models with the files that they left with, which may be others than were planned with."""
        left = []
        for leave in leaves:
            if leave.name in entries:
                chosen, planned = entries[leave.name]
                is_planned = leave.files == chosen.model.files
                left.append(planned if is_planned else self._entry(replace(chosen, model=model_of(leave)), root))
        return kept_text(earlier, left)

    def _entry(self, chosen: Chosen, root: str) -> Model:
        archive = model_archive(chosen.model) if any(source.endswith(".tar") for source in chosen.sources) else None
        return entry(chosen.model, root, mode=chosen.mode, sources=chosen.sources, archive=archive, mount=self.options.mount)


def _main(model: BundledModel) -> File:
    """Return the file that a person looks at to see what became of a model."""
    return max(model.files, key=lambda file: (file.size, file.path))


def _inside(root: str, name: str) -> str:
    return f"{root}/{name}" if root else name


def _if_any(data: bytes, leaves: Collection[Leave]) -> bytes | None:
    return data if leaves else None
