"""Run the plugin's optimizers as the pipeline would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlbundle_onnx.evaluator import OnnxEvaluator
from mlbundle_onnx.quantize import OnnxQuantize, OnnxQuantizeOptions
from mlbundle_onnx.slim import OnnxSlim

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Change, Convert, Keep
from hatch_mlbundle.optimizer import Detail, Judge, Optimizer
from hatch_mlbundle.plugins import Registered, RegisteredEvaluator, Registry, load_registry
from tests.fakes import FakeContext, bundle_of


def planned(root: Path, optimizer: Optimizer[Any] | None = None, **options: Any) -> tuple[list[Change], FakeContext, Optimizer[Any]]:
    step = optimizer or OnnxQuantize(OnnxQuantizeOptions(**options))
    context = FakeContext(root)
    return list(step.plan(bundle_of(root), context)), context, step


def converted(
    root: Path, work: Path, change: Change, step: Optimizer[Any], judge: Judge | None = None
) -> tuple[Mapping[str, Detail], Path, FakeContext]:
    """Carry out a change; return the details, the folder with the outputs, and the context."""
    assert isinstance(change, Convert)
    context = FakeContext(root, judge=judge)
    task = context.convert_task(change, work)
    details = step.convert(task, context)
    return details, task.target, context


def reasons(changes: list[Change]) -> dict[str, str]:
    return {change.path: change.reason for change in changes if isinstance(change, Keep)}


def registry() -> Registry:
    """Return all optimizers, the plugin's among them whether it is installed or only on the path."""
    found = load_registry()
    ours = {
        each.name: Registered(optimizer=each, distribution="mlbundle-onnx", distribution_version="0") for each in (OnnxQuantize, OnnxSlim)
    }
    evaluator = RegisteredEvaluator(evaluator=OnnxEvaluator, distribution="mlbundle-onnx", distribution_version="0")
    return Registry(iter({**found, **ours}.values()), {**found.evaluators, "onnx": evaluator}.values())


def job(folder: Path, **settings: Any) -> Job:
    every = registry()
    return prepare(project_config(folder, every, settings), every, project=folder)
