"""Store a model's weights as float16 or int8: the graph turns them back when a session opens, and computes as before.

    float16:  initializer (FLOAT16) -> Cast
    int8:     initializer (INT8) -> Cast -> Mul by a scale for each channel; by one for each 32 elements, then Reshape

All of it is constant, so that a runtime folds it once, at load. DequantizeLinear would say the same in one node, but runtimes fuse that
with what follows into integer operators, which is slower where only storage was to be smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.models.casting import ErrorSum
from hatch_mlbundle.optimizer import Json

from .choosing import Chooser, Rules, names_in, unused_name
from .datafile import PAGE, DataFile
from .encoder import Encoded, Encoder
from .external import count_of, is_external, location_of, range_of, set_external, size_of, type_of
from .modelfile import Model, Scope, Weight, read_model, tensors
from .wire import NEW, ORIGINAL, Range, put_back, write_pieces

_SHAPE = 64
"""Elements up to which a constant that stays is not worth a row: shapes, axes and the like."""

_WORDS = {
    "FLOAT": "F32",
    "DOUBLE": "F64",
    "FLOAT16": "F16",
    "BFLOAT16": "BF16",
    "INT8": "I8",
    "UINT8": "U8",
    "INT32": "I32",
    "INT64": "I64",
}
_SUFFIXES = {"FLOAT16": "f16", "BFLOAT16": "bf16", "INT8": "i8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stored model goes: its file, the file of its external data and what the model is to call that, a folder for work."""

    model: Path
    data: Path
    location: str
    scratch: Path


def store(path: Path, files: Mapping[str, Path], rules: Rules, place: Place) -> dict[str, Json]:
    """Write the model at `path`, whose external data is in `files` by location, to `place`; return a Detail: `tensors`, and their `sqnr`.

    Embedded data stays embedded, external data goes into one file. Raises KeptError where nothing can be made smaller, ModelError, OSError.
    """
    model = read_model(path, files)
    if model.proto.training_info:
        raise KeptError("it holds training information, which names weights")
    for folder in (place.model.parent, place.data.parent):
        folder.mkdir(parents=True, exist_ok=True)
    embedded = place.scratch / "embedded"
    try:
        with DataFile(place.data) as outside, DataFile(embedded) as inside:
            writer = _Writer(model, files, rules, place, outside, inside)
            rows = writer.store()
        if not writer.changed:
            raise KeptError(_why_nothing(rows))
        pieces = put_back(model.proto.SerializeToString(deterministic=True), {ORIGINAL: path, NEW: embedded})
        write_pieces(pieces, place.model)
    except BaseException:
        place.data.unlink(missing_ok=True)
        raise
    finally:
        embedded.unlink(missing_ok=True)
    if place.data.stat().st_size == 0:
        place.data.unlink()
    return {"sqnr": decibels(writer.error), "tensors": rows}


