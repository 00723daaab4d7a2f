"""The statement in a bundle of the GPU code that was taken out of its libraries (docs/gpu-statement.md).

Nothing in it depends on time, place or machine. What runs in the bundle reads it, too (runtime/gpu/statements.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from hatch_mlbundle.binaries.gpu_coverage import Span, capability, is_in, united
from hatch_mlbundle.decode import decode, foreign_version
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.runtime.gpu.statements import FORMAT, FORMAT_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a step says of a library that it took GPU code out of.

    `targets` are the compute capabilities that code was kept for, `ptx` says which PTX was; `kept` and `dropped` are bytes by nvcc's names
    of architectures; `lost` are the GPUs for which code of one container at least is gone.
    """

    targets: tuple[str, ...]
    ptx: str
    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    lost: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What a statement says of a library at `path` (base_of): its bytes, and all that was ever taken out of it, as in Pruned."""

    path: str
    size: int
    targets: tuple[str, ...]
    ptx: str
    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    lost: tuple[Span, ...]

    def pruned_again(self, pruned: Pruned) -> Library:
        """Return what is to be said once more was taken out: for each target of any time for which nothing was lost."""
        lost = united((*self.lost, *pruned.lost))
        targets = sorted({*self.targets, *pruned.targets}, key=capability)
        dropped = {name: self.dropped.get(name, 0) + pruned.dropped.get(name, 0) for name in sorted({*self.dropped, *pruned.dropped})}
        return replace(
            self,
            targets=tuple(each for each in targets if not is_in(capability(each), lost)),
            ptx=pruned.ptx,
            kept=dict(sorted(pruned.kept.items())),
            dropped=dropped,
            lost=lost,
        )


_SaidT = TypeVar("_SaidT", Pruned, Library)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    libraries: tuple[Library, ...]


def first_told(path: str, size: int, pruned: Pruned) -> Library:
    """Return what is to be said of a library of which nothing was taken out before."""
    nothing = Library(path=path, size=size, targets=(), ptx=pruned.ptx, kept={}, dropped={}, lost=())
    return nothing.pruned_again(pruned)


def pruned_by(detail: Mapping[str, Any], where: str) -> Pruned:
    """Return what a step's Detail says; raises ManifestError where it does not say it."""
    return _checked(decode(Pruned, detail, where), where)


def read_statement(data: bytes, where: str) -> tuple[Library, ...]:
    """Return what a statement says; raises ManifestError for what is none, also for a major version other than ours."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is no JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(f'{where}: says nothing of GPU code (it lacks "format": "{FORMAT}")')
    if problem := foreign_version(document, FORMAT_VERSION):
        raise ManifestError(f"{where}: {problem}")
    return tuple(_checked(each, where) for each in decode(_Document, document, where).libraries)


def statement_text(libraries: Iterable[Library]) -> bytes:
    """Return a statement, a line for each library, sorted by path, so that the same libraries in any order give the same bytes."""
    rows = ",\n".join(f"  {_line(asdict(each))}" for each in sorted(libraries, key=lambda each: each.path))
    text = f'{{\n "format": "{FORMAT}",\n "format_version": "{FORMAT_VERSION}",\n "libraries": [\n{rows}\n ]\n}}\n'
    return text.encode(errors="backslashreplace")


def _line(row: Mapping[str, Any]) -> str:
    lost = [{key: value for key, value in span.items() if value is not None} for span in row["lost"]]
    return json.dumps({**row, "lost": lost}, ensure_ascii=False)


def _checked(said: _SaidT, where: str) -> _SaidT:
    """Return what was said, its capabilities being such; raises ManifestError."""
    try:
        united(said.lost)
        for target in said.targets:
            capability(target)
    except ValueError as error:
        raise ManifestError(f"{where}: {error}") from error
    return said
