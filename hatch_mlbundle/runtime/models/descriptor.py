"""`mlbundle.models.json`: what is known of the models that left an application (docs/models-outside.md, "The descriptor")."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from .errors import ModelFileError

FILE_NAME = "mlbundle.models.json"
FORMAT = "mlbundle-models"
FORMAT_VERSION = "1.0"
"""Major and minor: a new minor adds keys, a new major changes what there is."""

Mode: TypeAlias = Literal["mount", "download", "beside"]
"""How a model is to come to the application: a folder that is given when it runs, by its sources at first use, or beside the artifact."""

_MODES = ("mount", "download", "beside")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f\\\ud800-\udfff]+")
"""What a path or a URL is made of: no control characters, nothing that is no UTF-8, and no `\\`, which separates on Windows."""
_DRIVE = re.compile("[A-Za-z]:")
_SHA256 = re.compile("[0-9a-f]{64}")
_VERSION = re.compile("[0-9]{1,9}[.][0-9]{1,9}")


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
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where}: is no JSON ({error}); get the application anew") from error
    top = _Table(data, f"{where}: ")
    if top.get("format", str) != FORMAT:
        raise top.fault("format", f"is not '{FORMAT}'")
    version = top.get("version", str)
    if not _VERSION.fullmatch(version) or version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        raise ModelFileError(f"{where}: is of version {version!r}, this release reads {FORMAT_VERSION}; install a newer hatch-mlbundle")
    models = tuple(_model(_Table(row, f"{where}: models[{number}].")) for number, row in enumerate(top.get("models", list)))
    twice = _clash([model.name for model in models])
    if twice is not None:
        raise top.fault("models", f"has {twice!r} twice")
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


class _Table:
    """An object of the JSON text, and where it is, as keys follow it; raises ModelFileError where a key is not what it should be."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ModelFileError(f"{where.rstrip('.: ')}: is no object; get the application anew")
        self._value = value
        self.where = where

    def fault(self, key: str, problem: str) -> ModelFileError:
        return ModelFileError(f"{self.where}{key}: {problem}; get the application anew")

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        value = self._value.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fault(key, "is missing" if value is None else f"is no {kind.__name__}")
        return value

    def path(self, key: str, *, is_name: bool = False) -> str:
        """Return a relative path that leads to below where it starts; a name is one without `/`."""
        value: str = self.get(key, str)
        parts = value.split("/")
        leads_out = not {"", ".", ".."}.isdisjoint(parts) or _DRIVE.match(value) or (os.name == "nt" and ":" in value)
        if leads_out or not _PLAIN.fullmatch(value) or (is_name and len(parts) > 1):
            raise self.fault(key, f"{value!r} is no {'file name' if is_name else 'path within a folder'}")
        return value

    def sources(self) -> tuple[str, ...]:
        values = self.get("sources", list, [])
        if not all(isinstance(value, str) and _PLAIN.fullmatch(value) for value in values):
            raise self.fault("sources", "is no list of URLs")
        return tuple(values)


def _model(table: _Table) -> Model:
    name = table.path("name", is_name=True)
    table.where = f"{table.where[:-1]} ({name})."
    mode, is_file, archive = table.get("mode", str), table.get("is_file", bool), table.get("archive", object)
    if mode not in _MODES:
        raise table.fault("mode", f"{mode!r} is none of {', '.join(_MODES)}")
    files = tuple(_file(_Table(row, f"{table.where}files[{number}].")) for number, row in enumerate(table.get("files", list)))
    twice = _clash([file.path for file in files])
    if twice is not None or not files:
        raise table.fault("files", f"has {twice!r} twice, or as a folder, too" if files else "is empty")
    if is_file and (len(files) != 1 or "/" in files[0].path):
        raise table.fault("is_file", "is true, and there is more than one file")
    return Model(
        name=name,
        path=table.path("path"),
        mode=mode,
        is_file=is_file,
        files=files,
        sources=table.sources(),
        archive=None if archive is None else _file(_Table(archive, f"{table.where}archive.")),
        mount=table.get("mount", str, ""),
    )


def _file(table: _Table) -> ModelFile:
    path, size, sha256 = table.path("path"), table.get("size", int), table.get("sha256", str)
    if size < 0:
        raise table.fault("size", "is negative")
    if not _SHA256.fullmatch(sha256):
        raise table.fault("sha256", "is no SHA-256 in lower-case hex")
    return ModelFile(path=path, size=size, sha256=sha256, sources=table.sources())


def _clash(paths: Sequence[str]) -> str | None:
    """Return a path that is there twice, or that is a folder of another one; None for none."""
    taken = Counter(paths)
    taken.update({"/".join(parts[:end]) for parts in (path.split("/") for path in paths) for end in range(1, len(parts))})
    return next((path for path in paths if taken[path] > 1), None)
