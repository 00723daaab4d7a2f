"""A lossy step for tests: stores a tiny network as float8, the most harmful layers as float16, as the bound of accuracy asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.accuracy.search import Choice, Trial, smallest_within, trial_rows, unmeasured
from hatch_mlbundle.accuracy.stage import candidate_folder, model_files, model_root
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Bundle, Change, Convert
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Optimizer, Options, option
from hatch_mlbundle.plugins import Registered, RegisteredEvaluator, Registry, load_registry
from tests.accuracy.tinynet import dtypes, read_model, write_model

SETTINGS = ("F8_E4M3", "F16", "F32")


@dataclass(frozen=True, kw_only=True)
class RoundingOptions(Options):
    least: str = option("The coarsest setting.", default="F8_E4M3")


class Rounding(Optimizer[RoundingOptions]):
    """Rounds the layers of a network, the farthest from its rounded form first."""

    name = "rounding"
    version = "1"
    lossless = False
    options_type = RoundingOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        for path in bundle:
            if path.endswith(".safetensors"):
                root = model_root(bundle, path)
                reads = tuple(each for each in model_files(list(bundle), root) if each != path) if root is not None else ()
                yield Convert(path=path, reason="rounded", sources=(path,), outputs=(path,), reads=reads)

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        path = task.change.path
        tensors, target = read_model(task.sources[path]), task.target / path
        judge, root = context.judge, model_root(task.sources, path)
        if judge is None:
            write_model(target, self.rounded(tensors, Choice(setting=self.options.least)))
            return {path: {}}

        def attempt(choice: Choice) -> Trial:
            place = task.scratch / f"{choice.setting}-{choice.promoted}"
            write_model(place / "model.safetensors", self.rounded(tensors, choice))
            if root is None:
                original, candidate = task.sources[path], place / "model.safetensors"
            else:
                below = path.removeprefix(f"{root}/")
                original = task.sources[path].parents[below.count("/")]
                candidate = candidate_folder(original, {below: place / "model.safetensors"}, place / "candidate")
            measured = judge.measure(original, candidate)
            told = f"{choice.setting}, {choice.promoted} promoted" if choice.promoted else choice.setting
            return Trial(setting=told, size=(place / "model.safetensors").stat().st_size, measured=measured)

        settings = SETTINGS[SETTINGS.index(self.options.least) :]
        choice, trials = smallest_within(settings, len(tensors), attempt, judge.search)
        if choice is None and not unmeasured(trials):
            raise KeptError("nothing that is smaller keeps the bound")
        write_model(target, self.rounded(tensors, choice or Choice(setting="F16")))
        return {path: {"search": trial_rows(trials)}}

    def rounded(self, tensors: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
        import numpy as np

        coarse = dtypes()[choice.setting]
        harm = {name: float(np.linalg.norm(tensor - tensor.astype(coarse).astype("f4"))) for name, tensor in tensors.items()}
        worst = sorted(harm, key=lambda name: -harm[name])[: choice.promoted]
        finer = dtypes()[SETTINGS[min(SETTINGS.index(choice.setting) + 1, len(SETTINGS) - 1)]]
        return {name: tensor.astype(finer if name in worst else coarse) for name, tensor in tensors.items()}


def job(folder: Path, *evaluators: Any, steps: tuple[type[Optimizer[Any]], ...] = (Rounding,), **settings: Any) -> Job:
    """Return the job of a project whose one step rounds, with these evaluators installed."""
    ours = load_registry().values()
    added = [Registered(optimizer=each, distribution="demo", distribution_version="1.0") for each in steps]
    offered = [RegisteredEvaluator(evaluator=each, distribution="demo", distribution_version="1.0") for each in evaluators]
    registry = Registry(iter([*ours, *added]), offered)
    return prepare(project_config(folder, registry, {"optimizers": ["rounding"], **settings}), registry, project=folder)
