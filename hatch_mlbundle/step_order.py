"""Steps that come too late in `optimizers`: behind one that leaves them nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .model import Finding
from .pipeline import Stage

_CHANGE_MODELS = frozenset(("onnx_quantize", "onnx_slim", "pack_weights", "prune_weights", "quantize", "torch_files", "torch_to_onnx"))
_COMPACT = frozenset(("cpu_code", "gpu_code"))


def late_steps(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Yield a finding for each step that changes models and comes behind the one that takes them out, for a strip by other means than our
    own behind the one that compacts libraries, and for each that compacts them behind the one that packs them.
    """
    yield from _behind(stages, "externalize", _changes_models, "MB905", "where the models that leave are gone already")
    compacting = next((stage.name for stage in stages if stage.name in _COMPACT), "")
    yield from _behind(stages, compacting, _strips_by_others, "MB431", "and leaves the libraries alone that are compacted there")
    yield from _behind(stages, "upx", _compacts, "MB431", "and finds nothing in the libraries that are packed there")


def _behind(stages: Sequence[Stage], first: str, is_late: Callable[[Stage], bool], code: str, why: str) -> Iterator[Finding]:
    names = [stage.name for stage in stages]
    for stage in stages[names.index(first) + 1 :] if first in names else ():
        if is_late(stage):
            yield Finding(code=code, optimizer=stage.name, message=f"comes behind {first!r} in `optimizers`, {why}; name it before")


def _changes_models(stage: Stage) -> bool:
    return stage.name in _CHANGE_MODELS


def _strips_by_others(stage: Stage) -> bool:
    return stage.name == "strip" and stage.optimizer.options.tool != "builtin"


def _compacts(stage: Stage) -> bool:
    return stage.name in _COMPACT
