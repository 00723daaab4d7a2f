"""What an image is made of as a person would say it: the system, Python packages with versions, CUDA libraries, models, caches."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hatch_mlbundle.contents.parts import by_size
from hatch_mlbundle.manifest import ComponentKind, ComponentRow
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.models.external import BundledModel
from hatch_mlbundle.models.weight_files import is_weights
from hatch_mlbundle.printable import shortened

from .caches import Caches
from .component_names import by_place, cuda_library, cuda_name, model_format, model_of_hub
from .package_facts import Versions, read_versions
from .tree import Leaf

_LEAST_MODEL = 10**6
"""Bytes: smaller ones, which tests and examples have, count to where they lie."""
_MOST = 5000
"""Components of an image; of a kind that has more, the smallest are one."""
_LONGEST = 100
_MOST_NAMED = 12


class Part(NamedTuple):
    """What tells one component from another: files of equal ones are added up."""

    kind: ComponentKind
    name: str
    version: str = ""
    detail: str = ""


@dataclass(slots=True)
class _Sum:
    files: int = 0
    installed: int = 0
    compressed: int = 0
    layers: set[int] = field(default_factory=set)
    gpu: Counter[str] = field(default_factory=Counter)
    tensors: Counter[str] = field(default_factory=Counter)

    def add(self, other: _Sum) -> None:
        """Add another one to it."""
        self.files += other.files
        self.installed += other.installed
        self.compressed += other.compressed
        self.layers |= other.layers
        self.gpu.update(other.gpu)
        self.tensors.update(other.tensors)


def components(
    bundle: Bundle, leaves: Mapping[str, Leaf], compressed: Mapping[str, int], models: Sequence[BundledModel]
) -> tuple[ComponentRow, ...]:
    """Return the components, the largest first; each file that a container sees is in exactly one of them.

    `leaves` are the files as they lie in their layers, by path, with who lists them; `compressed` are the bytes that each takes there;
    `models` are those of the bundle.
    """
    sorter = _Sorter(leaves, models)
    links = _hard_links(bundle, leaves)
    sums: dict[Part, _Sum] = {}
    for path, file in bundle.items():
        leaf = leaves[path]
        part = sorter.part_of(path, leaf)
        if part.kind == "cache":
            part = next((other for name in links.get(path, ()) if (other := sorter.part_of(name, leaves[name])).kind != "cache"), part)
        found = sums.get(part) or sums.setdefault(part, _Sum())
        found.files += 1
        found.installed += file.size
        found.compressed += compressed[path]
        if leaf.stored and file.link is None:
            found.layers.add(leaf.stored.layer)
            if told := leaf.stored.told:
                found.gpu.update(told.parts.get("gpu", {}))
                found.tensors.update(told.parts.get("tensors", {}))
    rows = [_row(part, found) for part, found in _bounded(sums).items()]
    return tuple(sorted(rows, key=lambda row: (-row.installed, row.kind, row.name, row.version, row.detail)))


def _hard_links(bundle: Bundle, leaves: Mapping[str, Leaf]) -> Mapping[str, Sequence[str]]:
    """Return the other names of files that have several: what is in a cache and elsewhere takes its room for what is elsewhere."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, file in bundle.items():
        if file.link is not None and leaves[path].stored:
            found[file.link[1:]].append(path)
    return found


class _Sorter:
    """Says which component each file belongs to."""

    def __init__(self, leaves: Mapping[str, Leaf], models: Iterable[BundledModel]) -> None:
        self._caches = Caches(leaves)
        self._versions = read_versions({path: leaf.stored.listing if leaf.stored else None for path, leaf in leaves.items()})
        self._models = dict(_files_of_models(models))

    def part_of(self, path: str, leaf: Leaf) -> Part:
        """Return the component of a file: a cache, a model, a package that lists it; else what its place tells."""
        cache = self._caches.holding(path)
        model = self._models.get(path)
        if model and (cache is None or cache.of_models):
            return model
        if cache:
            return Part("cache", cache.name, detail=f"/{cache.place}")
        return _packaged(path, leaf, self._versions) or _by_place(path, self._versions)


