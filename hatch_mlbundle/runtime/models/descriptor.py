"""`mlbundle.models.json`: what is known of the models that left an application (docs/models-outside.md, "The descriptor")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

FILE_NAME = "mlbundle.models.json"
FORMAT = "mlbundle-models"
FORMAT_VERSION = "1.0"
"""Major and minor: a new minor adds keys, a new major changes what there is."""

Mode: TypeAlias = Literal["mount", "download", "beside"]
"""How a model is to come to the application: a folder that is given when it runs, by its sources at first use, or beside the artifact."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file of a model: its path in the model, with `/`; bytes; SHA-256 in hex; and URLs of its own, tried before the model's."""

    path: str
    size: int
    sha256: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that left: `path` is where it was, from the descriptor's own folder, with `/`.

    Where `is_file`, the model is the only one of its `files`. `sources` are URLs, the first tried first (transports.py): a folder (ends
    with `/`, or of a scheme that has folders), or an `archive` (ends with `.tar`): a tar file of the model, whose paths begin with
    `NAME/`. `mount` is the folder that is looked into for a folder of the model's name, empty for none.
    """

    name: str
    path: str
    mode: Mode
    is_file: bool
    files: tuple[ModelFile, ...]
    sources: tuple[str, ...] = ()
    archive: ModelFile | None = None
    mount: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 in hex that tells these files from any others: of the lines `SHA256  PATH\\n`, sorted by path in code points."""
        raise NotImplementedError


def parse(text: str | bytes, where: str) -> tuple[Model, ...]:
    """Return the models of a descriptor's text; raises ModelFileError, also for paths that lead out, names that are no file name."""
    raise NotImplementedError


def text_of(models: Sequence[Model]) -> str:
    """Return the descriptor's text: the same models, in any order, give the same bytes."""
    raise NotImplementedError
