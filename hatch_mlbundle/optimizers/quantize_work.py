"""Carry out a conversion of weights: at the setting asked for, or at the smallest one that keeps the bound of accuracy."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hatch_mlbundle.accuracy.search import Choice, Trial, smallest_within, trial_rows, unmeasured
from hatch_mlbundle.accuracy.stage import staged
from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.models.gates import LEVELS, Policy, Setting
from hatch_mlbundle.models.model_quantizing import ModelFiles, Result, quantize_model, stored_tensors
from hatch_mlbundle.models.quantizing import Stored, decibels
from hatch_mlbundle.models.restore import restore
from hatch_mlbundle.models.safetensors import Tensor, read_header
from hatch_mlbundle.optimizer import ConvertTask, Detail, Json, Judge, Measured

_Key = tuple[str, str]
"""A tensor: the path of its file, and its name."""


def carry_out(task: ConvertTask, files: ModelFiles, policy: Policy, judge: Judge | None) -> Mapping[str, Detail]:
    """Write the outputs below the task's target and return the details of the weights; raises KeptError, ModelError, UnsoundResultError."""
    levels = LEVELS[policy.target]
    if judge is None:
        results = quantize_model(files, task.target, policy, lambda *_: levels[0])
        return _details(results, policy, policy.target, {})
    search = _Search(task, files, policy, judge)
    choice, trials = smallest_within(levels, search.count, search.attempt, judge.search)
    if unmeasured(trials):
        raise KeptError("nothing that is installed can run the model, so that its accuracy cannot be shown")
    if choice is None or (choice.setting == "keep" and not choice.promoted):
        raise KeptError(f"no smaller setting keeps the bound of accuracy ({_told(trials)})")
    results = search.make(task.target, choice)
    return _details(results, policy, search.words(choice), {"search": trial_rows(trials)})


def _told(trials: Sequence[Trial]) -> str:
    measured = [(each.setting, each.measured) for each in trials if each.measured]
    return "; ".join(f"{setting}: {found.metric} {found.value:.6g}" for setting, found in measured)


def _details(results: Sequence[Result], policy: Policy, setting: str, more: Mapping[str, Json]) -> dict[str, Detail]:
    if not any(each.quantized.changed for each in results):
        raise KeptError(f"no tensor can be stored as {policy.target} with {policy.min_sqnr:g} dB")
    return {
        each.written: {
            "setting": setting,
            "sqnr": decibels(each.quantized.error),
            **more,
            "tensors": [tensor.row() for tensor in each.quantized.tensors],
        }
        for each in results
    }


class _Search:
    """The attempts at one model: each is made in a folder of its own, laid out as the original, measured, and removed."""

    def __init__(self, task: ConvertTask, files: ModelFiles, policy: Policy, judge: Judge) -> None:
        self._task = task
        self._files = files
        self._policy = policy
        self._judge = judge
        self._levels = LEVELS[policy.target]
        self._seen: dict[Setting, dict[_Key, Stored]] = {}
        headers = {path: read_header(files.places[path]) for path in files.weights}
        self._movable = [(path, each.name) for path, header in headers.items() for each in header.tensors if policy.why_kept(each) is None]
        self.count = len(self._movable)

    def attempt(self, choice: Choice) -> Trial:
        """Make the model so, measure it, and remove it again."""
        folder = self._task.scratch / "attempt"
        try:
            if choice.setting == "keep":
                size, changed = sum(self._task.sources[path].stat().st_size for path in self._task.change.sources), dict[str, Path]()
            else:
                results = self.make(folder / "made", choice)
                size = sum(path.stat().st_size for path in (folder / "made").rglob("*") if path.is_file())
                changed = _readable(results, folder)
            return Trial(setting=self.words(choice), size=size, measured=self._measure(changed, folder / "candidate"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def make(self, target: Path, choice: Choice) -> list[Result]:
        """Write the model so below `target`."""
        coarse, fine = self._steps(choice)
        promoted = self._most_harmful(coarse, fine, choice.promoted)

        def start(path: str, tensor: Tensor) -> Setting:
            return fine if (path, tensor.name) in promoted else coarse

        results = quantize_model(self._files, target, self._policy, start)
        if not choice.promoted:
            self._seen[coarse] = stored_tensors(results)
        return results

    def words(self, choice: Choice) -> str:
        """Return a choice as it is told."""
        coarse, fine = (self._word(each) for each in self._steps(choice))
        return f"{coarse}, {choice.promoted} of {self.count} tensors {fine}" if choice.promoted else coarse

    def _word(self, setting: Setting) -> str:
        return "as it was" if setting == "keep" else self._policy.words(setting)

    def _steps(self, choice: Choice) -> tuple[Setting, Setting]:
        place = [str(each) for each in self._levels].index(choice.setting)
        return self._levels[place], self._levels[min(place + 1, len(self._levels) - 1)]

    def _most_harmful(self, coarse: Setting, fine: Setting, number: int) -> set[_Key]:
        """Return the tensors whose share of error is largest for the bytes that it would cost to store them more finely."""
        if not number:
            return set()
        before, after = self._seen[coarse], self._seen.get(fine, {})
        ranked = sorted(self._movable, key=lambda key: (-_harm(before[key], after.get(key)), key))
        return set(ranked[:number])

    def _measure(self, changed: Mapping[str, Path], candidate: Path) -> Measured | None:
        """Lay the changed model out, and have it measured against the original."""
        return self._judge.measure(*staged(self._task.sources, self._task.change.path, changed, candidate))


def _readable(results: Sequence[Result], folder: Path) -> dict[str, Path]:
    """Return all files made, by their paths in the bundle, with packed weights as ordinary ones under their old names."""
    made = folder / "made"
    found = {path.relative_to(made).as_posix(): path for path in sorted(made.rglob("*")) if path.is_file()}
    for number, each in enumerate(results):
        if each.packed:
            found[each.path] = folder / f"{number}.safetensors"
            restore(found.pop(each.written), found[each.path])
    return found


def _harm(coarse: Stored, fine: Stored | None) -> float:
    """Return a tensor's noise, as a share of its signal, for each byte that it takes to be rid of it."""
    error = coarse.error
    size = fine.size if fine else coarse.tensor.nbytes
    if error is None or not error.signal or size <= coarse.size:
        return 0.0
    return error.noise / error.signal / (size - coarse.size)
