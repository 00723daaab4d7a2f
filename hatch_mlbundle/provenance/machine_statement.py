"""The statement in a bundle of the code for GPUs and CPUs that was taken out of its libraries (docs/machine-statement.md).

Nothing in it depends on time, place or the machine that builds. What runs in the bundle reads it, too (runtime/machine/statements.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hatch_mlbundle.binaries.cpu_level import Level
from hatch_mlbundle.binaries.gpu_coverage import Span, capability, is_in, united
from hatch_mlbundle.decode import decode, foreign_version
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.runtime.machine.statements import CPU_STEP, FORMAT, FORMAT_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCode:
    """What was taken out of a library, and what is left.

    `targets` are the compute capabilities that code was kept for, `ptx` says which PTX was; `kept` and `dropped` are bytes by nvcc's names
    of architectures; `lost` are the GPUs for which code of one container at least is gone.
    """

    targets: tuple[str, ...]
    ptx: str
    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    lost: tuple[Span, ...]

    def after(self, earlier: GpuCode | None) -> GpuCode:
        """Return what both runs did: `targets` are those of any for which nothing was lost in either."""
        lost = united((*self.lost, *(earlier.lost if earlier else ())))
        targets = sorted({*self.targets, *(earlier.targets if earlier else ())}, key=capability)
        dropped = Counter(self.dropped) + Counter(earlier.dropped if earlier else {})
        return replace(
            self,
            targets=tuple(each for each in targets if not is_in(capability(each), lost)),
            kept=dict(sorted(self.kept.items())),
            dropped=dict(sorted(dropped.items())),
            lost=lost,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCode:
    """The level of the CPUs that a library has all its code for, by its name in the x86-64 psABI."""

    level: Level

    def after(self, earlier: CpuCode | None) -> CpuCode:
        """Return what both runs did: the higher level is the one that code is left for."""
        return max(self, earlier or self, key=lambda each: each.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What a statement says of a library at `path` (base_of): its bytes, and what is left of its code for GPUs, and for CPUs."""

    path: str
    size: int
    gpu: GpuCode | None = None
    cpu: CpuCode | None = None

    def after(self, code: GpuCode | CpuCode) -> Library:
        """Return what is to be said once code was taken out."""
        return replace(self, gpu=code.after(self.gpu)) if isinstance(code, GpuCode) else replace(self, cpu=code.after(self.cpu))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    libraries: tuple[Library, ...]


def code_told(step: str, detail: Mapping[str, Any], where: str) -> GpuCode | CpuCode:
    """Return what the Detail of a step says that takes code out; raises ManifestError where it does not say it."""
    if step == CPU_STEP:
        return decode(CpuCode, detail, where)
    code = decode(GpuCode, detail, where)
    _check_capabilities(code, where)
    return code


def read_statement(data: bytes, where: str) -> tuple[Library, ...]:
    """Return what a statement says; raises ManifestError for what is none, also for a major version other than ours."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is no JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(f'{where}: says nothing of machines (it lacks "format": "{FORMAT}")')
    if problem := foreign_version(document, FORMAT_VERSION):
        raise ManifestError(f"{where}: {problem}")
    libraries = decode(_Document, document, where).libraries
    for code in (each.gpu for each in libraries if each.gpu is not None):
        _check_capabilities(code, where)
    return libraries


def statement_text(libraries: Iterable[Library]) -> bytes:
    """Return a statement, a line for each library, sorted by path, so that the same libraries in any order give the same bytes."""
    rows = ",\n".join(f"  {_line(each)}" for each in sorted(libraries, key=lambda each: each.path))
    text = f'{{\n "format": "{FORMAT}",\n "format_version": "{FORMAT_VERSION}",\n "libraries": [\n{rows}\n ]\n}}\n'
    return text.encode(errors="backslashreplace")


def _line(library: Library) -> str:
    row = asdict(library, dict_factory=lambda pairs: {key: value for key, value in pairs if value is not None})
    return json.dumps(row, ensure_ascii=False)


def _check_capabilities(code: GpuCode, where: str) -> None:
    """Raise ManifestError where what is said to be compute capabilities are none."""
    try:
        united(code.lost)
        for target in code.targets:
            capability(target)
    except ValueError as error:
        raise ManifestError(f"{where}: {error}") from error
