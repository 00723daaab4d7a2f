"""GPU code by library and architecture, and what libraries could lose, as grids of numbers for tables of every form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hatch_mlbundle.contents.parts import by_size
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.removable import KeepingRow, RemovableRow, capability_of

_OTHER = "(other)"
_BOTH, _BY_LICENCE = "total, stripped too", "total without *"

NOTE = "its GPU code goes only if `libraries` of `gpu_code` names it: no licence is known to allow that, or NVIDIA's forbids it"
"""What the mark at a library, `*`, stands for."""
Targets: TypeAlias = tuple[str, ...]
"""Compute capabilities of GPUs that code is kept for."""
_Figures: TypeAlias = tuple[RemovableRow, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Bytes of libraries, by path, the most important first, in columns; `sums` are those of all of them.

    `marked` are libraries of which the GPU code goes only if somebody names them, and `last` what other rows there are at the end, by
    their labels.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    marked: frozenset[str] = frozenset()
    last: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def sums(self) -> tuple[int, ...]:
        """The sum of each column."""
        return added(self.rows)


def added(rows: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[int, ...]:
    """Return the sums of the columns of these rows."""
    return tuple(map(sum, zip(*(amounts for _, amounts in rows), strict=True)))


def gpu_code(manifest: Manifest) -> dict[str, Mapping[str, int]]:
    """Return the bytes of GPU code by architecture of each library that has some, the largest first; headers and padding are `(other)`."""
    found = {}
    for row in manifest.contents:
        if row.view == "gpu":
            parts: Counter[str] = Counter()
            for name, size in row.parts.items():
                parts[_OTHER if name.startswith("(") else name] += size
            found[row.path] = dict(by_size(parts))
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))


def architectures(libraries: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the architectures, the one with most code first; `(other)` comes last."""
    sums: Counter[str] = Counter()
    for parts in libraries.values():
        sums.update(parts)
    return sorted(sums, key=lambda name: (name == _OTHER, -sums[name], name))


def short_name(architecture: str) -> str:
    """Return an architecture's name for the head of a column: `PTX 90` for `compute_90 (PTX)`."""
    name, _, kind = architecture.partition(" (")
    return f"{kind.partition('-')[0].removesuffix(')')} {name.partition('_')[2]}" if kind and "_" in name else architecture


def gpu_grid(manifest: Manifest, room: int) -> Grid | None:
    """Return GPU code by library and architecture in at most `room` columns, of which then the last is `others`; None without any."""
    libraries = gpu_code(manifest)
    columns = architectures(libraries)
    shown = columns if len(columns) < room else columns[: max(0, room - 2)]
    heads = ("total", *map(short_name, shown), *(("others",) if len(shown) < len(columns) else ()))
    rows = []
    for path, parts in libraries.items():
        whole, told = sum(parts.values()), [parts.get(name, 0) for name in shown]
        rows.append((path, (whole, *told, whole - sum(told))[: len(heads)]))
    return Grid(heads=heads, rows=tuple(rows)) if rows else None


def loss_grid(manifest: Manifest, room: int) -> Grid | None:
    """Return what each library could lose: by a strip, and by each choice of GPU code, those with most code, in at most `room` columns.

    Where there is one choice, a third column has both together, else a row at the end. Another row is what goes without anybody naming
    a library, where that is less. None where nothing could go.
    """
    rows = by_loss(manifest)
    every = choices(manifest)
    if not rows:
        return None
    if len(every) == 1:
        figures: list[_Figures] = [(row, (stripped(row), *_saves(row, every[0]))) for row in rows]
        free: list[_Figures] = [(row, amounts if _is_free(row) else (amounts[0], 0, amounts[0])) for row, amounts in figures]
        return _grid(("strip", "GPU code", "both"), figures, [(_BY_LICENCE, free)])
    largest = most_code(manifest, every)[: max(0, room - 1)]
    shown = [each for each in every if each in largest]
    figures = [(row, (stripped(row), *(_saves(row, each)[0] for each in shown))) for row in rows]
    both = [(row, (0, *(_saves(row, each)[1] for each in shown))) for row in rows]
    free = [(row, amounts if _is_free(row) else (amounts[0], *(0 for _ in shown))) for row, amounts in figures]
    return _grid(("strip", *map(label, shown)), figures, [(_BOTH, both), (_BY_LICENCE, free)] if shown else [])


