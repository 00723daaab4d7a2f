"""Simplify the graphs of ONNX models by onnxslim: constants folded, nodes fused, what nothing uses left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hatch_mlbundle.errors import ModelError, ProgramError
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, Keep
from hatch_mlbundle.optimizer import EVERY_KIND, Context, ConvertTask, Detail, Json, Optimizer, Options, option
from hatch_mlbundle.schema import Size
from hatch_mlbundle.units import format_size

from .planning import conversion, models

if TYPE_CHECKING:
    from .conversion import Conversion


@dataclass(frozen=True, kw_only=True)
class OnnxSlimOptions(Options):
    """The options of `onnx_slim`."""

    min_cosine: float = option(
        "Cosine that outputs keep on generated inputs, where [tool.mlbundle.accuracy] gives no samples.", default=0.9999
    )
    max_size: Size = option("Models of more bytes stay as they are: onnxslim holds a model several times in memory.", default=Size(10**9))


class OnnxSlim(Optimizer[OnnxSlimOptions]):
    """Simplifies the graphs of ONNX models; external data comes into the model's own file."""

    name = "onnx_slim"
    version = "1"
    lossless = False
    risk = "medium"
    artifacts = EVERY_KIND
    options_type = OnnxSlimOptions

    def programs(self) -> Mapping[str, str]:
        """Return the releases of the libraries that decide a result; raises MissingLibraryError."""
        return library_versions(self.name, "numpy", "onnx", "onnxruntime", "onnxslim", install="mlbundle-onnx[slim]")

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each model that is not too large."""
        for found in models(bundle, context):
            if isinstance(found, Keep):
                yield found
            elif "why" in found.facts:
                yield Keep(path=found.file.path, reason=str(found.facts["why"]))
            elif (size := found.file.size + sum(bundle[path].size for path in set(found.data.values()))) > self.options.max_size:
                yield Keep(path=found.file.path, reason=f"{format_size(size)} are more than `max-size`")
            else:
                yield conversion(found, "graph simplified by onnxslim")

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Make the model anew, and prove it; raises KeptError, ModelError, UnsoundResultError, AccuracyError."""
        from .conversion import Conversion

        work = Conversion(task, context, least=self.options.min_cosine, largest=self.options.max_size)
        return work.single(lambda folder: _slim(work, folder))


def _slim(work: Conversion, folder: Path) -> dict[str, Json]:
    from .embedding import embed
    from .isolation import call, one_line
    from .modelfile import read_graph

    target = folder / work.path
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = work.folder("work")
    whole = scratch / "whole.onnx"
    embed(work.original.path, work.original.files, whole)
    try:
        call(scratch, "slim", model=str(whole), target=str(target))
    except ProgramError as error:
        raise ModelError(f"onnxslim: {one_line(str(error), target.parent)}") from error
    before, after = (sum(len(scope.body.node) for scope in read_graph(path).scopes) for path in (work.original.path, target))
    return {"nodes": [before, after]}
