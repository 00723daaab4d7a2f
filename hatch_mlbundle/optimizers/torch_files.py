"""Take out of PyTorch files what no application loads: training state, the unseen rest of storages, second copies of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from hatch_mlbundle.errors import ModelError, UnsoundResultError, without_path
from hatch_mlbundle.model import Bundle, Change, Convert, File, Finding, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import EVERY_KIND, Context, ConvertTask, Detail, Json, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.units import format_size

_BLOCK = 4096
"""Bytes that a file system gives at a time: a smaller gain is none, unless it is a hundredth of the file."""


@dataclass(frozen=True, kw_only=True)
class TorchFilesOptions(Options):
    """What becomes of PyTorch files (.pt, .pth, .bin, .ckpt)."""

    to: Literal["torch", "safetensors"] = option(
        "`torch` keeps name and format; `safetensors` writes state dicts as that, `pytorch_model.bin` as `model.safetensors`.",
        default="torch",
    )
    drop_training_state: bool = option("Leave out what only goes on with a training: the state of optimizers and schedulers.", default=True)
    drop_duplicates: bool = option(
        "Leave out `pytorch_model.bin` where the `model.safetensors` beside it, which loaders prefer, holds the same tensors.", default=True
    )


class TorchFiles(Optimizer[TorchFilesOptions]):
    """Makes PyTorch files smaller without torch and without running them; every tensor that stays is the same byte for byte."""

    name = "torch_files"
    version = "1"
    risk: ClassVar[Risk] = "medium"
    artifacts = EVERY_KIND
    options_type = TorchFilesOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield what becomes of each PyTorch file that something can be taken out of."""
        from hatch_mlbundle.models.torch_names import SUFFIXES

        from .torch_weights import conversions, duplicates

        named = [file for file in bundle.values() if file.path.lower().endswith(SUFFIXES)]
        files = [file for file in named if file.kind is not Kind.LINK and context.selects(file.path)]
        facts = {path: fact for path, fact in self._examine(files, context).items() if fact}
        settled: dict[str, Change] = {}
        if self.options.drop_duplicates:
            settled = duplicates(bundle, facts, context)
        left = {path: fact for path, fact in facts.items() if path not in settled}
        if self.options.to == "safetensors":
            settled |= conversions(bundle, left, context)
        taken = {path for change in settled.values() if isinstance(change, Convert) for path in change.sources}
        for path in sorted({*settled, *left} - (taken - settled.keys())):
            change = settled.get(path)
            if change is None or (isinstance(change, Keep) and path in facts):
                change = self._alone(bundle[path], facts[path], context) or change
            if change:
                yield change

    def rewrite(self, task: Task, context: Context) -> Detail:
        """Write the smaller PyTorch file."""
        from hatch_mlbundle.models.torch_shrink import shrink

        try:
            return shrink(task.source, task.target, drop_training_state=self.options.drop_training_state)
        except ModelError as error:
            raise ModelError(without_path(error, task.source)) from error

    def check(self, task: Task, context: Context) -> None:
        """Compare every object, and every byte of a tensor, with the original's."""
        from hatch_mlbundle.models.torch_shrink import check_shrunk

        try:
            check_shrunk(task.source, task.target, drop_training_state=self.options.drop_training_state)
        except ModelError as error:
            raise UnsoundResultError(without_path(error, task.source, task.target)) from error

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write one file of safetensors for each PyTorch file, and the index over them."""
        from .torch_weights import convert

        try:
            return convert(task, drop_training_state=self.options.drop_training_state)
        except ModelError as error:
            raise ModelError(without_path(error, *task.sources.values())) from error

    def _examine(self, files: list[File], context: Context) -> Mapping[str, Json]:
        from hatch_mlbundle.models.torch_shrink import examine

        drop = self.options.drop_training_state
        return context.examine(self.name, files, lambda file: examine(context.local(file), drop_training_state=drop))

    def _alone(self, file: File, fact: Json, context: Context) -> Change | None:
        """Return what becomes of a file that stays what it is; report what is wrong with it."""
        if "keep" in fact:
            return Keep(path=file.path, reason=fact["keep"])
        if "broken" in fact or "foreign" in fact:
            code, problem = ("MB711", fact["broken"]) if "broken" in fact else ("MB712", fact["foreign"])
            context.report(Finding(code=code, path=file.path, message=f"{problem}; it stays as it is"))
            return None
        if fact["saves"] < min(_BLOCK, file.size / 100) or not fact["saves"]:
            return None
        parts = {f"the entry {name!r}": size for name, size in fact["dropped"].items()} | {
            "parts of storages that no tensor is in": fact["views"]
        }
        reason = ", ".join(f"{what} ({format_size(size)})" for what, size in parts.items() if size)
        return Rewrite(path=file.path, reason=reason or "storages that no tensor is in", saves=fact["saves"])
