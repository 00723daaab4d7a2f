"""What a PyTorch file holds: its tensors, checked against its storages, the training state among them, and the state dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import KeptError, ModelError

from .torch_pickle import children, read_pickle
from .torch_rebuild import FaultError, ForeignObjectError
from .torch_values import Ordered, Parameter, Tensor, Value
from .torch_zip import TorchArchive, open_archive

TRAINING_NAMES = frozenset(
    [
        *("optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict", "optim", "optim_state_dict"),
        *("scheduler", "schedulers", "scheduler_state_dict", "lr_scheduler", "lr_schedulers", "lr_scheduler_state_dict"),
        *("scaler", "grad_scaler", "scaler_state_dict", "amp_scaler", "loops", "callbacks"),
    ]
)
"""Entries of a training checkpoint that go on with the training and hold no weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An open PyTorch file: the value that torch.load would return, inert, and its storages."""

    archive: TorchArchive
    value: Value

    def read(self, tensor: Tensor, offset: int, size: int) -> bytes:
        """Return bytes of the storage that a tensor looks at."""
        return self.archive.read_at(tensor.storage.key, offset, size)


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a PyTorch file whose every part has been checked but for the bytes of its storages.

    Raises ForeignObjectError where it holds other objects, KeptError where it is a zip archive of another kind, ModelError where
    it contradicts itself.
    """
    with open_archive(path) as archive:
        try:
            value = read_pickle(archive.pickle)
            _check_storages(archive, tensors_in([value]))
        except ForeignObjectError as error:
            raise ForeignObjectError(f"{path}: {error}") from error
        except FaultError as error:
            raise ModelError(f"{path}: is no sound file of torch.save: {error}") from error
        yield Checkpoint(archive=archive, value=value)


def tensors_in(values: Iterable[Value]) -> list[Tensor]:
    """Return every tensor in these values once, in their order."""
    found: dict[int, Value] = {}
    waiting = list(values)[::-1]
    while waiting:
        value = waiting.pop()
        if id(value) not in found:
            found[id(value)] = value
            waiting += reversed(children(value))
    return [value for value in found.values() if isinstance(value, Tensor)]


def tensor_names(value: Value) -> dict[int, str]:
    """Return the first name of each tensor, by its id: the keys on the way to it, joined by dots."""
    names: dict[int, str] = {}
    seen: set[int] = set()
    waiting = [("", value)]
    while waiting:
        name, each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Tensor):
            names[id(each)] = name
        waiting += [(".".join(filter(None, [name, key])), part) for key, part in reversed(_named_children(each))]
    return names


def _named_children(value: Value) -> list[tuple[str, Value]]:
    """Return the values that a value holds, as `children` does, but for keys, each with its key; attributes have none."""
    if isinstance(value, dict):
        inside = [(str(key), each) for key, each in value.items()]
        return [*inside, ("", value.attributes)] if isinstance(value, Ordered) else inside
    if isinstance(value, Parameter):
        return [("", value.tensor), ("", value.state)]
    return [(str(number), each) for number, each in enumerate(children(value))]


def without_training_state(value: Value) -> tuple[Value, list[str]]:
    """Return a checkpoint without the entries that only go on with the training, and their names.

    An optimizer's state is known by its form (`state` and `param_groups`), under any name; what else belongs to training by its
    name, where it holds no tensor. Nothing goes where no tensor would be left.
    """
    if not isinstance(value, dict):
        return value, []
    names = [key for key, each in value.items() if isinstance(key, str) and (_is_optimizer(each) or _is_bookkeeping(key, each))]
    rest = {key: each for key, each in value.items() if key not in names}
    if not names or not tensors_in([rest]):
        return value, []
    if not isinstance(value, Ordered):
        return rest, names
    ordered = Ordered()
    ordered.update(rest)
    ordered.attributes = value.attributes
    return ordered, names


def is_training_state(value: Value) -> bool:
    """Say whether a file holds nothing but an optimizer's state."""
    return _is_optimizer(value)


def state_dict(value: Value) -> Mapping[str, Tensor]:
    """Return the tensors of a flat state dict by name; raises KeptError where it is something else."""
    if not isinstance(value, dict):
        raise KeptError("it holds no dict of tensors, and safetensors nothing else")
    found: dict[str, Tensor] = {}
    for key, each in value.items():
        tensor = each.tensor if isinstance(each, Parameter) and each.state is None else each
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            inside = " (a nested checkpoint)" if isinstance(each, dict) else ""
            raise KeptError(f"its entry {str(key)[:60]!r} is no tensor{inside}, and safetensors holds nothing else")
        found[key] = tensor
    return found


def _is_optimizer(value: Value) -> bool:
    """Say whether this is what `Optimizer.state_dict()` returns, or several of them (torch/optim/optimizer.py)."""
    if isinstance(value, dict) and isinstance(value.get("state"), dict) and isinstance(value.get("param_groups"), list):
        return True
    several = list(value.values()) if isinstance(value, dict) else value
    return isinstance(several, list) and bool(several) and all(isinstance(each, dict) and _is_optimizer(each) for each in several)


def _is_bookkeeping(key: str, value: Value) -> bool:
    return key in TRAINING_NAMES and isinstance(value, (dict, list)) and not tensors_in([value])


def _check_storages(archive: TorchArchive, tensors: list[Tensor]) -> None:
    seen: dict[str, Tensor] = {}
    for tensor in tensors:
        storage = tensor.storage
        first = seen.setdefault(storage.key, tensor).storage
        if storage != first:
            raise FaultError(f"its storage {storage.key[:20]!r} has two kinds or sizes")
        member = archive.storages.get(storage.key)
        if member is None:
            raise FaultError(f"its storage {storage.key[:20]!r} is not there")
        if member.size != storage.nbytes:
            raise FaultError(f"its storage {storage.key[:20]!r} has {member.size} bytes, where {storage.nbytes} are declared")
    if seen and archive.byte_order not in (None, b"little"):
        raise ForeignObjectError("is written on a big-endian machine")
