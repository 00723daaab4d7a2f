"""Load a model in one of the three forms it comes in, as a torch module that takes tensors and returns tensors.

A pickle is never executed: weights are read by `torch.load(weights_only=True)` or from safetensors, and a whole pickled module is
refused. TorchScript archives and the project's own factories are code that the user named.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree

from .errors import RefusedError, innermost


class Calling(torch.nn.Module):
    """A model behind one signature: tensors in the order of its inputs, a tuple of the outputs asked for back."""

    def __init__(self, model: torch.nn.Module, by_name: Sequence[str] = (), fixed: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.model = model
        self.by_name = tuple(by_name)
        self.fixed = dict(fixed or {})
        self.outputs: tuple[str, ...] = ()

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the model; the outputs are those that `choose_outputs` settled on."""
        named = tensors_of(self._run(values))
        return tuple(named[name] for name in self.outputs)

    def choose_outputs(self, values: Sequence[torch.Tensor], wanted: Sequence[str]) -> tuple[str, ...]:
        """Run the model once, and settle which of its outputs are returned; return the names they shall have.

        Where the model names its outputs (a mapping, as in transformers), `wanted` picks some; else it names all of them.
        """
        with torch.no_grad():
            result = self._run(values)
        found = tensors_of(result)
        if not found:
            raise RefusedError("the model returns no tensor")
        if isinstance(result, Mapping):
            missing = [name for name in wanted if name not in found]
            if missing:
                raise RefusedError(f"the model has no output {missing[0]!r}; it has {', '.join(found)}")
            self.outputs = tuple(wanted) or tuple(found)
            return self.outputs
        if wanted and len(wanted) != len(found):
            raise RefusedError(f"`outputs` names {len(wanted)} outputs, and the model returns {len(found)}")
        self.outputs = tuple(found)
        return tuple(wanted) or self.outputs

    def _run(self, values: Sequence[torch.Tensor]) -> Any:
        if self.by_name:
            return self.model(**dict(zip(self.by_name, values, strict=True)), **self.fixed)
        return self.model(*values)


def tensors_of(result: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of what a model returned: by their keys, else as output_0, output_1, ..."""
    if isinstance(result, torch.Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        return {str(key): value for key, value in result.items() if isinstance(value, torch.Tensor)}
    leaves = [leaf for leaf in _pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return {f"output_{number}": leaf for number, leaf in enumerate(leaves)}


def is_torchscript(path: Path) -> bool:
    """Say whether a file is a TorchScript archive: a zip whose folder has `code/` (torch/csrc/jit/serialization)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/", 1)[-1].startswith("code/") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def load_torchscript(path: Path) -> torch.nn.Module:
    """Return the module of a TorchScript archive."""
    try:
        module: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise RefusedError(f"the TorchScript archive cannot be loaded ({innermost(error)})") from error
    return module.eval()


def load_by_factory(factory: str, weights: Path, key: str, project: Path) -> torch.nn.Module:
    """Return the module that the project's `package.module:callable` makes, with the file's weights in it, every one of them."""
    module = _made(factory, project)
    try:
        if weights.suffix == ".safetensors":
            _load_safetensors(module, weights)
        else:
            module.load_state_dict(_state(weights, key), strict=True)
    except RefusedError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise RefusedError(f"the weights do not fit the module that {factory} makes: {reason}") from error
    return module.eval()


def _made(factory: str, project: Path) -> torch.nn.Module:
    sys.path[:0] = project_paths(project)
    name, _, attribute = factory.partition(":")
    try:
        found: Any = importlib.import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise RefusedError(f"factory {factory}: cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(found):
        raise RefusedError(f"factory {factory}: is no callable; name a function or class that gives a torch.nn.Module")
    module = _called(factory, found)
    if not isinstance(module, torch.nn.Module):
        raise RefusedError(f"factory {factory}: gave {type(module).__name__}, not a torch.nn.Module")
    return module


def _called(factory: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise RefusedError(f"factory {factory}: raised {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


def _load_safetensors(module: torch.nn.Module, weights: Path) -> None:
    from safetensors.torch import load_model

    load_model(module, weights, strict=True)


def _state(weights: Path, key: str) -> Mapping[str, Any]:
    if is_torchscript(weights):
        raise RefusedError("a TorchScript archive needs no `factory`; leave it out")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        advice = "save a state dict: torch.save(module.state_dict(), ...)"
        raise RefusedError(f"is refused: it holds more than tensors, or is damaged, and is never unpickled; {advice}") from error
    if key:
        if not isinstance(state, Mapping) or key not in state:
            raise RefusedError(f"has no {key!r}, which `key` names")
        state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        keys = ", ".join(map(repr, list(state)[:8])) if isinstance(state, Mapping) else type(state).__name__
        raise RefusedError(f"is no state dict but holds {keys}; name the key of the weights in `key`")
    return state


def project_paths(project: Path) -> list[str]:
    """Return the folders of a project that its own modules are imported from."""
    return [str(folder) for folder in (project, project / "src") if folder.is_dir()]
