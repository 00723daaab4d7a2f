"""The options of `externalize`."""

from __future__ import annotations

from dataclasses import dataclass

from hatch_mlbundle.bundles.images.model_image import ModelForm
from hatch_mlbundle.optimizer import Options, option
from hatch_mlbundle.runtime.models.descriptor import Mode
from hatch_mlbundle.schema import Glob, Size


@dataclass(frozen=True, kw_only=True)
class ExternalModel:
    """A model that leaves, or some that have the same in common."""

    path: Glob = option("Its folder or file, or a glob that matches it; a folder leaves whole, whatever is in it.", default=Glob(""))
    name: str = option("What it is called outside; by default as its folder or file.", default="")
    sources: tuple[str, ...] = option("Where it is fetched from, instead of the step's `sources`.", default=())
    mode: Mode | None = option("How it comes to the application, instead of the step's `mode`.", default=None)


@dataclass(frozen=True, kw_only=True)
class ExternalizeOptions(Options):
    """Which models leave, and how the application is to come by them."""

    mode: Mode = option(
        "How a model comes to the application: `mount` (a folder that is given when it runs), `download` (from its `sources`, at first "
        "use) or `beside` (it lies beside the artifact). Whatever it is, what is given and what lies beside are looked into first.",
        default="beside",
    )
    models: tuple[Glob, ...] = option("Globs of the models that leave; one that matches a file of a model takes all of it.", default=())
    min_size: Size | None = option(
        "Models smaller than this stay; by default 10 MB, and nothing where `models` or `model` says what leaves.", default=None
    )
    form: ModelForm = option(
        "How models are written beside the artifact: `folder`, `tar`, `image` (an OCI image with the model at `/NAME/`) or `artifact` (an "
        "OCI layout with a blob for each file).",
        default="folder",
    )
    keep: bool = option(
        "Whether models are written beside the artifact, in `NAME.models/`, also where they come from elsewhere.", default=True
    )
    mount: str = option("A folder that is looked into, when the application runs, for one by the model's name.", default="")
    sources: tuple[str, ...] = option(
        "Where models are fetched from, the first tried first: URLs of folders, or of archives that end with `.tar`, with `{name}` and "
        "`{digest}` for the model's.",
        default=(),
    )
    vendor: bool = option(
        "Whether a wheel gets the runtime that finds models, as `PACKAGE._mlbundle`, so that it need not depend on hatch-mlbundle.",
        default=False,
    )
    model: tuple[ExternalModel, ...] = option("Models that leave whatever their size, each with what it alone is to have.", default=())
