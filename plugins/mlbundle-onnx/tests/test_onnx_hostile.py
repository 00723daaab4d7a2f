"""Damaged and hostile models: each is told of, and stays as it is; the good one beside them is made small."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlbundle_onnx.choosing import Rules
from mlbundle_onnx.modelfile import read_model
from mlbundle_onnx.storing import Place, store
from onnx import numpy_helper
from onnxsmith import embedder, save
from onnxsteps import job

from hatch_mlbundle.application import optimize
from hatch_mlbundle.errors import KeptError, ModelError
from hatch_mlbundle.model import Finding


def written(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def with_tensor(path: Path, change: Callable[[onnx.TensorProto], object], data: str | None = None) -> None:
    """Write a model whose weight `dense` was changed."""
    save(embedder(), path, data)
    made = onnx.load(path, load_external_data=False)
    change(next(each for each in made.graph.initializer if each.name == "dense"))
    save(made, path)


def located(path: Path, location: str) -> None:
    def change(tensor: onnx.TensorProto) -> None:
        tensor.external_data[0].value = location

    with_tensor(path, change, f"{path.stem}.bin")


def flipped(path: Path) -> None:
    """Change one bit of an operator's name."""
    data = bytearray(embedder().SerializeToString())
    data[data.index(b"MatMul")] ^= 1
    path.write_bytes(data)


def steering(path: Path) -> None:
    """Give an operator a name that would change a terminal's colour."""
    made = embedder()
    made.graph.node[0].op_type = "\x1b[31mGather"
    save(made, path)


def unreadable(path: Path) -> None:
    """Give a weight a name that is no UTF-8."""
    path.write_bytes(embedder().SerializeToString().replace(b"dense", b"\xff" * 5))


def thief(path: Path) -> None:
    """Name a module of the application as the weights' file, which would be written anew."""
    save(embedder(), path, "thief.py")


def linked(path: Path) -> None:
    save(embedder(), path, f"{path.stem}.bin")
    path.with_suffix(".bin").rename(path.with_suffix(".elsewhere"))
    path.with_suffix(".bin").symlink_to(f"{path.stem}.elsewhere")


def hard_linked(path: Path) -> None:
    save(embedder(), path, f"{path.stem}.bin")
    os.link(path.with_suffix(".bin"), path.with_suffix(".other"))


def missing(path: Path) -> None:
    save(embedder(), path, f"{path.stem}.bin")
    path.with_suffix(".bin").unlink()


def short(path: Path) -> None:
    save(embedder(), path, f"{path.stem}.bin")
    os.truncate(path.with_suffix(".bin"), 5000)


