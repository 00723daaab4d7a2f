"""Read a model: its graph in memory, its weights where they lie, each with what uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import ModelError

from .external import check_overlaps, count_of, is_external, location_of, named, range_of, size_of, type_of
from .wire import ORIGINAL, Range, cut_out

_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One input of a node: the operator's type with its domain where that is not onnx's own, the node, the input's position."""

    op: str
    node: Any
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A graph or function: what holds nodes. `opset` is the version of onnx's own operators there, 0 where it has none.

    `uses` is shared by a graph and all graphs within it, where names mean the same.
    """

    body: Any
    opset: int
    uses: Mapping[str, list[Use]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A constant: an initializer, or what a Constant node gives. `name` is the value's; `data` is None where it lies in the graph itself.

    `is_outside` says that the data lies in another file than the model's.
    """

    name: str
    tensor: Any
    scope: Scope
    data: Range | None
    is_outside: bool
    constant: Any = None

    @property
    def uses(self) -> list[Use]:
        """What takes it as an input, in the order of the nodes."""
        return self.scope.uses.get(self.name, [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model without its large data: `proto` is a ModelProto; `scopes` come with the outer ones first."""

    path: Path
    proto: Any
    scopes: tuple[Scope, ...]
    weights: tuple[Weight, ...] = ()


def read_graph(path: Path) -> Model:
    """Return the model at `path` without looking at other files, and without weights; raises ModelError, OSError."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    if path.stat().st_size == 0:
        raise ModelError("is empty")
    try:
        proto = ModelProto.FromString(cut_out(path))
    except DecodeError as error:
        raise ModelError("is no ONNX model, or damaged") from error
    if not proto.HasField("graph") or not proto.opset_import or proto.ir_version < 1:
        raise ModelError("is no ONNX model, or damaged: it has no graph, version or operator set")
    model = Model(path=path, proto=proto, scopes=tuple(_scopes(proto)))
    if not all(isinstance(text, str) for text in _texts(model)):
        raise ModelError("is no ONNX model, or damaged: a name in it is no UTF-8")
    return model


def locations(model: Model) -> list[str]:
    """Return the locations of its external data, sorted; raises ModelError for one that leads elsewhere."""
    return sorted({location_of(tensor) for tensor in tensors(model) if is_external(tensor)} - {ORIGINAL})


def read_model(path: Path, files: Mapping[str, Path]) -> Model:
    """Return the model with its weights, and all data's place checked; `files` are its external ones by location. Raises ModelError."""
    model = read_graph(path)
    places = {**files, ORIGINAL: path}
    check_overlaps(range_of(tensor, places) for tensor in tensors(model) if is_external(tensor))
    return Model(path=path, proto=model.proto, scopes=model.scopes, weights=tuple(_weights(model, places)))


def tensors(model: Model) -> Iterator[Any]:
    """Yield every TensorProto of graphs and attributes, and those that sparse tensors are made of."""
    for scope in model.scopes:
        sparse = list(getattr(scope.body, "sparse_initializer", ()))
        yield from getattr(scope.body, "initializer", ())
        for attribute in _attributes(scope.body):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            sparse += attribute.sparse_tensors
        for each in sparse:
            yield from (each.values, each.indices)


def _texts(model: Model) -> Iterator[Any]:
    """Yield the names that others work with; protobuf gives those that are no UTF-8 as bytes."""
    for tensor in tensors(model):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for scope in model.scopes:
        for node in scope.body.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)
        if isinstance(scope.body, type(model.proto.graph)):
            yield from (value.name for value in (*scope.body.input, *scope.body.output, *scope.body.value_info))
        else:
            yield from (*scope.body.input, *scope.body.output)


def _scopes(proto: Any) -> Iterator[Scope]:
    yield from _graphs(proto.graph, _opset(proto.opset_import), {})
    for function in proto.functions:
        opset, uses = _opset(function.opset_import), dict[str, list[Use]]()
        _add_uses(function, uses)
        yield Scope(body=function, opset=opset, uses=uses)
        for graph in _below(function):
            yield from _graphs(graph, opset, uses)


def _graphs(graph: Any, opset: int, uses: dict[str, list[Use]]) -> Iterator[Scope]:
    _add_uses(graph, uses)
    yield Scope(body=graph, opset=opset, uses=uses)
    for inner in _below(graph):
        yield from _graphs(inner, opset, uses)


def _below(body: Any) -> Iterator[Any]:
    for attribute in _attributes(body):
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _attributes(body: Any) -> Iterator[Any]:
    """Yield the attributes of the nodes, and what a function's own are unless a caller says otherwise."""
    for node in body.node:
        yield from node.attribute
    yield from getattr(body, "attribute_proto", ())


def _add_uses(body: Any, uses: dict[str, list[Use]]) -> None:
    for node in body.node:
        op = node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
        for position, name in enumerate(node.input):
            uses.setdefault(name, []).append(Use(op=op, node=node, position=position))


def _opset(imports: Any) -> int:
    return max((each.version for each in imports if each.domain in _DOMAINS), default=0)


def _weights(model: Model, places: Mapping[str, Path]) -> Iterator[Weight]:
    for scope in model.scopes:
        for tensor in getattr(scope.body, "initializer", ()):
            yield _weight(tensor.name, tensor, scope, places)
        for node in scope.body.node:
            if node.op_type == "Constant" and node.domain in _DOMAINS and len(node.output) == 1:
                for attribute in node.attribute:
                    if attribute.name == "value" and attribute.HasField("t"):
                        yield _weight(node.output[0], attribute.t, scope, places, node)


def _weight(name: str, tensor: Any, scope: Scope, places: Mapping[str, Path], constant: Any = None) -> Weight:
    is_outside = is_external(tensor) and location_of(tensor) != ORIGINAL
    return Weight(name=name, tensor=tensor, scope=scope, data=_data(tensor, places), is_outside=is_outside, constant=constant)


def _data(tensor: Any, places: Mapping[str, Path]) -> Range | None:
    """Return where a tensor's data lies; raises ModelError where it has none, or of another size."""
    if is_external(tensor):
        return range_of(tensor, places)
    count = count_of(tensor)
    if tensor.HasField("raw_data") and type_of(tensor) != "STRING":
        fits = len(tensor.raw_data) == size_of(tensor)
    else:
        held = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data, tensor.string_data)
        fits = any(map(len, held)) or count == 0
    if not fits:
        raise ModelError(f"tensor {named(tensor)} of {count} elements has no data, or some of another size")
    return None