def _files_of_models(models: Iterable[BundledModel]) -> Iterator[tuple[str, Part]]:
    for model in models:
        if model.size < _LEAST_MODEL:
            continue
        name, revision = model_of_hub(model.path) or (model.name, "")
        formats = sorted({model_format(file.path) for file in model.files if is_weights(file)} - {""})
        part = Part("model", name, revision, f"{', '.join(formats)} in /{model.path}" if formats else f"/{model.path}")
        yield from ((path, part) for path in (*(file.path for file in model.files), *model.hidden))


def _packaged(path: str, leaf: Leaf, versions: Versions) -> Part | None:
    """Return the package that lists a file."""
    if leaf.manager == "system":
        kind: ComponentKind = "cuda" if cuda_name(leaf.owner) else "system"
        return Part(kind, leaf.owner, versions.system.get(leaf.owner, ""), _distribution(versions))
    if leaf.manager == "conda":
        kind = "cuda" if cuda_name(leaf.owner) else "python" if leaf.owner == "python" else "package"
        return Part(kind, leaf.owner, versions.conda.get(leaf.owner, ""), "conda")
    if leaf.manager == "python":
        return _of_python(path, leaf.owner, versions)
    return None


def _of_python(path: str, owner: str, versions: Versions) -> Part:
    """Return the package of Python's index that a file belongs to; a library of NVIDIA's inside it is one by itself."""
    if cuda_name(owner):
        return Part("cuda", owner.replace("_", "-"), versions.python.get(owner, ""))
    library = cuda_library(path)
    return Part("cuda", *library, f"in {owner}") if library else Part("package", owner, versions.python.get(owner, ""))


def _by_place(path: str, versions: Versions) -> Part:
    """Return what the place of a file tells that nobody lists."""
    kind, name, version = by_place(path)
    if kind == "package":
        return _of_python(path, name, versions)
    if library := cuda_library(path):
        return Part("cuda", *library)
    if kind == "system":
        return Part(kind, versions.distribution or "system", versions.distribution_version, "files that no package lists")
    return Part(kind, name, version)


def _distribution(versions: Versions) -> str:
    return f"{versions.distribution} {versions.distribution_version}".strip()


def _bounded(sums: Mapping[Part, _Sum]) -> dict[Part, _Sum]:
    """Return the components; where they are too many, the smallest of each kind as one."""
    ordered = sorted(sums.items(), key=lambda item: (-item[1].installed, item[0]))
    bounded, rest = dict(ordered[:_MOST]), dict[Part, _Sum]()
    for part, found in ordered[_MOST:]:
        rest.setdefault(Part(part.kind, "(others)"), _Sum()).add(found)
    return bounded | rest


def _row(part: Part, found: _Sum) -> ComponentRow:
    dtypes = [name for name, _ in by_size(found.tensors) if not name.startswith("(")] if part.kind == "model" else []
    told = [part.detail, ", ".join(dtypes[:_MOST_NAMED]), _architectures(found.gpu)]
    return ComponentRow(
        name=shortened(part.name, _LONGEST) or "(nameless)",
        kind=part.kind,
        version=shortened(part.version, _LONGEST),
        detail="; ".join(shortened(each, 2 * _LONGEST) for each in told if each),
        files=found.files,
        installed=found.installed,
        compressed=found.compressed,
        layers=tuple(sorted(found.layers)),
    )


def _architectures(gpu: Mapping[str, int]) -> str:
    """Return the architectures that there is GPU code for, in their order, not by bytes."""
    names = sorted((name for name in gpu if not name.startswith("(")), key=_in_order)
    rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"GPU code for {', '.join(names[:_MOST_NAMED])}{rest}" if names else ""


def _in_order(name: str) -> tuple[str, int, str]:
    match = re.match(r"([a-z_]*)(\d*)", name)
    return (match[1], int(match[2] or 0), name) if match else (name, 0, name)
