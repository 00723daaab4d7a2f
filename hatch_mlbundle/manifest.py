"""The size manifest: what was done to an artifact, and where every byte of it was and is. docs/manifest.md describes the JSON.

Nothing in it depends on time, place or machine: the same input, configuration and tools give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from .atomic import make_folder, replace_atomically
from .decode import decode, foreign_version
from .errors import ManifestError
from .json_rows import document_text, line, rows
from .model import Finding
from .printable import printable
from .removable import RemovableRow

FORMAT = "mlbundle-manifest"
FORMAT_VERSION = "1.5"
"""Major and minor: a new minor adds keys, a new major changes what there is."""

SUFFIX = ".mlbundle.json"
"""What is appended to an artifact's file name to name its manifest."""

COMPANIONS = ".companions"
"""What is appended to an artifact's file name to name the folder of files that belong beside it (debug data, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Bytes saved, negative where something grew; `compressed` is None where the artifact compresses nothing."""

    installed: int
    compressed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """An artifact's sizes in bytes: `size` is its own, `installed` that of its files; `structure` bytes belong to no file.

    `sha256` is None where the files were only looked at, not hashed.
    """

    size: int
    installed: int
    structure: int
    files: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow:
    """The artifact's file name and kind, and its sizes before and after."""

    name: str
    kind: str
    before: Totals
    after: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRow:
    """A program or library whose release decides the result."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """An optimizer that ran, with all its options, the number of files by what became of them, and the bytes it saved."""

    optimizer: str
    distribution: str
    version: str
    lossless: bool
    options: Mapping[str, Any]
    changes: Mapping[str, int]
    saved: Saved


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """A file at one moment: bytes installed, bytes in the artifact (None in a folder), SHA-256 in hex (None where it was not hashed)."""

    size: int
    compressed: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """What one step (its position in `steps`; None for the writing of the artifact itself) did to a file, why, and what it saved."""

    step: int | None
    action: str
    reason: str
    saved: Saved


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One file: `before` is None where it was added, `after` where it was dropped."""

    path: str
    kind: str
    owner: str
    before: FileState | None
    after: FileState | None
    changes: tuple[ChangeRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionRow:
    """A file that belongs beside the artifact, by its path in the companions' folder.

    Of a `model` that left, the path is that in the models' folder.
    """

    path: str
    size: int
    sha256: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRow:
    """A file that the finished folder was packed into: its name, its format (`one-file`, `tar.zst`, ...), bytes, SHA-256 in hex."""

    name: str
    format: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailRow:
    """How a step (its position in `steps`) made a file anew, in its own words: what `tensors` lists is described in docs/manifest.md."""

    step: int
    path: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer of a container image, from the lowest on: the digest and number of its stored bytes, and the instruction that made it.

    `installed` and `compressed` are bytes of its `files` that a container sees, unpacked and as stored; the `hidden` ones those
    of files that this or a later layer hides; the `repeated` ones those of files whose very bytes a lower layer, or a file before
    them, has as well.
    """

    digest: str
    created_by: str
    size: int
    files: int
    installed: int
    compressed: int
    hidden_installed: int
    hidden_compressed: int
    repeated_installed: int = 0
    repeated_compressed: int = 0


ComponentKind: TypeAlias = Literal["system", "python", "package", "cuda", "model", "cache", "application"]
"""Packages of the distribution; Python itself; packages of Python; NVIDIA's libraries; models; what programs keep to be faster; the rest"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRow:
    """A part of a container image as a person would name it, with its version where that is known; bytes that a container sees.

    `detail` is what else there is to say: GPU architectures, the format of a model, the place of a cache. `layers` are the numbers, from 1,
    of the layers that have files of it.
    """

    name: str
    kind: ComponentKind
    version: str
    detail: str
    files: int
    installed: int
    compressed: int
    layers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRow:
    """Lines to write: into the file `where` (`Dockerfile`, `.dockerignore`, `compose.yaml`, `pod.yaml`), or to run (`sh`)."""

    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceRow:
    """What could be done about a container image: what it saves by itself, and what of that no option before it saves.

    `pros` and `cons` are sentences; `edits` the exact change.
    """

    name: str
    title: str
    saved: Saved
    adds: Saved
    files: int
    pros: tuple[str, ...]
    cons: tuple[str, ...]
    edits: tuple[EditRow, ...]


View: TypeAlias = Literal["sections", "gpu", "tensors"]
"""How a file's inside is told: a binary by its sections, its GPU code by architecture, a model by the dtypes of its tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsRow:
    """What a file is made of after all steps: bytes by the name of the part, the largest first.

    The parts of `sections` and `tensors` add up to the file's size; those of `gpu` to what GPU code takes of it. Names in parentheses
    stand for what no part claims: `(headers)`, `(padding)`, `(other)`.
    """

    path: str
    view: View
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionRow:
    """What a step that was not run would save by itself, in `files` files, and the lines of TOML that add it.

    What several suggestions save may be the same bytes. `saved.compressed` is None where that cannot be told beforehand.
    """

    optimizer: str
    lossless: bool
    files: int
    saved: Saved
    configuration: str


BudgetStatus: TypeAlias = Literal["ok", "over", "overridden", "unmeasured"]
"""What became of a limit; `overridden` is over, with a written reason; `unmeasured` where there was nothing to hold it against."""

Unit: TypeAlias = Literal["bytes", "files", "percent", "seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """A limit of [tool.mlbundle.budget]: its name, what it allows, what there is, and the reason written for overriding it.

    Times and memory differ from run to run: in a manifest `actual` is None for them, and their `status` is "unmeasured".
    """

    limit: str
    unit: Unit
    allowed: float
    actual: float | None
    status: BudgetStatus
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole. `remainder` is what was saved outside the steps: RECORD, and headers of the archive."""

    generator: str
    artifact: ArtifactRow
    tools: tuple[ToolRow, ...]
    configuration: Mapping[str, Any]
    steps: tuple[StepRow, ...]
    remainder: Saved
    files: tuple[FileRow, ...]
    companions: tuple[CompanionRow, ...]
    findings: tuple[Finding, ...]
    packed: tuple[PackedRow, ...] = ()
    details: tuple[DetailRow, ...] = ()
    contents: tuple[ContentsRow, ...] = ()
    suggestions: tuple[SuggestionRow, ...] = ()
    budget: tuple[BudgetRow, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    components: tuple[ComponentRow, ...] = ()
    advice: tuple[AdviceRow, ...] = ()
    removable: tuple[RemovableRow, ...] = ()

    @property
    def compresses(self) -> bool:
        """Whether the artifact is one file with sizes of its own, a wheel, a one-file executable; a folder compresses nothing."""
        return self.remainder.compressed is not None

    def to_json(self) -> str:
        """Return the manifest's JSON text: one line for each file, so that two of them compare well. Any UTF-8 stream takes it."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        parts = {**head, **{field.name: getattr(self, field.name) for field in fields(self)}}
        return document_text({key: _text(key, value) for key, value in parts.items()})

    def save(self, path: Path) -> None:
        """Write the JSON to `path`, whole or not at all; raises StorageError."""
        make_folder(path.parent)
        with replace_atomically(path) as stream:
            stream.write(self.to_json().encode())

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "manifest") -> Manifest:
        """Return the manifest of a JSON text; raises ManifestError, also for a major version other than ours."""
        manifest = decode(cls, _document(text, where), where)
        changes = (change.step for row in manifest.files for change in row.changes if change.step is not None)
        for step in (*changes, *(row.step for row in manifest.details)):
            if not 0 <= step < len(manifest.steps):
                raise ManifestError(f"{where}: speaks of step {step}, but has {len(manifest.steps)} steps")
        return manifest

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Return the manifest in a file; raises ManifestError."""
        return cls.from_json(_read(path), printable(str(path)))


def load_artifact(path: Path) -> ArtifactRow:
    """Return what the manifest in a file says of the artifact as a whole, without its thousands of files; raises ManifestError."""
    return decode(ArtifactRow, _document(_read(path), printable(str(path))).get("artifact"), f"{printable(str(path))}: artifact")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{printable(str(path))}: cannot be read ({error.strerror})") from error


def _document(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is no JSON ({error}); make it anew with `mlbundle optimize`") from error
    _check_format(document, where)
    return document  # type: ignore[no-any-return]


def _check_format(document: object, where: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(f'{where}: is no size manifest (it lacks "format": "{FORMAT}")')
    if problem := foreign_version(document, FORMAT_VERSION):
        raise ManifestError(f"{where}: {problem}")


def _plain(value: Any) -> Any:
    """Return what json can write; `dataclasses.asdict` would copy every leaf of a manifest of many thousand rows."""
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _text(key: str, value: Any) -> str:
    if key in ("files", "details", "contents", "layers", "components", "removable"):
        write = _detail_text if key == "details" else line
        return rows(write(_plain(row)) for row in value)
    return json.dumps(_plain(value), indent=2, ensure_ascii=False).replace("\n", "\n  ")


def _detail_text(row: Mapping[str, Any]) -> str:
    """Return a detail with a line for each of its keys, and for each object of a list: a tensor, a trial."""
    keys = ",\n".join(f"      {line(key)}: {_table(value)}" for key, value in row["detail"].items())
    opened = f"{{\n{keys}\n    }}" if keys else "{}"
    return f'{{"step": {line(row["step"])}, "path": {line(row["path"])}, "detail": {opened}}}'


def _table(value: Any) -> str:
    if not (isinstance(value, list | tuple) and value and all(isinstance(each, Mapping) for each in value)):
        return line(value)
    lines = ",\n".join(f"        {line(each)}" for each in value)
    return f"[\n{lines}\n      ]"
