"""Models that are baked into an image: they change at other times than the code, and weigh more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hatch_mlbundle.bundles.images.caches import OF_MODELS, alternatives
from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.models.external import BundledModel
from hatch_mlbundle.printable import shortened
from hatch_mlbundle.units import format_size

from .context_files import ignore_pattern
from .evidence import Evidence, Option
from .instructions import about, copied
from .mounts import Mount, compose_file, copy_commands, image_pod, model_dockerfile, volume_pod

_CACHE = re.compile(rf"((?:.*/)?(?:{alternatives(OF_MODELS)})(?:/hub|/sentence_transformers)?)/.+|((?:.*/)?models--[^/]+)/.+")
"""Where libraries keep what they downloaded, down to the folder that has nothing but models."""
_UNSAFE = re.compile(r"[\"'\\$`*?\[\]!#:]")
"""What means something in a shell, in YAML, or in the short form of a mount."""
_NAMED = 4
_LONGEST = 30
_MOST = 20
"""Models of which mounts are written; there are hardly ever more, and the largest count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Baked:
    """A model in the image, the folder or file that is to be mounted in its place, and the names that go with it."""

    model: BundledModel
    place: str
    paths: tuple[str, ...]


def model_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what takes models out: those that were put there, and those that a library downloaded into its cache."""
    found = [each for model in evidence.models if (each := _baked(evidence, model))]
    baked = sorted(found, key=lambda each: (-each.model.size, each.model.path))[:_MOST]
    cached = [each for each in baked if _CACHE.fullmatch(f"{each.model.path}/")]
    others = [each for each in baked if each not in cached]
    yield from _option(evidence, cached, "model-cache", "downloaded models")
    yield from _option(evidence, others, "models", "models")
    yield from _layers(evidence, others)


def _baked(evidence: Evidence, model: BundledModel) -> _Baked | None:
    """Return a model that takes room, None for one whose name could be taken for something else where it is to be written."""
    paths = tuple(path for path in (*(file.path for file in model.files), *model.hidden) if path in evidence.seen)
    match = _CACHE.fullmatch(f"{model.path}/")
    place = (match[1] or match[2]) if match else model.path
    if evidence.size(paths) <= evidence.least or not place.isprintable() or _UNSAFE.search(place) or _UNSAFE.search(model.name):
        return None
    return _Baked(model=model, place=place, paths=paths)


def _option(evidence: Evidence, baked: Sequence[_Baked], name: str, what: str) -> Iterator[Option]:
    paths = [path for each in baked for path in each.paths]
    freed = evidence.freed(paths)
    if not freed:
        return
    yield Option(
        name=name,
        title=f"Mount {len(baked):,} {what}" if len(baked) > 1 else f"Mount the {what[:-1]} {shortened(baked[0].model.name, _LONGEST)}",
        freed=freed,
        pros=(
            f"What leaves: {_named(evidence, baked)}.",
            "A new model needs no new image, a new image no download of the model, and containers of one host share a copy.",
            "Mounted where they were, models need no change to the application.",
        ),
        cons=("The models have to be where the container runs before it starts, in the version that it expects.",),
        edits=tuple(_edits(evidence, baked)),
    )


def _named(evidence: Evidence, baked: Sequence[_Baked]) -> str:
    told = [f"{each.model.name} {format_size(evidence.size(each.paths))}" for each in baked[:_NAMED]]
    return ", ".join([*told, *([f"{len(baked) - _NAMED:,} more"] if len(baked) > _NAMED else [])])


def _mounts(baked: Iterable[_Baked]) -> list[Mount]:
    """Return what is mounted, each place once, under names of their own."""
    found: dict[str, str] = {}
    for each in baked:
        name = each.model.name if each.place == each.model.path else each.place.rpartition("/")[2].lstrip(".")
        if each.place not in found:
            found[each.place] = name if name not in found.values() else f"{name}-{len(found) + 1}"
    return [Mount(name=name, target=f"/{place}") for place, name in found.items()]


def _edits(evidence: Evidence, baked: Sequence[_Baked]) -> Iterator[EditRow]:
    mounts = _mounts(baked)
    yield EditRow(where="sh", text="\n".join(["# once: the models out of the image that has them", *copy_commands(mounts)]))
    ignored = sorted(set(_ignored(evidence, baked)))
    if ignored:
        yield EditRow(where=".dockerignore", text="\n".join(ignored))
    if lines := list(_left_out(evidence, baked)):
        yield EditRow(where="Dockerfile", text="\n".join(lines))
    yield EditRow(where="compose.yaml", text=compose_file(mounts))
    yield EditRow(where="pod.yaml", text=volume_pod(mounts))
    yield EditRow(where="models.Dockerfile", text=model_dockerfile(mounts))
    yield EditRow(where="pod.yaml", text=image_pod(mounts))
    names = ", ".join(json.dumps(each.model.path + ("" if each.model.is_file else "/"), ensure_ascii=False) for each in baked)
    text = f'# or by mlbundle, with a descriptor by which `model_path("{baked[0].model.name}")` finds and checks them\n'
    yield EditRow(
        where="pyproject.toml",
        text=f'{text}[tool.mlbundle]\noptimizers = ["externalize"]\n\n[tool.mlbundle.externalize]\nmodels = [{names}]',
    )


def _ignored(evidence: Evidence, baked: Sequence[_Baked]) -> Iterator[str]:
    for each in baked:
        for number in evidence.by_layer(each.paths):
            if pattern := ignore_pattern(evidence, number, each.model.path):
                yield pattern


def _left_out(evidence: Evidence, baked: Sequence[_Baked]) -> Iterator[str]:
    """Yield the instructions that bring models otherwise than from the build context alone."""
    layers = evidence.by_layer(path for each in baked for path in each.paths)
    for number in layers:
        made = evidence.made_by(number)
        whole, size = _whole(evidence, number), evidence.size(layers[number])
        if copied(made) and size < whole:
            continue
        yield about(number, made)
        yield "# leave it out: it brings nothing else" if size == whole else f"# leave the models out of it: {format_size(size)}"


def _layers(evidence: Evidence, baked: Sequence[_Baked]) -> Iterator[Option]:
    """Yield the option that saves at each update, not now: models that lie in one layer with other files."""
    layers = evidence.by_layer(path for each in baked for path in each.paths)
    mixed = {number for number, paths in layers.items() if evidence.size(paths) < _whole(evidence, number)}
    moved = [each for each in baked if not mixed.isdisjoint(evidence.by_layer(each.paths))]
    if not moved:
        return
    size = format_size(sum(stored.compressed for each in moved for stored in evidence.shown(each.paths)))
    lines = [f"COPY {source} /{each.model.path}" for each in moved if (source := _source(evidence, each))]
    if lines:
        lines.insert(0, "# before the instructions that copy or install the application:")
    yield Option(
        name="model-layers",
        title="Put models into layers of their own",
        freed=(),
        pros=(f"Saves nothing now, but {size} (as stored) at each update of the application: hosts have that layer already.",),
        cons=(),
        edits=(
            *([EditRow(where="Dockerfile", text="\n".join(lines))] if lines else []),
            EditRow(where="pyproject.toml", text="[tool.mlbundle.image]\nmodel-layers = true"),
            EditRow(where="sh", text="mlbundle optimize image.tar -o small.tar"),
        ),
    )


def _whole(evidence: Evidence, number: int) -> int:
    return sum(stored.size for stored in evidence.layers[number - 1].stored)


def _source(evidence: Evidence, baked: _Baked) -> str | None:
    numbers = list(evidence.by_layer(baked.paths))
    pattern = ignore_pattern(evidence, numbers[0], baked.model.path)
    return pattern if pattern and "**" not in pattern and " " not in pattern else None
