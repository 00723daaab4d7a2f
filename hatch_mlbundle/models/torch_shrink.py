"""Make a PyTorch file smaller, or safetensors out of it, and prove that its tensors are what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import KeptError, ModelError, without_path

from .torch_checkpoint import Checkpoint, is_training_state, open_checkpoint, state_dict, tensor_names, tensors_in, without_training_state
from .torch_compare import check_same
from .torch_layout import StoragePlan, plan_storages
from .torch_rebuild import ForeignObjectError
from .torch_safetensors import SafetensorsPlan, check_same_safetensors, plan_safetensors, write_safetensors
from .torch_values import Value
from .torch_writer import write_checkpoint
from .torch_zip import HEAD, NotTorchError, looks_legacy, looks_like_archive, looks_like_zip

_LEGACY = "in the format that torch.save wrote before 1.6; load it and save it again to have it made smaller"
_OPTIMIZER = "an optimizer's state and nothing else; leave it out by `exclude` if no training goes on from it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shrinking:
    """What is left of a checkpoint, and how: `dropped` says the bytes of each entry that goes."""

    value: Value
    dropped: Mapping[str, int]
    plans: Mapping[str, StoragePlan]


def examine(path: Path, *, drop_training_state: bool) -> dict[str, Any]:
    """Return what is known of a file without reading its storages: empty where it has nothing to do with torch.

    Else `keep` says why it stays, or `broken` or `foreign` what is wrong with it, or there are: `saves`, the bytes that it can lose as a
    PyTorch file, `dropped` and `views`, of what; `tensors`, the names in it, and `size`, its bytes as safetensors, or `unfit`, why
    it cannot be that.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if looks_legacy(head):
        return {"keep": _LEGACY}
    if not looks_like_zip(head):
        return {}
    try:
        with open_checkpoint(path) as source:
            return _facts(source, drop_training_state=drop_training_state)
    except NotTorchError:
        return {}
    except KeptError as error:
        return {"keep": str(error)}
    except ForeignObjectError as error:
        return {"foreign": without_path(error, path)}
    except ModelError as error:
        return {"broken": without_path(error, path)} if looks_like_archive(head) else {}


def shrink(source: Path, target: Path, *, drop_training_state: bool) -> dict[str, Any]:
    """Write a smaller PyTorch file and return what was taken out; raises as `open_checkpoint` and `write_checkpoint` do."""
    with open_checkpoint(source) as checkpoint:
        left = _left(checkpoint, drop_training_state=drop_training_state)
        write_checkpoint(checkpoint, left.value, left.plans, target)
        return {**_dropped_detail(left), **_storages_detail(left)}


def check_shrunk(source: Path, target: Path, *, drop_training_state: bool) -> None:
    """Raise UnsoundResultError, or ModelError, unless `target` holds what was to be left of `source`, byte by byte."""
    with open_checkpoint(source) as checkpoint, open_checkpoint(target) as result:
        check_same(checkpoint, _left(checkpoint, drop_training_state=drop_training_state).value, result)


def convert(source: Path, target: Path, *, drop_training_state: bool) -> tuple[SafetensorsPlan, dict[str, Any]]:
    """Write a state dict as safetensors, prove it, and return what it holds and the detail for the manifest.

    Raises KeptError where safetensors cannot hold it, UnsoundResultError where the result is not the same, else as `shrink` does.
    """
    with open_checkpoint(source) as checkpoint:
        left = _left(checkpoint, drop_training_state=drop_training_state)
        plan = plan_safetensors(state_dict(left.value))
        write_safetensors(checkpoint, plan, target)
        check_same_safetensors(checkpoint, plan, target)
        tied: dict[str, Any] = {"tied": dict(plan.tied)} if plan.tied else {}
        return plan, {"from": "a PyTorch file", **_dropped_detail(left), **tied}


def _left(source: Checkpoint, *, drop_training_state: bool) -> _Shrinking:
    value, names = without_training_state(source.value) if drop_training_state else (source.value, [])
    plans = plan_storages(tensors_in([value]))
    counted = set(plans)
    dropped = {}
    for name in names:
        storages = {tensor.storage.key: tensor.storage.nbytes for tensor in tensors_in([source.value[name]])}
        dropped[name] = sum(size for key, size in storages.items() if key not in counted)
        counted |= storages.keys()
    return _Shrinking(value=value, dropped=dropped, plans=plans)


def _facts(source: Checkpoint, *, drop_training_state: bool) -> dict[str, Any]:
    if is_training_state(source.value):
        return {"keep": _OPTIMIZER}
    left = _left(source, drop_training_state=drop_training_state)
    before = sum(member.size for member in source.archive.storages.values())
    facts = {
        "saves": before - sum(plan.after.nbytes for plan in left.plans.values()),
        "dropped": dict(left.dropped),
        "views": sum(plan.saved for plan in left.plans.values()),
    }
    try:
        plan = plan_safetensors(state_dict(left.value))
        return {**facts, "tensors": [*plan.tensors, *plan.tied], "size": plan.size}
    except KeptError as error:
        return {**facts, "unfit": str(error)}


def _dropped_detail(left: _Shrinking) -> dict[str, Any]:
    return {"dropped": [{"entry": name, "size": size} for name, size in left.dropped.items()]} if left.dropped else {}


def _storages_detail(left: _Shrinking) -> dict[str, Any]:
    """Return of each storage that got smaller its bytes, before and after, and the tensors that look at it."""
    names = tensor_names(left.value)
    by_key: dict[str, list[str]] = {}
    for tensor in tensors_in([left.value]):
        by_key.setdefault(tensor.storage.key, []).append(names[id(tensor)])
    rows = [{"tensors": by_key[key], "size": [plan.before.nbytes, plan.after.nbytes]} for key, plan in left.plans.items() if plan.saved]
    return {"storages": rows} if rows else {}
