"""`mlbundle.models.json`: what is known of the models that left an application (docs/models-outside.md, "The descriptor")."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from ..json_table import Table
from .errors import ModelFileError

FILE_NAME = "mlbundle.models.json"
FORMAT = "mlbundle-models"
FORMAT_VERSION = "1.0"
"""Major and minor: a new minor adds keys, a new major changes what there is."""

Mode: TypeAlias = Literal["mount", "download", "beside"]
"""How a model is to come to the application: a folder that is given when it runs, by its sources at first use, or beside the artifact."""

_MODES = ("mount", "download", "beside")
_KNOWN = re.compile("1[.][0-9]{1,9}")
"""The versions that this release reads."""
_SHA256 = re.compile("[0-9a-f]{64}")


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
        lines = (f"{file.sha256}  {file.path}\n" for file in sorted(self.files, key=lambda file: file.path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def parse(text: str | bytes, where: str) -> tuple[Model, ...]:
    """Return the models of a descriptor's text; raises ModelFileError, also for paths that lead out, names that are no file name."""
    try:
        top = Table(json.loads(text))
        if top.get("format", str) != FORMAT:
            raise top.fault("format", f"is not '{FORMAT}'")
        version = top.get("version", str)
        if not _KNOWN.fullmatch(version):
            raise top.fault("version", f"is {version!r}, this release reads {FORMAT_VERSION}: install a newer hatch-mlbundle")
        models = tuple(map(_model, top.tables("models")))
        _check_apart([model.name for model in models], top, "models")
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where}: tells of no models that can be read ({error}); get the application anew") from error
    return models


def text_of(models: Sequence[Model]) -> str:
    """Return the descriptor's text: the same models, in any order, give the same bytes; raises ModelFileError as `parse` would."""
    ordered = [replace(model, files=tuple(sorted(model.files, key=lambda file: file.path))) for model in models]
    rows = [asdict(model, dict_factory=_row) for model in sorted(ordered, key=lambda model: model.name)]
    text = json.dumps({"format": FORMAT, "version": FORMAT_VERSION, "models": rows}, indent=2, ensure_ascii=False) + "\n"
    parse(text, FILE_NAME)
    return text


def _row(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if value not in ("", (), None)}


def _model(table: Table) -> Model:
    mode, is_file, archive = table.get("mode", str), table.get("is_file", bool), table.table("archive")
    if mode not in _MODES:
        raise table.fault("mode", f"{mode!r} is none of {', '.join(_MODES)}")
    files = tuple(map(_file, table.tables("files")))
    _check_apart([file.path for file in files], table, "files")
    if not files or (is_file and (len(files) > 1 or "/" in files[0].path)):
        raise table.fault("files", "is not one file" if is_file else "is empty")
    whole = _file(archive) if archive else None
    if whole and any(file.sha256 == whole.sha256 for file in files):  # who holds the one would wait for the other
        raise table.fault("archive", "has the SHA-256 of one of the files")
    return Model(
        name=table.name("name"),
        path=table.path("path"),
        mode=mode,
        is_file=is_file,
        files=files,
        sources=table.lines("sources"),
        archive=whole,
        mount=table.line("mount"),
    )


def _file(table: Table) -> ModelFile:
    size, sha256 = table.get("size", int), table.get("sha256", str)
    if size < 0:
        raise table.fault("size", "is negative")
    if not _SHA256.fullmatch(sha256):
        raise table.fault("sha256", "is no SHA-256 in lower-case hex")
    return ModelFile(path=table.path("path"), size=size, sha256=sha256, sources=table.lines("sources"))


def _check_apart(paths: Sequence[str], table: Table, key: str) -> None:
    """Refuse a path that is there twice, or that is a folder of another one."""
    last = [""]
    for parts in sorted(path.split("/") for path in paths):  # what is below a path comes right after it
        if parts[: len(last)] == last:
            raise table.fault(key, f"has {'/'.join(last)!r} twice, or as a folder, too")
        last = parts
