"""What the optimizers have in common while they plan: the models of a bundle, the files of each, and why some are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import dirname, join

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.model import Bundle, Convert, File, Finding, Keep, Kind
from hatch_mlbundle.optimizer import Context, Json

SUFFIX = ".onnx"

_DATA = frozenset({Kind.DATA, Kind.OTHER, Kind.MODEL})
_MODELS = (SUFFIX, ".ort", ".safetensors", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".tflite", ".npz")
_TEXTS = (".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".csv", ".tsv", ".txt", ".sql")
"""Names of files that others read, and that are no external data, whatever a model says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model of the bundle, all its files there: `data` gives the path of external data by location; `facts` are the examiner's."""

    file: File
    data: Mapping[str, str]
    facts: Mapping[str, Json]


def models(bundle: Bundle, context: Context) -> Iterator[Found | Keep]:
    """Yield the selected models, or why one stays that is not to be touched; one that is damaged, or lacks data, is reported."""
    files = [file for file in bundle.values() if file.link is None and file.path.lower().endswith(SUFFIX)]
    if not any(context.selects(file.path) for file in files):
        return
    facts = context.examine("onnx-graph", files, lambda file: _examine(file, context))
    shared = Counter(path for file in files for path in set(_data(file, facts[file.path]).values()))
    for file in files:
        if not context.selects(file.path):
            continue
        fact, data = facts[file.path], _data(file, facts[file.path])
        problem = next((problem for path in data.values() if (problem := _problem(bundle, path, file.path))), None)
        if "broken" in fact:
            context.report(Finding(code="MB721", path=file.path, message=f"{fact['broken']}; it stays as it is"))
        elif problem:
            context.report(Finding(code="MB722", path=file.path, message=f"its external data {problem}; it stays as it is"))
        elif twice := sorted(path for path in data.values() if shared[path] > 1):
            yield Keep(path=file.path, reason=f"its external data {twice[0]} is another model's, too")
        else:
            yield Found(file=file, data=data, facts=fact)


def conversion(found: Found, reason: str) -> Convert:
    """Return the change that makes the model anew; where it has external data now, with one file of that, or none."""
    names = sorted(set(found.data.values()))
    path = found.file.path
    data = () if not names else (names[0],) if len(names) == 1 else (data_name(path),)
    return Convert(path=path, reason=reason, sources=(path, *names), outputs=(path, *data))


def data_name(path: str) -> str:
    """Return the path of the one file that a model's external data goes into, where it was in several."""
    return f"{path}.data"


def _examine(file: File, context: Context) -> Json:
    """Return where the model's external data lies, and how many weights of how many bytes may be made smaller; or why it is `broken`."""
    from .modelfile import locations, read_graph
    from .weighing import weigh

    try:
        model = read_graph(context.local(file))
        return {"locations": locations(model), **weigh(model)}
    except ModelError as error:
        return {"broken": str(error)}


def _data(file: File, facts: Mapping[str, Json]) -> dict[str, str]:
    locations: Sequence[str] = facts.get("locations", ())
    return {location: join(dirname(file.path), location) for location in locations}


def _problem(bundle: Bundle, path: str, model: str) -> str | None:
    """Return why a file of external data cannot be used, or None: onnx itself loads no data through links.

    The file is written anew, so that it must be nothing but data: a hostile model may name any file.
    """
    file = bundle.get(path)
    if path == model:
        return "is the model's own file"
    if file is None:
        return f"{path} is missing, or reached through a link"
    if file.link is not None:
        return f"{path} is a link"
    if file.kind not in _DATA or path.lower().endswith((*_MODELS, *_TEXTS)):
        return f"{path} is a file of another kind ({file.kind.value}), which may serve others"
    place = file.content.local_path()
    if place is not None and place.name == PurePosixPath(path).name and place.stat().st_nlink > 1:
        return f"{path} has several names (hard links), which onnx refuses"
    return None
