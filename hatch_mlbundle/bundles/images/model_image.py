"""A model as an image of its own: to be mounted (Kubernetes image volumes), copied from (COPY --from), or fetched blob by blob."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Literal, TypeAlias

from hatch_mlbundle.models.external import BundledModel

ModelForm: TypeAlias = Literal["folder", "tar", "image", "artifact"]
"""How a model lies beside an artifact: a folder; a tar file; an OCI layout of an image with one layer that has the model at `/NAME/`; an
OCI layout with a blob for each file, titled by `org.opencontainers.image.title`, as `oras push` lays them out.
"""


def write_model(model: BundledModel, form: ModelForm, target: Path, pool: Executor | None = None) -> None:
    """Write a model to `target`, which is free, in any of the forms; the same model gives the same bytes. Raises StorageError."""
    raise NotImplementedError