def choices(manifest: Manifest) -> list[Targets]:
    """Return the choices of GPU code that are told of, in order."""
    found = {each.targets for row in manifest.removable if row.gpu for each in row.gpu.keeping}
    return sorted(found, key=lambda targets: [_number(target) for target in targets])


def label(targets: Targets) -> str:
    """Return targets in words."""
    return " and ".join(filter(None, (", ".join(targets[:-1]), *targets[-1:])))


def most_code(manifest: Manifest, every: Sequence[Targets]) -> list[Targets]:
    """Return choices of GPU code, the one with most code in the artifact first."""
    code = _code_by_target(manifest)
    return sorted(every, key=lambda targets: (-sum(code[each] for each in targets), targets))


def by_loss(manifest: Manifest) -> list[RemovableRow]:
    """Return the libraries that could lose something, the one that could lose most first."""
    return sorted(manifest.removable, key=lambda row: (-_most(row), row.path))


def loss_title(manifest: Manifest, written: Callable[[str], str]) -> str:
    """Return by what libraries could lose something, as it stands above the table; `written` writes names of others."""
    every = choices(manifest)
    if len(every) == 1:
        return f"by strip, all GPU code but for {written(label(every[0]))}, both"
    return "by strip, or all GPU code but for one capability" if every else "by strip"


def stripped(row: RemovableRow) -> int:
    """Return what a strip saves of a library."""
    return row.strip.saves if row.strip else 0


def kept_for(row: RemovableRow, targets: Targets) -> KeepingRow | None:
    """Return what is told of a library of which the GPU code for these targets stays."""
    return next((each for each in row.gpu.keeping if each.targets == targets), None) if row.gpu else None


def names(paths: Sequence[str]) -> list[str]:
    """Return the names of files, with their folders where several have one name."""
    short = [path.rpartition("/")[2] for path in paths]
    counts = Counter(short)
    return [name if counts[name] == 1 else path for name, path in zip(short, paths, strict=True)]


def _grid(
    heads: tuple[str, ...],
    figures: Sequence[_Figures],
    last: Sequence[tuple[str, Sequence[_Figures]]],
) -> Grid:
    """Return a grid of these figures, and at the end the sums of others, those that tell something else."""
    rows = tuple((row.path, amounts) for row, amounts in figures)
    sums = added(rows)
    ends = [(name, added([(row.path, amounts) for row, amounts in others])) for name, others in last]
    marked = frozenset(row.path for row, _ in figures if row.gpu and not _is_free(row) and any(each.saves for each in row.gpu.keeping))
    return Grid(heads=heads, rows=rows, marked=marked, last=tuple((name, amounts) for name, amounts in ends if amounts[1:] != sums[1:]))


def _is_free(row: RemovableRow) -> bool:
    """Say whether GPU code of a library may go without anybody naming it."""
    return row.gpu is not None and bool(row.gpu.licence)


def _saves(row: RemovableRow, targets: Targets) -> tuple[int, int]:
    """Return what taking GPU code out of a library saves, and what it saves with a strip."""
    found = kept_for(row, targets)
    return (found.saves, found.with_strip) if found else (0, stripped(row))


def _most(row: RemovableRow) -> int:
    return max([stripped(row), *(each.with_strip for each in (row.gpu.keeping if row.gpu else ()))])


def _code_by_target(manifest: Manifest) -> Counter[str]:
    """Return the bytes of GPU code for exactly each compute capability."""
    found: Counter[str] = Counter()
    for parts in gpu_code(manifest).values():
        for name, size in parts.items():
            if capability := capability_of(name):
                found[capability] += size
    return found


def _number(target: str) -> tuple[int, str]:
    """Return what sorts targets, `8.6` before `10.0`, and whatever else a manifest may name."""
    return target.find("."), target