class _Writer:
    """Encodes the weights of one model, and edits its graph to match."""

    def __init__(self, model: Model, files: Mapping[str, Path], rules: Rules, place: Place, outside: DataFile, embedded: DataFile) -> None:
        self._model = model
        self._place = place
        self._files = {True: outside, False: embedded}
        self._chooser = Chooser(model, rules)
        self._encoder = Encoder(rules, self._chooser, outside, embedded)
        self._names = names_in(model)
        self._outside = [(tensor, range_of(tensor, files)) for tensor in _external(model)]
        self._edited: set[int] = set()
        self.error = ErrorSum()
        self._new_nodes: dict[int, list[Any]] = {}
        self._behind: dict[str, list[Any]] = {}

    @property
    def changed(self) -> int:
        """How many weights are stored in another form now."""
        return len(self._edited)

    def store(self) -> list[dict[str, Json]]:
        """Store every weight that may be, and return a row for each."""
        rows = [row for weight in self._model.weights if (row := self._store(weight)) is not None]
        self._move_external()
        for scope in reversed(self._model.scopes):  # inner ones first: what is inserted into the outer ones copies them
            self._insert_nodes(scope)
        return rows

    def _store(self, weight: Weight) -> dict[str, Json] | None:
        encoded = self._chooser.why_kept(weight) or self._encoder.encode(weight)
        if isinstance(encoded, str):
            return _kept_row(weight, encoded)
        row = _row(weight, encoded)
        self.error += encoded.error
        self._edit(weight, encoded)
        return row

    def _edit(self, weight: Weight, encoded: Encoded) -> None:
        """Let the value come from the stored form: the tensor under another name, and nodes that make the value of it."""
        from onnx import TensorProto

        tensor, stored = weight.tensor, self._name(f"{weight.name}_{_SUFFIXES[encoded.type]}")
        nodes = self._steps(weight, encoded, stored)
        location = self._place.location if weight.is_outside else NEW
        set_external(tensor, location, encoded.start, encoded.length)
        tensor.data_type = TensorProto.DataType.Value(encoded.type)
        tensor.dims[:] = encoded.dims
        self._edited.add(id(tensor))
        if weight.constant is None:
            tensor.name = stored
            self._new_nodes.setdefault(id(weight.scope), []).extend(nodes)
        else:
            weight.constant.output[0] = stored
            self._behind[stored] = nodes

    def _steps(self, weight: Weight, encoded: Encoded, stored: str) -> list[Any]:
        """Return the nodes that make a weight's value of what is stored."""
        from onnx import TensorProto, helper

        original, shape = weight.tensor.data_type, tuple(weight.tensor.dims)
        nodes: list[Any] = []
        steps: list[tuple[str, list[str], dict[str, Any]]] = [("Cast", [], {"to": original})]
        if encoded.scales is not None:
            scale = self._constant(weight, "scale", encoded.scales.tobytes(), TensorProto.FLOAT, encoded.scale_dims, nodes)
            steps = [("Cast", [], {"to": TensorProto.FLOAT}), ("Mul", [scale], {})]
            if encoded.dims != shape:
                sizes = b"".join(dim.to_bytes(8, "little") for dim in shape)
                steps.append(("Reshape", [self._constant(weight, "shape", sizes, TensorProto.INT64, (len(shape),), nodes)], {}))
            if original != TensorProto.FLOAT:
                steps.append(("Cast", [], {"to": original}))
        value = stored
        for number, (op, others, attributes) in enumerate(steps, 1):
            output = weight.name if number == len(steps) else self._name(f"{weight.name}_{op.lower()}")
            nodes.append(helper.make_node(op, [value, *others], [output], name=self._name(f"{weight.name}/mlbundle/{op}"), **attributes))
            value = output
        return nodes

    def _constant(self, weight: Weight, what: str, data: bytes, dtype: int, dims: Sequence[int], nodes: list[Any]) -> str:
        """Put a constant beside a weight, as an initializer, or as one of `nodes` where the weight is none; return its name."""
        from onnx import TensorProto, helper

        tensor: Any = TensorProto(name=self._name(f"{weight.name}_{what}"), data_type=dtype, dims=dims)
        if len(data) < PAGE:
            tensor.raw_data = data
        else:
            location = self._place.location if weight.is_outside else NEW
            set_external(tensor, location, self._files[weight.is_outside].append(data), len(data))
        if weight.constant is None:
            weight.scope.body.initializer.append(tensor)
        else:
            nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
        return str(tensor.name)

    def _move_external(self) -> None:
        """Let external data that stays as it is move into the one new file; tensors that share data go on sharing it."""
        places: dict[Range, int] = {}
        for tensor, data in self._outside:
            if id(tensor) not in self._edited:
                if data not in places:
                    places[data] = self._files[True].copy(data)
                set_external(tensor, self._place.location, places[data], data.length)

    def _insert_nodes(self, scope: Scope) -> None:
        """Put the new nodes before all others; those of a Constant right behind it."""
        first = self._new_nodes.get(id(scope), [])
        if not first and not any(name in self._behind for node in scope.body.node for name in node.output):
            return
        nodes = list(first)
        for node in scope.body.node:
            nodes.append(node)
            nodes += self._behind.get(node.output[0], []) if node.output else []
        del scope.body.node[:]
        scope.body.node.extend(nodes)

    def _name(self, base: str) -> str:
        name = unused_name(base, self._names)
        self._names.add(name)
        return name


def _external(model: Model) -> Iterator[Any]:
    for tensor in tensors(model):
        if is_external(tensor) and location_of(tensor) != ORIGINAL:
            yield tensor


def _row(weight: Weight, encoded: Encoded) -> dict[str, Json]:
    return {
        "name": weight.name,
        "shape": list(weight.tensor.dims),
        "before": _word(weight.tensor),
        "after": encoded.words,
        "size": [size_of(weight.tensor), encoded.size],
        "sqnr": decibels(encoded.error),
    }


def decibels(error: ErrorSum) -> float | None:
    """Return a ratio as it stands in the manifest."""
    return None if error.sqnr is None else round(error.sqnr, 2)


def _kept_row(weight: Weight, why: str) -> dict[str, Json] | None:
    """Return the row of a weight that stays; None for a small constant."""
    if type_of(weight.tensor) == "STRING" or count_of(weight.tensor) <= _SHAPE:
        return None
    size, word = size_of(weight.tensor), _word(weight.tensor)
    shape = list(weight.tensor.dims)
    return {"name": weight.name, "shape": shape, "before": word, "after": word, "size": [size, size], "sqnr": None, "kept": why}


def _word(tensor: Any) -> str:
    name = type_of(tensor)
    return _WORDS.get(name, name)


def _why_nothing(rows: Sequence[Mapping[str, Json]]) -> str:
    """Return why no weight was made smaller: the reason that holds for the most bytes."""
    weights: dict[str, int] = {}
    for row in rows:
        weights[row["kept"]] = weights.get(row["kept"], 0) + row["size"][0]
    reason = max(weights, key=lambda why: (weights[why], why), default="it has none")
    return f"no weight can be made smaller: {reason}"
