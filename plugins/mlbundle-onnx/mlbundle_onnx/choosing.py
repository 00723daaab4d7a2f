"""Which weights are made smaller, which stay, and along which axis the channels of one lie."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from hatch_mlbundle.globs import selector

from .external import count_of, type_of
from .modelfile import Model, Use, Weight

SMALLEST = 4096
"""Elements below which a tensor stays as it is: it holds next to nothing, and often much of what a model is sensitive to."""

OLDEST_OPSET = 7
"""The first operator set in which Cast takes a number and Mul broadcasts as numpy does."""

BFLOAT16_OPSET = 13
"""The first operator set whose Cast knows bfloat16."""

_SENSITIVE = re.compile(r"pos(ition)?_?(emb|enc)|\bwpe\b|token_?type|segment_?emb", re.IGNORECASE)
"""Names of the tables of positions and token types: few rows that every input passes through."""

_FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")

Form = Literal["float16", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the configuration says: how weights are stored, `keep` and `ops` as globs of names and as types of operators."""

    form: Form
    keep: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    min_sqnr: float = 35.0
    per_channel: bool = True
    promoted: frozenset[str] = frozenset()
    """Weights that are stored as float16 whatever `form` says."""


class Chooser:
    """Says of each weight of one model why it stays as it is."""

    def __init__(self, model: Model, rules: Rules) -> None:
        self._rules = rules
        self._kept = selector(rules.keep, ()) if rules.keep else None
        graphs = [scope.body for scope in model.scopes if hasattr(scope.body, "initializer")]
        self._inputs = {value.name for graph in graphs for value in graph.input}
        self._outputs = {value.name for graph in graphs for value in graph.output}
        self._outputs |= {name for scope in model.scopes if not hasattr(scope.body, "initializer") for name in scope.body.output}
        self._annotated = {each.tensor_name for graph in graphs for each in graph.quantization_annotation}

    def why_kept(self, weight: Weight) -> str | None:
        """Return why the weight stays as it is, or None."""
        return _by_kind(weight) or self._by_place(weight) or self._by_rules(weight)

    def form(self, weight: Weight) -> Form:
        """Return how the weight is to be stored at first; the gates may find it too coarse."""
        if self._rules.form == "int8" and (weight.name in self._rules.promoted or _SENSITIVE.search(weight.name)):
            return "float16"
        return self._rules.form

    def _by_place(self, weight: Weight) -> str | None:
        if weight.constant is None and weight.name in self._inputs:
            return "an input of the graph, too: callers may pass another value"
        if weight.name in self._outputs:
            return "an output of its graph"
        if weight.name in self._annotated:
            return "the graph has a quantization annotation for it"
        if weight.scope.opset < OLDEST_OPSET:
            return f"the operator set {weight.scope.opset} is older than {OLDEST_OPSET}"
        return None

    def _by_rules(self, weight: Weight) -> str | None:
        if self._kept is not None and self._kept(weight.name):
            return "named in `keep`"
        if self._rules.ops and not any(use.op in self._rules.ops for use in weight.uses):
            return "used by no operator of `ops`"
        if self.form(weight) == "float16" and type_of(weight.tensor) in ("FLOAT16", "BFLOAT16"):
            return "takes two bytes an element already"
        return None


def channel_axis(weight: Weight) -> int:
    """Return the axis along which each channel gets its own scale: that of the output channels, or rows, by what uses the weight.

    Where uses differ, it is the rows.
    """
    rank = len(weight.tensor.dims)
    axes = {_axis(use, rank) for use in weight.uses}
    axis = axes.pop() if len(axes) == 1 else 0
    return axis if 0 <= axis < rank else 0


def names_in(model: Model) -> set[str]:
    """Return every name of a value, node or graph, so that a new one can be told apart."""
    found: set[str] = set()
    for scope in model.scopes:
        body: Any = scope.body
        found.update(*((*node.input, *node.output, node.name) for node in body.node))
        if hasattr(body, "initializer"):
            found.update(each.name for values in (body.input, body.output, body.initializer, body.value_info) for each in values)
        else:
            found.update((*body.input, *body.output))
    return found


def unused_name(base: str, taken: Collection[str]) -> str:
    """Return `base`, with a number where something has that name."""
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def _by_kind(weight: Weight) -> str | None:
    if type_of(weight.tensor) not in _FLOATS:
        return "no floating-point numbers"
    if len(weight.tensor.dims) < 2:
        return "one axis or none"
    if count_of(weight.tensor) < SMALLEST:
        return f"fewer than {SMALLEST} elements"
    return "not stored as raw data" if weight.data is None else None


def _axis(use: Use, rank: int) -> int:
    attributes = {each.name: each for each in use.node.attribute}

    def integer(name: str, default: int) -> int:
        return attributes[name].i if name in attributes else default

    match use.op:
        case "MatMul" if use.position == 1:
            return rank - 1
        case "MatMul":
            return max(0, rank - 2)
        case "Gemm" if use.position == 1:
            return 0 if integer("transB", 0) else 1
        case "Gemm":
            return 1 if integer("transA", 0) else 0
        case "ConvTranspose" | "LSTM" | "GRU" | "RNN":
            return 1
        case "Gather":
            return integer("axis", 0) % rank
        case _:
            return 0
