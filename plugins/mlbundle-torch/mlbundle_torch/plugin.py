"""What hatch-mlbundle finds of this distribution, under the entry-point group `mlbundle`. It imports no torch: each build imports it."""

from __future__ import annotations

from typing import Any

from hatch_mlbundle.accuracy.evaluator import Evaluator
from hatch_mlbundle.hookspecs import hookimpl
from hatch_mlbundle.optimizer import Optimizer

from .evaluators import SentenceTransformers, Transformers
from .prune_weights import PruneWeights
from .torch_to_onnx import TorchToOnnx


@hookimpl
def mlbundle_register_optimizers() -> list[type[Optimizer[Any]]]:
    """Return the optimizers."""
    return [PruneWeights, TorchToOnnx]


@hookimpl
def mlbundle_register_evaluators() -> list[type[Evaluator]]:
    """Return what runs transformers and sentence-transformers models."""
    return [SentenceTransformers, Transformers]
