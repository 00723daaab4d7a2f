"""Store the weights of ONNX models as float16 or int8, or let them be computed with in int8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, Keep
from hatch_mlbundle.optimizer import EVERY_KIND, Context, ConvertTask, Detail, Json, Optimizer, Options, option
from hatch_mlbundle.schema import Glob, Size
from hatch_mlbundle.units import format_size

from .planning import Found, conversion, models

if TYPE_CHECKING:
    from .conversion import Conversion

_LEAST = {"float16": 0.99, "int8": 0.99, "dynamic": 0.9}
"""Cosines that generated inputs have to keep. Stored weights are off by less than a percent, and so is what is computed with them. Dynamic
quantization rounds what goes into each operator, too, to which noise is more sensitive than what a model was trained on."""

_BYTES = {"DOUBLE": 8, "FLOAT": 4, "FLOAT16": 2, "BFLOAT16": 2}


@dataclass(frozen=True, kw_only=True)
class OnnxQuantizeOptions(Options):
    """The options of `onnx_quantize`."""

    dtype: Literal["float16", "int8", "dynamic"] = option(
        "How weights are stored: as float16 or int8, turned back when a session opens, so that nothing else changes; or dynamic: operators "
        "compute with int8, faster, at a larger error.",
        default="float16",
    )
    min_sqnr: float = option(
        "Signal-to-quantization-noise ratio in dB that each weight keeps; below it int8 has a scale for every 32 elements, then it is "
        "float16, bfloat16, or stays. Dynamic quantization does not go by it.",
        default=35.0,
    )
    keep: tuple[Glob, ...] = option(
        "Globs of names of weights that stay as they are; with dynamic, of names of nodes.",
        default=(),
    )
    ops: tuple[str, ...] = option(
        "Types of operators whose weights are meant; empty means all, with dynamic only MatMul.",
        default=(),
    )
    per_channel: bool = option("Whether int8 has a scale for each row or output channel; with false, one for each weight.", default=True)
    reduce_range: bool = option(
        "With dynamic, use 7 bits of 8 for weights: x86 processors without VNNI overflow otherwise where values are large.", default=False
    )
    min_cosine: float | None = option(
        "Cosine that outputs keep on generated inputs, where there are no samples of your own; unset means 0.99, with dynamic 0.9.",
        default=None,
    )
    max_opened: Size = option(
        "Models of more bytes are not opened to compare them, and not quantized dynamically, for want of memory.", default=Size(4 * 10**9)
    )


class OnnxQuantize(Optimizer[OnnxQuantizeOptions]):
    """Makes the weights of ONNX models smaller: float16 or int8 storage, streaming, or onnxruntime's dynamic quantization."""

    name = "onnx_quantize"
    version = "1"
    lossless = False
    risk = "low"
    artifacts = EVERY_KIND
    options_type = OnnxQuantizeOptions

    def programs(self) -> Mapping[str, str]:
        """Return the releases of the libraries that decide a result; raises MissingLibraryError."""
        return library_versions(self.name, "ml-dtypes", "numpy", "onnx", "onnxruntime", install="mlbundle-onnx")

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each model with weights that may be made smaller."""
        for found in models(bundle, context):
            if isinstance(found, Keep):
                yield found
            elif why := self._why_kept(found):
                yield Keep(path=found.file.path, reason=why)
            else:
                size = format_size(sum(found.facts["types"].values()))
                yield conversion(found, f"{found.facts['weights']} weights of {size} as {self.options.dtype}")

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Make the model anew, and prove it; raises KeptError, ModelError, UnsoundResultError, AccuracyError."""
        from .conversion import Conversion

        options = self.options
        least = _LEAST[options.dtype] if options.min_cosine is None else options.min_cosine
        work = Conversion(task, context, least=least, largest=options.max_opened)
        if options.dtype == "dynamic":
            from .dynamic import quantize

            return work.single(partial(quantize, work, options))
        if context.judge is None:
            return work.single(partial(self._store, work, options.dtype, frozenset()))
        from .searching import searched

        return searched(work, context.judge, options.dtype, partial(self._store, work))

    def _store(self, work: Conversion, form: Literal["float16", "int8"], promoted: frozenset[str], folder: Path) -> dict[str, Json]:
        from .choosing import Rules
        from .storing import Place, store

        options = self.options
        rules = Rules(
            form=form,
            keep=options.keep,
            ops=options.ops,
            min_sqnr=options.min_sqnr,
            per_channel=options.per_channel,
            promoted=promoted,
        )
        place = Place(model=folder / work.path, data=work.data_path(folder), location=work.location, scratch=work.folder("work"))
        return {"dtype": form, **store(work.original.path, work.original.files, rules, place)}

    def _why_kept(self, found: Found) -> str | None:
        types, dtype = found.facts["types"], self.options.dtype
        wanted = 2 if dtype == "float16" else 1
        if "why" in found.facts:
            return str(found.facts["why"])
        if not any(_BYTES[each] > wanted for each in types):
            return "it has no large floating-point weights" if not types else f"its weights are {', '.join(types)} already"
        if dtype == "dynamic" and sum(types.values()) > self.options.max_opened:
            return f"{format_size(sum(types.values()))} are more than dynamic quantization may take (`max-opened`)"
        return None
