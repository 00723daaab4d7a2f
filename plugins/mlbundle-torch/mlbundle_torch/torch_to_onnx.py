"""Convert PyTorch models to ONNX, so that an application can do without torch, and prove that the outputs are the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, splitext
from typing import ClassVar

from hatch_mlbundle.canonical import digest
from hatch_mlbundle.errors import ConfigurationError, MissingLibraryError
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.model import Bundle, Change, Convert, Finding, Keep
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Optimizer, Risk

from .conversion_options import TorchModel, TorchToOnnxOptions, faults, input_requests
from .modelfolders import in_folder, is_model_folder, weight_files
from .process import Interpreter, interpreter
from .projectmodules import source_digest

_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_SETTINGS = (".json", ".txt", ".model")
_NEEDED = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "safetensors")
_WANTED = ("sentence-transformers", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A model in the bundle: `weights` are its files, `folder` that of a transformers model, None for a lone file."""

    model: TorchModel
    weights: tuple[str, ...]
    reads: tuple[str, ...] = ()
    folder: str | None = None

    @property
    def target(self) -> str:
        """The path of the ONNX file."""
        if self.folder is None:
            return f"{splitext(self.weights[0])[0]}.onnx"
        return f"{self.folder}/model.onnx".lstrip("/")


class TorchToOnnx(Optimizer[TorchToOnnxOptions]):
    """Converts torch modules, TorchScript archives and transformers models to ONNX.

    The ONNX file comes beside the weights, or takes their place. It is kept only where onnxruntime opens it and its outputs are torch's, at
    other sizes of its free axes, too. It is no smaller than the weights: what is saved is torch, which the application no longer needs.
    """

    name = "torch_to_onnx"
    version = "1"
    lossless = False
    risk: ClassVar[Risk] = "medium"
    options_type = TorchToOnnxOptions

    def __init__(self, options: TorchToOnnxOptions) -> None:
        super().__init__(options)
        self._project = Path.cwd()
        self._versions: Mapping[str, str] = {}

    def programs(self) -> Mapping[str, str]:
        """Return the versions of torch and what goes with it; raises ConfigurationError, MissingLibraryError."""
        if found := faults(self.options):
            raise ConfigurationError(found)
        if not self._versions and not _is_relative(self.options.python):
            self._versions = self._found_versions()
        return self._versions

    def inputs(self, project: Path) -> Mapping[str, str]:
        """Return digests of the factories' modules in the project, and of what the interpreter has, which may be named relative to it."""
        self._project = project
        if not self._versions:
            self._versions = self._found_versions()
        factories = sorted({model.factory for model in self.options.models if model.factory})
        return {"libraries": digest(dict(self._versions)), **{f"factory {each}": source_digest(project, each) for each in factories}}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each model that `models` names, in their order."""
        for number, model in enumerate(self.options.models):
            matches = matcher([model.path])
            found = list(_find(model, bundle, [path for path in bundle if matches(path)]))
            if not found:
                message = f"models[{number}].path {model.path!r} matches no weights ({', '.join(_WEIGHTS)}); correct it, or take it out"
                context.report(Finding(code="MB731", message=message))
            for each in found:
                yield self._change(each, bundle)

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the ONNX file; the worker compares it with torch."""
        change = task.change
        target = next(path for path in change.outputs if path.endswith(".onnx"))
        model = self.options.models[int(change.key)]
        source = task.sources[change.path]
        files = (*change.sources, *change.reads)
        weights = [path for path in files if dirname(path) == dirname(change.path) and splitext(path)[1] in _WEIGHTS]
        is_folder = len(files) > len(weights)
        written = task.target / target
        written.parent.mkdir(parents=True, exist_ok=True)
        request = {
            "action": "export",
            "source": str((source.parent if is_folder else source).absolute()),
            "target": str(written.absolute()),
            "factory": model.factory,
            "key": model.key,
            "project": str(self._project.absolute()),
            "inputs": input_requests(model),
            "outputs": list(model.outputs),
            "opset": self.options.opset,
            "tolerance": self.options.tolerance,
            "single_file": self.options.single_file,
        }
        made = self._interpreter().ask(request, task.scratch)
        return {target: {"made from": weights, "opset": self.options.opset, **made}}

    def _change(self, found: _Found, bundle: Bundle) -> Change:
        outputs = (found.target, f"{found.target}.data")
        taken = [path for path in outputs if path in bundle]
        if taken:
            return Keep(path=found.weights[0], reason=f"{taken[0]} is there already")
        goes, stays = (found.weights, ()) if self.options.drop_original else ((), found.weights)
        return Convert(
            path=found.weights[0],
            reason=f"converted to ONNX, opset {self.options.opset}",
            sources=goes,
            outputs=outputs,
            reads=(*stays, *found.reads),
            may_grow=True,
            key=str(self.options.models.index(found.model)),
        )

    def _interpreter(self) -> Interpreter:
        return interpreter(self.options.python, self._project, self.options.seconds, self.options.memory)

    def _found_versions(self) -> Mapping[str, str]:
        python = self._interpreter()
        with tempfile.TemporaryDirectory(prefix="mlbundle-torch-") as scratch:
            versions = python.versions([*_NEEDED, *_WANTED], Path(scratch))
        missing = [name for name in _NEEDED if versions[name] is None]
        if missing:
            names = ", ".join(missing)
            raise MissingLibraryError(
                f"{self.name} needs {names}, not installed for {python.python}; pip install mlbundle-torch there, or set `python`"
            )
        return {name: version for name, version in versions.items() if version is not None}


def _find(model: TorchModel, bundle: Bundle, matched: Iterable[str]) -> Iterator[_Found]:
    """Yield the models among the files that a glob matches: transformers folders as a whole, else each file of weights.

    What else lies in such a folder or below it, the state of a training or a pooling layer, is no model of its own.
    """
    files = [path for path in matched if splitext(path)[1] in _WEIGHTS and bundle[path].link is None]
    folders = [] if model.factory else [each for each in dict.fromkeys(map(dirname, files)) if is_model_folder(bundle, each, files)]
    for folder in folders:
        weights = weight_files(bundle, folder)
        reads = tuple(path for path in bundle if path not in weights and _is_read(bundle, folder, path))
        yield _Found(model=model, weights=weights, reads=reads, folder=folder)
    for path in files:
        if not any(path.startswith(in_folder(folder, "")) for folder in folders):
            yield _Found(model=model, weights=(path,))


def _is_read(bundle: Bundle, folder: str, path: str) -> bool:
    """Say whether loading the model of a folder may need a file: its settings and words, and the parts of a sentence-transformers model."""
    if bundle[path].link is not None or not path.startswith(in_folder(folder, "")):
        return False
    if dirname(path) == folder:
        return path.endswith(_SETTINGS)
    return in_folder(folder, "modules.json") in bundle and path.endswith((*_SETTINGS, *_WEIGHTS))


def _is_relative(python: str) -> bool:
    return bool(python) and not Path(python).expanduser().is_absolute()