HOSTILE: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "empty": ("MB721", "is empty", lambda path: written(path, b"")),
    "truncated": ("MB721", "damaged", lambda path: written(path, embedder().SerializeToString()[:-5000])),
    "garbage": ("MB721", "damaged", lambda path: written(path, np.random.default_rng(0).bytes(20000))),
    "text": ("MB721", "damaged", lambda path: written(path, b"version https://git-lfs.github.com/spec/v1\n")),
    "distant": ("MB721", "aaaaaaaa...'", lambda path: located(path, "/" + "a" * 10000)),
    "upward": ("MB721", "no path in the model's own folder", lambda path: located(path, "../upward.bin")),
    "absolute": ("MB721", "no path in the model's own folder", lambda path: located(path, "/etc/passwd")),
    "backslash": ("MB721", "no path in the model's own folder", lambda path: located(path, "..\\x.bin")),
    "itself": ("MB722", "is the model's own file", lambda path: located(path, "itself.onnx")),
    "thief": ("MB722", "thief.py is a file of another kind (python)", thief),
    "checkpoint": ("MB722", "checkpoint.pt is a file of another kind", lambda path: save(embedder(), path, "checkpoint.pt")),
    "vocabulary": ("MB722", "vocabulary.txt is a file of another kind", lambda path: save(embedder(), path, "vocabulary.txt")),
    "symlinked": ("MB722", "symlinked.bin is a link", linked),
    "hardlinked": ("MB722", "several names (hard links)", hard_linked),
    "missing": ("MB722", "missing.bin is missing", missing),
    "short": ("MB102", "ends beyond its file", short),
    "negative": (
        "MB721",
        "has the dimensions [-64, -128]",
        lambda path: with_tensor(path, lambda each: each.dims.__setitem__(slice(None), [-64, -128])),
    ),
    "huge": ("MB721", "has the dimensions", lambda path: with_tensor(path, lambda each: each.dims.__setitem__(slice(None), [1 << 60] * 2))),
    "axes": (
        "MB721",
        "has 100000 dimensions",
        lambda path: with_tensor(path, lambda each: each.dims.__setitem__(slice(None), [1] * 100000)),
    ),
    "unreadable": ("MB721", "a name in it is no UTF-8", unreadable),
    "wrong": ("MB102", "needs 32512 bytes", lambda path: with_tensor(path, lambda each: each.dims.__setitem__(slice(None), [64, 127]))),
    "dataless": ("MB102", "has no data", lambda path: with_tensor(path, lambda each: each.ClearField("raw_data"))),
    "steering": ("MB102", "No Op registered for [31mGather", steering),
    "flipped": ("MB102", "the original itself fails", flipped),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Finding]]:
    """Optimize a folder with all of them and a good model; return the folders before and after, and the findings by file."""
    folder = tmp_path_factory.mktemp("hostile")
    source = folder / "source"
    source.mkdir()
    for name, (_, _, make) in HOSTILE.items():
        make(source / f"{name}.onnx")
    nan = embedder()
    table = np.full((64, 128), np.nan, np.float32)
    next(each for each in nan.graph.initializer if each.name == "dense").CopyFrom(numpy_helper.from_array(table, "dense"))
    save(nan, source / "nan.onnx")
    save(embedder(), source / "good.onnx")
    settings = {"optimizers": ["onnx_quantize"], "onnx_quantize": {"dtype": "int8"}, "cache": {"enabled": False}}
    result = optimize(job(folder, **settings), source, folder / "result")
    found = {finding.path: finding for finding in result.manifest.findings if finding.path}
    assert len(found) == len(result.manifest.findings)
    return source, folder / "result", found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_told_of_and_stays(corpus: tuple[Path, Path, dict[str, Finding]], name: str) -> None:
    source, result, found = corpus
    code, message, _ = HOSTILE[name]
    finding = found[f"{name}.onnx"]
    assert (finding.code, finding.optimizer) == (code, "onnx_quantize")
    assert message in finding.message
    assert finding.message.isprintable()
    assert len(finding.message) < 500
    assert str(source) not in finding.message
    for path in source.glob(f"{name}.*"):
        assert (result / path.name).exists() == path.exists()
        assert not path.exists() or (result / path.name).read_bytes() == path.read_bytes()


def test_the_good_model_among_them_is_made_small(corpus: tuple[Path, Path, dict[str, Finding]]) -> None:
    source, result, found = corpus
    assert "good.onnx" not in found
    assert (result / "good.onnx").stat().st_size < (source / "good.onnx").stat().st_size / 3
    onnx.checker.check_model(str(result / "good.onnx"), full_check=True)


def test_weights_that_are_no_numbers_stay_so(corpus: tuple[Path, Path, dict[str, Finding]]) -> None:
    _, result, found = corpus
    assert found["nan.onnx"].code == "MB723"
    kept = {each.name: each for each in onnx.load(result / "nan.onnx").graph.initializer}
    assert np.isnan(numpy_helper.to_array(kept["dense"])).all()


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_models_raise_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    source = bytearray(embedder().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "double", "zero"]))
        place = data.draw(st.one_of(st.integers(0, min(600, len(source) - 1)), st.integers(0, len(source) - 1)))
        if kind == "flip":
            source[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del source[place : place + data.draw(st.integers(1, 50))]
        elif kind == "double":
            source[place:place] = source[place : place + data.draw(st.integers(1, 50))]
        else:
            source[place : place + 4] = bytes(4)
        if not source:
            break
    path = folder / "m.onnx"
    path.write_bytes(source)
    place = Place(model=folder / "out.onnx", data=folder / "out.bin", location="out.bin", scratch=folder)
    problem = ""
    try:
        read_model(path, {})
        store(path, {}, Rules(form="int8"), place)
    except (ModelError, KeptError) as error:
        problem = str(error)
    assert "\n" not in problem
    assert place.model.exists() == (not problem)
    if not problem:
        read_model(place.model, {})
    assert not place.data.exists()
    for each in folder.iterdir():
        each.unlink()
