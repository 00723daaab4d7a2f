"""What hatch-mlbundle finds under the entry-point group `mlbundle`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hatch_mlbundle.accuracy.evaluator import Evaluator
from hatch_mlbundle.contents.inspector import Inspector
from hatch_mlbundle.hookspecs import hookimpl
from hatch_mlbundle.optimizer import Optimizer

from .evaluator import OnnxEvaluator
from .inspector import OnnxInspector
from .quantize import OnnxQuantize
from .slim import OnnxSlim


@hookimpl
def mlbundle_register_optimizers() -> Iterable[type[Optimizer[Any]]]:
    """Return the optimizers of ONNX models."""
    return [OnnxQuantize, OnnxSlim]


@hookimpl
def mlbundle_register_evaluators() -> Iterable[type[Evaluator]]:
    """Return what runs ONNX models."""
    return [OnnxEvaluator]


@hookimpl
def mlbundle_register_inspectors() -> Iterable[type[Inspector]]:
    """Return what tells what ONNX models are made of."""
    return [OnnxInspector]
