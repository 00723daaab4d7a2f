"""Choose the form of one weight by what is lost in it: each is written, measured, and written over by the next where it is too coarse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hatch_mlbundle.models.casting import ErrorSum, why_unfit

from .choosing import BFLOAT16_OPSET, Chooser, Rules, channel_axis
from .datafile import DataFile
from .encoding import GROUP, Layout, Source, largest, scales_of, write_channels, write_float, write_groups
from .external import type_of
from .modelfile import Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A weight as it was written: its data type in ONNX, what a person calls the form, dimensions, place in the file, and error.

    `scales` are int8's, float32, with the dimensions in which they multiply; None for floats.
    """

    type: str
    words: str
    dims: tuple[int, ...]
    start: int
    length: int
    error: ErrorSum
    scales: Any = None
    scale_dims: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Its bytes, scales included."""
        return self.length + (self.scales.nbytes if self.scales is not None else 0)


class Encoder:
    """Encodes the weights of one model into two files: for data outside the model's file, and for what is to be embedded in it."""

    def __init__(self, rules: Rules, chooser: Chooser, outside: DataFile, embedded: DataFile) -> None:
        self._rules = rules
        self._chooser = chooser
        self._files = {True: outside, False: embedded}
        self._done: dict[tuple[Any, ...], Encoded] = {}

    def encode(self, weight: Weight) -> Encoded | str:
        """Write the weight in the first form that loses little enough; return why where none does.

        Weights that share data go on sharing it.
        """
        form, out = self._chooser.form(weight), self._files[weight.is_outside]
        if weight.data is None:
            return "not stored as raw data"
        axis = channel_axis(weight) if form == "int8" else 0
        key = (weight.data, tuple(weight.tensor.dims), weight.tensor.data_type, axis, form, weight.scope.opset >= BFLOAT16_OPSET)
        if key in self._done:
            return self._done[key]
        reasons: list[str] = []
        with Source(weight.data, type_of(weight.tensor)) as source:
            encoded = self._int8(weight, source, out, axis, reasons) if form == "int8" else None
            encoded = encoded or self._float(weight, source, out, reasons)
            if encoded is not None and encoded.error.signal == 0 and source.underflows:
                encoded, reasons = None, ["its values are too small for float32"]
        if encoded is None:
            out.take(out.end, 0)
            return "; ".join(dict.fromkeys(reasons))
        out.take(encoded.start, encoded.length)
        self._done[key] = encoded
        return encoded

    def _float(self, weight: Weight, source: Source, out: DataFile, reasons: list[str]) -> Encoded | None:
        if type_of(weight.tensor) not in ("FLOAT", "DOUBLE"):
            return None
        dims, length = tuple(weight.tensor.dims), 2 * source.count
        start = out.start(length)
        for dtype, words in (("FLOAT16", "F16"), ("BFLOAT16", "BF16")):
            if dtype == "FLOAT16" or weight.scope.opset >= BFLOAT16_OPSET:
                error = write_float(source, dtype, out.descriptor, start)
                if self._is_fine(error, words, reasons):
                    return Encoded(type=dtype, words=words, dims=dims, start=start, length=length, error=error)
        return None

    def _int8(self, weight: Weight, source: Source, out: DataFile, axis: int, reasons: list[str]) -> Encoded | None:
        dims = tuple(weight.tensor.dims)
        start = out.start(source.count)
        layout = Layout.of(dims, axis) if self._rules.per_channel else Layout(1, 1, source.count)
        values = largest(source, layout)
        if values is None:
            reasons.append("it holds values that are not finite")
            return None
        scales = scales_of(values)
        error = write_channels(source, layout, scales, out.descriptor, start)
        scale_dims = (len(scales), *(1,) * (len(dims) - 1 - axis)) if self._rules.per_channel else (1,)
        words = _words(axis, len(dims)) if self._rules.per_channel else "I8"
        if not self._is_fine(error, words, reasons):
            if source.count % GROUP:
                return None
            error, scales = write_groups(source, out.descriptor, start)
            dims, scale_dims, words = (source.count // GROUP, GROUP), (source.count // GROUP, 1), f"I8 in groups of {GROUP}"
            if not self._is_fine(error, words, reasons):
                return None
        place = {"start": start, "length": source.count}
        return Encoded(type="INT8", words=words, dims=dims, error=error, scales=scales, scale_dims=scale_dims, **place)

    def _is_fine(self, error: ErrorSum, words: str, reasons: list[str]) -> bool:
        """Say whether the error may be; where not, the reason is added."""
        why = why_unfit(error, words, self._rules.min_sqnr)
        reasons += [why] if why else []
        return why is None


def _words(axis: int, rank: int) -> str:
    if axis == 0:
        return "I8 by row"
    return "I8 by column" if axis == rank - 1 else f"I8 along axis {axis}"
