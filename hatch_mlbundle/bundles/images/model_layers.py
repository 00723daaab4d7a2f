"""Each large model in a layer of its own, which stays the same while the application changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from hatch_mlbundle.model import Bundle, File, Finding
from hatch_mlbundle.models.external import find_models
from hatch_mlbundle.units import format_size

from .editing import Layered, new_layer
from .edits import NewLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayers:
    """The layers to be put on top, the files in them, and why models stay where they are."""

    layers: tuple[NewLayer, ...]
    moved: tuple[File, ...]
    findings: tuple[Finding, ...]


def model_layers(bundle: Bundle, image: Layered, movable: Callable[[str], bool], least: int) -> ModelLayers:
    """Return a layer for each model of `least` bytes or more that is not in one already; `movable` says which files can be moved."""
    layers, moved, findings = list[NewLayer](), list[File](), list[Finding]()
    for model in find_models(bundle):
        files = [bundle[path] for path in (*(file.path for file in model.files), *model.hidden)]
        size = sum(file.size for file in files)
        if size < least or not any(movable(file.path) for file in files) or _is_alone(files, image):
            continue
        problem = next(_problems(files, image, movable), None)
        if problem:
            message = f"the model {model.name!r} ({format_size(size)}) gets no layer of its own: {problem}"
            findings.append(Finding(code="MB914", path=model.path, message=message))
            continue
        layers.append(new_layer(files, f"mlbundle: model {model.name}"))
        moved += files
    return ModelLayers(layers=tuple(layers), moved=tuple(moved), findings=tuple(findings))


def _is_alone(files: Sequence[File], image: Layered) -> bool:
    """Say whether nothing but these files lies in the layer that they are in."""
    numbers = {image.visible[file.path].layer if file.path in image.visible else 0 for file in files}
    if len(numbers) != 1 or 0 in numbers:
        return False
    return set(image.layers[numbers.pop() - 1].leaves) == {file.path for file in files}


def _problems(files: Iterable[File], image: Layered, movable: Callable[[str], bool]) -> Iterator[str]:
    names = image.names
    for file in files:
        if not movable(file.path):
            yield f"{file.path} may not be changed (docs/images.md)"
        elif file.path in names:
            yield f"{file.path} has several names (hard links)"
