"""Prune the weights of safetensors models by their magnitude: single ones, stored sparsely, or whole neurons."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hatch_mlbundle.accuracy.search import Trial, first_within, trial_rows, unmeasured
from hatch_mlbundle.accuracy.stage import model_files, model_root, staged
from hatch_mlbundle.errors import ConfigurationError, KeptError
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, Convert, Finding, Keep
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Judge, Optimizer, Options, Risk, option
from hatch_mlbundle.runtime.signpost import PACKED, is_signpost
from hatch_mlbundle.schema import Glob
from hatch_mlbundle.units import format_size

from .modelfolders import in_folder, other_weights, weight_files

if TYPE_CHECKING:
    from .pruning.attempts import Attempt

TABLE = "tool.mlbundle.prune_weights"
_STEPS = (1.0, 0.75, 0.5, 0.25, 0.1)
"""Shares of `amount` that are tried, where a bound of accuracy is set."""


@dataclass(frozen=True, kw_only=True)
class PruneWeightsOptions(Options):
    """What is pruned, and how."""

    amount: float = option("The share of the weights, or neurons, that goes: more than 0, less than 1.", default=0.2)
    structure: Literal["structured", "unstructured"] = option(
        "`structured` takes whole neurons out of feed-forward layers; `unstructured` single weights, which need `runtime.install()`.",
        default="structured",
    )
    storage: Literal["sparse", "dense"] = option(
        "How what `unstructured` leaves is stored: `dense` keeps the file's format and size, with zeros in it.", default="sparse"
    )
    targets: tuple[Glob, ...] = option(
        "Globs of the tensors that `unstructured` prunes; empty means the matrices of linear layers.", default=()
    )
    min_count: int = option("Matrices with fewer elements stay, where `targets` is empty.", default=4096)


class PruneWeights(Optimizer[PruneWeightsOptions]):
    """Leaves out the weights of the smallest magnitude, of safetensors files.

    Pruning loses much unless the model is trained further: with a bound in [tool.mlbundle.accuracy], less is pruned where it is not kept.
    """

    name = "prune_weights"
    version = "1"
    lossless = False
    risk: ClassVar[Risk] = "high"
    options_type = PruneWeightsOptions

    def programs(self) -> Mapping[str, str]:
        """Return the libraries that the numbers depend on; raises ConfigurationError, MissingLibraryError."""
        if found := _faults(self.options):
            raise ConfigurationError(found)
        return library_versions(self.name, "ml-dtypes", "numpy")

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each safetensors file, or model that is measured, or for each transformers folder where whole neurons go."""
        files = [file for path, file in bundle.items() if path.endswith(".safetensors") and file.link is None and context.selects(path)]
        usable = [file.path for file in files if not is_signpost(context.local(file))]
        yield from (Keep(path=file.path, reason="its weights are packed already") for file in files if file.path not in usable)
        if self.options.structure == "structured":
            yield from self._plan_structured(usable, bundle, context)
        else:
            yield from self._plan_single(usable, bundle, context)

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Prune by `amount`, or by the largest share of it that keeps the bound of accuracy; where single weights go, all was read back."""
        search = _Search(task, context, self._maker(task, context), self.options.amount)
        made, rows = search.run()
        for path, written in made.outputs.items():
            target = task.target / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(written, target)
        self._tell_dense(made, context)
        return {path: {**detail, "search": rows} if rows else detail for path, detail in made.details.items()}

    def _maker(self, task: ConvertTask, context: Context) -> Callable[[float, Path], Attempt]:
        from hatch_mlbundle.models.safetensors import read_header

        from .pruning.attempts import prune_files, prune_neurons, targets_of

        options = self.options
        paths = {path: task.sources[path] for path in task.change.sources}
        if options.structure == "structured":
            config = in_folder(dirname(task.change.path), "config.json")
            return lambda amount, folder: prune_neurons(paths, config, amount, folder)
        names = {path: targets_of(read_header(source), options.targets, options.min_count) for path, source in paths.items()}
        for path in paths if options.targets else ():
            if not names[path]:
                context.report(Finding(code="MB734", path=path, message="none of its tensors is matched by `targets`; correct the globs"))
        sparse = options.storage == "sparse"
        return lambda amount, folder: prune_files(paths, names, amount, folder, sparse=sparse)

    def _plan_single(self, usable: list[str], bundle: Bundle, context: Context) -> Iterator[Change]:
        """Yield a Convert for each file, or for all of a model where it is measured: each within the bound need not be so together."""
        sparse = self.options.storage == "sparse"
        groups: dict[str, list[str]] = {}
        for path in usable:
            if sparse and f"{path}{PACKED}" in bundle:
                yield Keep(path=path, reason=f"{path}{PACKED} is there already")
                continue
            root = model_root(bundle, path) if context.judge else None
            groups.setdefault(path if root is None else f"{root}/", []).append(path)
        reason = f"{self.options.amount:g} of its weights pruned, stored {self.options.storage}"
        for paths in groups.values():
            outputs = (*paths, *(f"{path}{PACKED}" for path in paths if sparse))
            yield self._convert(paths[0], tuple(paths), outputs, reason, bundle, context)

    def _plan_structured(self, usable: list[str], bundle: Bundle, context: Context) -> Iterator[Change]:
        for folder in dict.fromkeys(map(dirname, usable)):
            config = in_folder(folder, "config.json")
            weights = [path for path in weight_files(bundle, folder) if path.endswith((".safetensors", ".safetensors.index.json"))]
            lone = [path for path in usable if dirname(path) == folder and (path not in weights or config not in bundle)]
            for path in lone:
                message = "is no transformers model, so that which neurons go together is not known; prune single weights (`unstructured`)"
                context.report(Finding(code="MB733", path=path, message=message))
            if weights and config in bundle and all(bundle[path].link is None for path in (*weights, config)):
                sources = (*weights, config)
                problem = self._why_whole(usable, weights, config, bundle)
                if problem:
                    yield from (Keep(path=path, reason=problem) for path in weights if path in usable)
                    continue
                yield self._convert(weights[0], sources, sources, f"{self.options.amount:g} of its neurons pruned", bundle, context)

    def _why_whole(self, usable: Sequence[str], weights: Sequence[str], config: str, bundle: Bundle) -> str | None:
        """Return why a model cannot lose neurons: some file that must change with the others stays, or does not know of it; else None."""
        excluded = matcher(self.options.exclude)
        stays = [path for path in (*weights, config) if excluded(path) or (path.endswith(".safetensors") and path not in usable)]
        if stays:
            return f"{stays[0]}, which would have to change with it, is not to be changed"
        others = other_weights(bundle, dirname(config), weights)
        return f"{others[0]} goes by the same config.json; leave it out first" if others else None

    def _convert(
        self, path: str, sources: tuple[str, ...], outputs: tuple[str, ...], reason: str, bundle: Bundle, context: Context
    ) -> Convert:
        root = model_root(bundle, path) if context.judge else None
        reads = [other for other in model_files(bundle, root) if other not in sources] if root is not None else []
        dense = self.options.structure == "unstructured" and self.options.storage == "dense"
        return Convert(
            path=path, reason=reason, sources=sources, outputs=outputs, reads=tuple(reads), may_grow=dense, key="" if root is None else root
        )

    def _tell_dense(self, made: Attempt, context: Context) -> None:
        for path, detail in made.details.items():
            if "deflated" in detail:
                before, after = map(format_size, detail["deflated"])
                message = f"zeros take as much space as what was there: nothing is saved installed; compressed, {before} became {after}"
                context.report(Finding(code="MB732", path=path, message=f'{message}; set `storage = "sparse"`'))


class _Search:
    """Looks for the largest share of the amount that keeps the bound of accuracy; without one, the amount itself."""

    def __init__(self, task: ConvertTask, context: Context, make: Callable[[float, Path], Attempt], amount: float) -> None:
        self._task, self._context, self._make, self._amount = task, context, make, amount
        self._made: dict[str, Attempt] = {}

    def run(self) -> tuple[Attempt, list[dict[str, Any]]]:
        """Return the pruned model and the rows of the search; raises KeptError, AccuracyError."""
        judge = self._context.judge
        if judge is None:
            return self._make(self._amount, self._folder("made")), []
        steps = _STEPS[:1] if judge.search == "off" else _STEPS
        chosen, trials = first_within(self._settings(steps), lambda setting: self._attempt(setting, judge))
        if chosen is None and unmeasured(trials):
            raise KeptError("its accuracy, for which a bound is set, could not be measured")
        if chosen is None:
            worst = trials[-1].measured
            told = f"{worst.metric} is {worst.value:.6g} at {trials[-1].setting}" if worst else "nothing was tried"
            tried = ", ".join(trial.setting for trial in trials)
            message = f"no amount that was tried ({tried}) keeps the bound of accuracy: {told}; it stays as it is"
            self._context.report(Finding(code="MB735", path=self._task.change.path, message=message))
            raise KeptError("no amount keeps the bound of accuracy")
        return self._made[chosen], trial_rows(trials)

    def _settings(self, steps: Iterable[float]) -> Iterator[str]:
        """Yield the amounts to try, with the model made by each; it ends with one so small that nothing would go. Raises KeptError."""
        for setting in (f"{self._amount * step:g}" for step in steps):
            first = not self._made
            for other in self._made:
                shutil.rmtree(self._task.scratch / f"made {other}")
            self._made.clear()
            try:
                self._made[setting] = self._make(float(setting), self._folder(f"made {setting}"))
            except KeptError:
                if first:
                    raise
                return
            yield setting

    def _attempt(self, setting: str, judge: Judge) -> Trial:
        made = self._made[setting]
        target = self._task.scratch / f"candidate {made.amount:g}"
        original, candidate = staged(self._task.sources, self._task.change.path, made.plain, target)
        return Trial(setting=setting, size=made.size, measured=judge.measure(original, candidate))

    def _folder(self, name: str) -> Path:
        folder = self._task.scratch / name
        folder.mkdir()
        return folder


def _faults(options: PruneWeightsOptions) -> list[str]:
    found = []
    if not 0 < options.amount < 1:
        found.append(f"{TABLE}.amount: must be more than 0 and less than 1, not {options.amount:g}")
    if options.min_count < 1:
        found.append(f"{TABLE}.min-count: must be 1 or more, not {options.min_count}")
    if options.structure == "structured" and options.targets:
        found.append(f'{TABLE}.targets: is for `structure = "unstructured"`; take it out')
    if options.structure == "structured" and options.storage == "dense":
        found.append(f'{TABLE}.storage: is for `structure = "unstructured"`; take it out')
    return found
