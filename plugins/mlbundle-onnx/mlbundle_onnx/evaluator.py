"""Run ONNX models on the user's samples, for [tool.mlbundle.accuracy]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from hatch_mlbundle.accuracy.evaluator import Evaluator, Outputs, Samples, unbatched
from hatch_mlbundle.libraries import library_versions

_BATCH = 16
_NUMPY: Mapping[str, str] = {
    "tensor(float)": "f4",
    "tensor(double)": "f8",
    "tensor(float16)": "f2",
    "tensor(int8)": "i1",
    "tensor(int16)": "i2",
    "tensor(int32)": "i4",
    "tensor(int64)": "i8",
    "tensor(uint8)": "u1",
    "tensor(uint16)": "u2",
    "tensor(uint32)": "u4",
    "tensor(uint64)": "u8",
    "tensor(bool)": "?",
}


class OnnxEvaluator(Evaluator):
    """Runs a model by onnxruntime, on one thread, so that the same inputs give the same numbers."""

    name: ClassVar[str] = "onnx"
    version: ClassVar[str] = "1"

    def programs(self) -> Mapping[str, str]:
        """Return onnxruntime's and numpy's releases."""
        return library_versions(self.name, "numpy", "onnxruntime", install="mlbundle-onnx")

    def fits(self, model: Path) -> bool:
        """Say whether it is a file of the name `*.onnx`."""
        return model.suffix.lower() == ".onnx" and model.is_file()

    def outputs(self, model: Path, samples: Samples) -> Iterator[Outputs]:
        """Yield what the model gives for each sample; raises ValueError where the samples lack an input, or have one that it does not take.

        Samples are taken together where all inputs' first dimension is free, else one by one, with and without a first axis added.
        """
        session = _session(model)
        inputs = {each.name: each for each in session.get_inputs()}
        if set(samples.names) != set(inputs):
            raise ValueError(f"the model takes {', '.join(inputs)}; the samples have {', '.join(samples.names)}")
        is_batched = _takes_batches(inputs, samples)
        for batch in samples.batches(_BATCH if is_batched else 1):
            count = len(next(iter(batch.values())))
            feed = {name: array.astype(_dtype(inputs[name])) for name, array in batch.items()}
            yield from _run(session, feed, count, is_batched=is_batched)


def _run(session: Any, feed: dict[str, Any], count: int, *, is_batched: bool) -> Iterator[Outputs]:
    import numpy as np

    if not is_batched:
        inputs = {each.name: each for each in session.get_inputs()}
        feed = {name: _fitting(array, inputs[name]) for name, array in feed.items()}
    given = zip((each.name for each in session.get_outputs()), session.run(None, feed), strict=True)
    outputs = {name: array for name, array in given if isinstance(array, np.ndarray) and array.dtype.kind in "biuf"}
    if is_batched:
        yield from unbatched(outputs, count)
    else:
        yield outputs


def _fitting(array: Any, declared: Any) -> Any:
    """Return a batch of one as the model declares it: without the added axis where the sample has as many axes as the input."""
    return array[0] if len(declared.shape) == array.ndim - 1 else array


def _takes_batches(inputs: Mapping[str, Any], samples: Samples) -> bool:
    """Say whether every input has a free first dimension, and one axis more than the samples' rows."""
    import numpy as np

    row = samples.rows[0]
    return all(
        len(each.shape) == np.ndim(row[name]) + 1 and not (isinstance(each.shape[0], int) and each.shape[0] > 0)
        for name, each in inputs.items()
    )


def _dtype(declared: Any) -> str:
    if declared.type not in _NUMPY:
        raise ValueError(f"the input {declared.name!r} is a {declared.type}, which samples cannot hold")
    return _NUMPY[declared.type]


def _session(model: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
