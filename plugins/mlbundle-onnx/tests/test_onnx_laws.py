"""The optimizers of ONNX models keep the laws of every optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import onnx
import pytest
from mlbundle_onnx.quantize import OnnxQuantize
from mlbundle_onnx.slim import OnnxSlim
from onnx import numpy_helper
from onnxsmith import embedder, save, values

from hatch_mlbundle.testing import LAWS
from hatch_mlbundle.testing.law import Case, case_of
from hatch_mlbundle.testing.laws import check_here

QUICK = ["documented", "honest", "never_larger", "idempotent"]
SLOW = ["selective", "cacheable", "safe"]
"""What converts many models, each in a process of its own; so that `parallel` would show nothing but takes longest."""

OPTIMIZERS = {"quantize": (OnnxQuantize, {"dtype": "int8"}), "slim": (OnnxSlim, {})}


def wasteful() -> onnx.ModelProto:
    """Return a model with weights that nothing uses."""
    made = embedder()
    made.graph.initializer.append(numpy_helper.from_array(values(64, 128), "unused"))
    return made


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Return what makes the case of an optimizer, once."""

    @cache
    def make(name: str) -> Case:
        optimizer, options = OPTIMIZERS[name]
        path = save(wasteful(), tmp_path_factory.mktemp(name) / "m.onnx")
        return case_of(optimizer, {"pkg/m.onnx": path.read_bytes()}, options)

    return make


@pytest.mark.parametrize("law", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_laws(name: str, law: str, case: Callable[[str], Case]) -> None:
    assert case(name).plain.changed
    LAWS[law].check(case(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_comes_of_it_each_time(name: str, case: Callable[[str], Case]) -> None:
    check_here(case(name))
