"""Pruning of whole files: what is written can be read back, is smaller, and what cannot be pruned stays and is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from torchmodels import job_of, options_of

from hatch_mlbundle.application import Result, optimize
from hatch_mlbundle.errors import ConfigurationError, KeptError
from hatch_mlbundle.model import Convert, Keep
from hatch_mlbundle.models.dtypes import numpy_dtype
from hatch_mlbundle.models.safetensors import layout, read_header
from hatch_mlbundle.optimizer import Measured
from hatch_mlbundle.runtime.weights import PackedFile
from mlbundle_torch.prune_weights import PruneWeights
from tests.bundles.wheelsmith import build_wheel
from tests.fakes import FakeContext, bundle_of

WIDTH, INNER, LAYERS = 32, 256, 2


def write(path: Path, tensors: Mapping[str, tuple[str, Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file: by name, the dtype and the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head, _ = layout([(name, dtype, values.shape) for name, (dtype, values) in tensors.items()], metadata or {})
    path.write_bytes(head + b"".join(values.astype(numpy_dtype(dtype)).tobytes() for dtype, values in tensors.values()))


def read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        each.name: np.frombuffer(data[each.start : each.end], numpy_dtype(each.dtype)).reshape(each.shape).astype(np.float32)
        for each in read_header(path).tensors
    }


def bert(dtype: str = "F32") -> dict[str, tuple[str, Any]]:
    """Return the weights of a small BERT's feed-forward layers, and others that must stay."""
    random = np.random.default_rng(3)
    tensors = {"embeddings.word_embeddings.weight": (dtype, random.normal(size=(200, WIDTH)))}
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        scale = random.lognormal(0, 1, INNER)
        tensors[f"{layer}.attention.output.dense.weight"] = (dtype, random.normal(size=(WIDTH, WIDTH)))
        tensors[f"{layer}.intermediate.dense.weight"] = (dtype, random.normal(size=(INNER, WIDTH)) * scale[:, None])
        tensors[f"{layer}.intermediate.dense.bias"] = (dtype, random.normal(size=INNER))
        tensors[f"{layer}.output.dense.weight"] = (dtype, random.normal(size=(WIDTH, INNER)))
        tensors[f"{layer}.output.dense.bias"] = (dtype, random.normal(size=WIDTH))
    return tensors


CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "intermediate_size": INNER, "num_hidden_layers": LAYERS, "vocab_size": 200}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a small BERT, `m`, and a lone file."""
    root = tmp_path / "app" / "bundle"
    write(root / "m/model.safetensors", bert(), {"format": "pt"})
    (root / "m/config.json").write_text(json.dumps(CONFIG))
    return root


def pruned(bundle: Path, **options: Any) -> Result:
    return optimize(job_of(bundle.parent, optimizers=["prune_weights"], prune_weights=options), bundle)


def details(result: Result) -> dict[str, Any]:
    return {row["path"]: row["detail"] for row in json.loads(result.manifest.to_json())["details"]}


def forward(weights: Mapping[str, Any], layer: int, x: Any) -> Any:
    """Return what a feed-forward layer gives (with ReLU)."""
    at = f"encoder.layer.{layer}"
    hidden = np.maximum(x @ weights[f"{at}.intermediate.dense.weight"].T + weights[f"{at}.intermediate.dense.bias"], 0)
    return hidden @ weights[f"{at}.output.dense.weight"].T + weights[f"{at}.output.dense.bias"]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_weights_that_are_left_are_read_back_from_sparse_storage(dtype: str, bundle: Path) -> None:
    path = bundle / "m/model.safetensors"
    write(path, bert(dtype), {"format": "pt"})
    before, size = read(path), path.stat().st_size
    result = pruned(bundle, structure="unstructured", amount=0.5, **{"min-count": 1024})
    assert not result.manifest.findings
    packed = bundle / "m/model.safetensors.mlbundle"
    assert packed.stat().st_size + path.stat().st_size < 0.85 * size
    assert path.read_bytes().startswith(b"MLBUNDLE\n")
    with PackedFile(packed) as file:
        assert file.metadata() == {"format": "pt"}
        for name, was in before.items():
            loaded = file.read(name)
            now = loaded.view(numpy_dtype(dtype)).astype(np.float32)
            if name.endswith("dense.weight"):
                assert np.count_nonzero(now) == was.size // 2
                assert np.abs(was[now == 0]).max() <= np.abs(now[now != 0]).min()
            np.testing.assert_array_equal(now, np.where(now != 0, was, 0) if name.endswith("dense.weight") else was)
    (detail,) = details(result).values()
    rows = {row["name"]: row for row in detail["tensors"]}
    row = rows["encoder.layer.0.output.dense.weight"]
    assert row["after"] == f"{dtype} sparse"
    assert row["size"][1] < row["size"][0]
    assert 5 < row["sqnr"] < 20
    assert rows["embeddings.word_embeddings.weight"]["sqnr"] is None


def test_a_tensor_that_gets_no_smaller_is_not_pruned(bundle: Path) -> None:
    before = (bundle / "m/model.safetensors").read_bytes()
    result = pruned(bundle, structure="unstructured", amount=0.02)
    assert not result.manifest.findings
    assert (bundle / "m/model.safetensors").read_bytes() == before


def test_dense_storage_saves_nothing_and_says_so(bundle: Path) -> None:
    path = bundle / "m/model.safetensors"
    before, size = read(path), path.stat().st_size
    result = pruned(bundle, structure="unstructured", storage="dense", amount=0.5, targets=["*.attention.output.dense.weight"])
    (finding,) = result.manifest.findings
    assert finding.code == "MB732"
    assert "nothing is saved installed" in finding.message
    assert path.stat().st_size == size
    after = read(path)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == [f"encoder.layer.{number}.attention.output.dense.weight" for number in range(LAYERS)]
    assert all(np.count_nonzero(after[name]) == before[name].size // 2 for name in changed)
    deflated = details(result)["m/model.safetensors"]["deflated"]
    assert deflated[1] < deflated[0]


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_neurons_leave_the_network_as_if_they_were_zero(dtype: str, bundle: Path) -> None:
    path = bundle / "m/model.safetensors"
    write(path, bert(dtype), {"format": "pt"})
    before, size = read(path), path.stat().st_size
    result = pruned(bundle, amount=0.25)
    assert not result.manifest.findings
    assert json.loads((bundle / "m/config.json").read_text()) == {**CONFIG, "intermediate_size": 192}
    assert path.stat().st_size < 0.9 * size
    after = read(path)
    x = np.random.default_rng(0).normal(size=(5, WIDTH))
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        rows, columns = before[f"{at}.intermediate.dense.weight"], before[f"{at}.output.dense.weight"]
        into = np.square(rows.astype(np.float64)).sum(1) + np.square(before[f"{at}.intermediate.dense.bias"].astype(np.float64))
        strength = np.sqrt(into * np.square(columns.astype(np.float64)).sum(0))
        gone = np.argsort(strength)[: INNER - 192]
        zeroed = {**before, f"{at}.output.dense.weight": columns.copy()}
        zeroed[f"{at}.output.dense.weight"][:, gone] = 0
        np.testing.assert_allclose(forward(after, layer, x), forward(zeroed, layer, x), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(after[f"{at}.attention.output.dense.weight"], before[f"{at}.attention.output.dense.weight"])
    detail = details(result)["m/model.safetensors"]
    assert detail["neurons"] == [INNER, 192]
    rows = {row["name"]: row for row in detail["tensors"]}
    assert rows["encoder.layer.1.output.dense.weight"]["after"] == f"{dtype} {WIDTH}x192"
    assert rows["encoder.layer.1.output.dense.weight"]["sqnr"] > 0


def shard(bundle: Path) -> None:
    """Spread the model over two files, so that a layer's parts lie in both."""
    tensors = list(bert().items())
    (bundle / "m/model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, name in enumerate(names):
        write(bundle / "m" / name, dict(tensors[number::2]))
    index = {"metadata": {"total_size": 1}, "weight_map": {name: names[at % 2] for at, (name, _) in enumerate(tensors)}}
    (bundle / "m/model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("metadata", [{}, {"metadata": None}])
def test_an_index_without_a_total_gets_one(metadata: dict[str, Any], bundle: Path) -> None:
    shard(bundle)
    path = bundle / "m/model.safetensors.index.json"
    path.write_text(json.dumps({**metadata, "weight_map": json.loads(path.read_text())["weight_map"]}))
    assert not pruned(bundle, amount=0.5).manifest.findings
    assert json.loads(path.read_text())["metadata"]["total_size"] > 0


def test_neurons_of_a_model_in_several_files_go_together(bundle: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(bundle, tmp_path / "whole" / "bundle"))
    pruned(whole, amount=0.5)
    shard(bundle)
    assert not pruned(bundle, amount=0.5).manifest.findings
    parts = [read(path) for path in sorted((bundle / "m").glob("*.safetensors"))]
    for name, values in read(whole / "m/model.safetensors").items():
        (part,) = [part for part in parts if name in part]
        np.testing.assert_array_equal(part[name], values)
    index = json.loads((bundle / "m/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(values.nbytes for part in parts for values in part.values())


def test_a_wheel_is_pruned_in_place(bundle: Path, tmp_path: Path) -> None:
    files = {f"demo/{path.name}": path.read_bytes() for path in (bundle / "m").iterdir()}
    wheel = build_wheel(tmp_path, {"demo/__init__.py": b"", **files})
    size = wheel.stat().st_size
    assert not optimize(job_of(tmp_path, optimizers=["prune_weights"], prune_weights={"amount": 0.5}), wheel).manifest.findings
    assert wheel.stat().st_size < 0.75 * size
    with ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("demo/config.json"))["intermediate_size"] == INNER // 2
        (tmp_path / "model.safetensors").write_bytes(archive.read("demo/model.safetensors"))
    assert read(tmp_path / "model.safetensors")["encoder.layer.0.output.dense.weight"].shape == (WIDTH, INNER // 2)


def without(name: str, tensors: dict[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    return {each: value for each, value in tensors.items() if each != name}


def test_what_cannot_be_pruned_structurally_stays(bundle: Path) -> None:
    path, config = bundle / "m/model.safetensors", bundle / "m/config.json"
    nan = bert()
    nan["encoder.layer.0.output.dense.weight"][1][3, 5] = np.nan
    cases: dict[str, tuple[dict[str, tuple[str, Any]], dict[str, Any]]] = {
        "no layers of the model type 'gpt2'": (bert(), {**CONFIG, "model_type": "gpt2"}),
        "no intermediate_size": (bert(), {**CONFIG, "intermediate_size": "many"}),
        "is not 128 wide": (bert(), {**CONFIG, "intermediate_size": 128}),
        "2 feed-forward layers are found, not 3": (bert(), {**CONFIG, "num_hidden_layers": 3}),
        "is not there": (without("encoder.layer.0.intermediate.dense.weight", bert()), CONFIG),
        "not every number of its layer is finite": (nan, CONFIG),
    }
    for message, (tensors, settings) in cases.items():
        write(path, tensors)
        config.write_text(json.dumps(settings))
        before = path.read_bytes()
        result = pruned(bundle, amount=0.5)
        assert path.read_bytes() == before
        rows = json.loads(result.manifest.to_json())["files"]
        reasons = [change["reason"] for row in rows for change in row["changes"]]
        assert any(message in reason for reason in reasons), (message, reasons)


def kept_reasons(result: Result) -> list[str]:
    rows = json.loads(result.manifest.to_json())["files"]
    return [change["reason"] for row in rows for change in row["changes"] if change["action"] == "keep"]


@pytest.mark.parametrize("excluded", ["*-00001-of-00002.safetensors", "*-00002-of-00002.safetensors", "*.index.json", "config.json"])
def test_a_model_of_which_a_file_is_excluded_stays_whole(excluded: str, bundle: Path) -> None:
    shard(bundle)
    before = {path: path.read_bytes() for path in (bundle / "m").iterdir()}
    result = pruned(bundle, amount=0.5, exclude=[excluded])
    assert before == {path: path.read_bytes() for path in (bundle / "m").iterdir()}
    assert all("is not to be changed" in reason for reason in kept_reasons(result))
    assert kept_reasons(result)


@pytest.mark.parametrize("other", ["pytorch_model.bin", "model.fp16.safetensors", "tf_model.h5", "adapter_model.safetensors"])
def test_a_model_with_other_weights_that_go_by_its_config_stays(other: str, bundle: Path) -> None:
    write(bundle / "m" / other, bert("F16"))
    before = {path: path.read_bytes() for path in (bundle / "m").iterdir()}
    result = pruned(bundle, amount=0.5)
    assert before == {path: path.read_bytes() for path in (bundle / "m").iterdir()}
    assert f"m/{other} goes by the same config.json; leave it out first" in kept_reasons(result)


def test_a_file_that_is_no_transformers_model_is_told(tmp_path: Path) -> None:
    root = tmp_path / "app" / "bundle"
    write(root / "net.safetensors", bert())
    assert [finding.code for finding in pruned(root).manifest.findings] == ["MB733"]


@pytest.mark.parametrize("structure", ["structured", "unstructured"])
def test_a_damaged_file_stays_and_is_told_in_one_line(structure: str, bundle: Path) -> None:
    path = bundle / "m/model.safetensors"
    for harm in (path.read_bytes()[:-100], b"\xff" * 100, b"", path.read_bytes() + b"more"):
        path.write_bytes(harm)
        (finding,) = pruned(bundle, structure=structure).manifest.findings
        assert finding.code == "MB102"
        assert "\n" not in finding.message
        assert path.read_bytes() == harm


def test_config_that_is_no_json_is_told(bundle: Path) -> None:
    (bundle / "m/config.json").write_text("[1,")
    (finding,) = pruned(bundle).manifest.findings
    assert (finding.code, "config.json is no JSON" in finding.message) == ("MB102", True)


def test_globs_that_match_nothing_are_told(bundle: Path) -> None:
    result = pruned(bundle, structure="unstructured", targets=["decoder.*"])
    assert [finding.code for finding in result.manifest.findings] == ["MB734"]


def test_what_is_packed_already_stays(bundle: Path) -> None:
    pruned(bundle, structure="unstructured", amount=0.5, **{"min-count": 1024})
    changes = list(PruneWeights(options_of(PruneWeights, {})).plan(bundle_of(bundle), FakeContext(bundle)))
    assert changes == [Keep(path="m/model.safetensors", reason="its weights are packed already")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"amount": 0}, "amount: must be more than 0"),
        ({"amount": 1.0}, "amount: must be more than 0 and less than 1"),
        ({"min-count": 0}, "min-count: must be 1 or more"),
        ({"targets": ["*"]}, "targets: is for"),
        ({"storage": "dense"}, "storage: is for"),
    ],
)
def test_faults_of_the_options_have_their_path(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"tool.mlbundle.prune_weights.{message}"):
        PruneWeights(options_of(PruneWeights, table)).programs()


def test_the_same_comes_of_it_in_any_folder(bundle: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "x" / "y" / "bundle"))
    for root in (bundle, other):
        pruned(root, structure="unstructured", amount=0.5)
    for name in ("m/model.safetensors", "m/model.safetensors.mlbundle"):
        assert (bundle / name).read_bytes() == (other / name).read_bytes()


class ZerosJudge:
    """Keeps a model of which not more than a share of the bytes, or weights, is gone; looks into the folder as a loader would."""

    search = "tensor"

    def __init__(self, most: float) -> None:
        self.most = most
        self.seen: list[float] = []

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        assert (candidate / "config.json").is_file()
        was, now = (read(folder / "model.safetensors") for folder in (original, candidate))
        gone = 1 - sum(int(np.count_nonzero(each)) for each in now.values()) / sum(each.size for each in was.values())
        self.seen.append(gone)
        return Measured(metric="gone", value=gone, keeps=gone <= self.most, worst=gone)


def carried_out(bundle: Path, judge: Any, work: Path, **table: Any) -> tuple[FakeContext, Any, Path]:
    optimizer = PruneWeights(options_of(PruneWeights, {"amount": 0.8, **table}))
    context = FakeContext(bundle, judge=judge)
    (change,) = optimizer.plan(bundle_of(bundle), context)
    assert isinstance(change, Convert)
    task = context.convert_task(change, work)
    return context, optimizer.convert(task, context), task.target


@pytest.mark.parametrize("table", [{}, {"structure": "unstructured", "min-count": 1024}])
def test_the_largest_amount_within_the_bound_is_taken(table: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    judge = ZerosJudge(0.45)
    context, made, target = carried_out(bundle, judge, tmp_path / "work", **table)
    assert not context.findings
    detail = next(iter(made.values()))
    assert (detail["amount"], [row["keeps"] for row in detail["search"]]) == (0.4, [False, False, True])
    assert [row["setting"] for row in detail["search"]] == ["0.8", "0.6", "0.4"]
    assert judge.seen == sorted(judge.seen, reverse=True)
    assert (target / "m/model.safetensors").is_file()


@pytest.mark.parametrize("table", [{"amount": 0.8}, {"amount": 0.1}, {"structure": "unstructured", "min-count": 1024, "amount": 0.2}])
def test_where_no_amount_keeps_the_bound_it_stays_and_is_told(table: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    optimizer = PruneWeights(options_of(PruneWeights, table))
    context = FakeContext(bundle, judge=ZerosJudge(0.0))
    (change,) = optimizer.plan(bundle_of(bundle), context)
    assert isinstance(change, Convert)
    with pytest.raises(KeptError, match="no amount"):
        optimizer.convert(context.convert_task(change, tmp_path / "work"), context)
    assert context.codes == ["MB735"]


class ShardsJudge:
    """Keeps a model of two files of which no more than a share of the weights is gone."""

    search = "tensor"

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        was, now = ([read(path) for path in sorted(folder.glob("*.safetensors"))] for folder in (original, candidate))
        gone = 1 - weights_in(now) / weights_in(was)
        return Measured(metric="gone", value=gone, keeps=gone <= 0.3)


def weights_in(files: list[dict[str, Any]]) -> int:
    return sum(int(np.count_nonzero(each)) for file in files for each in file.values())


@pytest.mark.parametrize("storage", ["sparse", "dense"])
def test_files_of_one_model_are_within_the_bound_together(storage: str, bundle: Path, tmp_path: Path) -> None:
    shard(bundle)
    before = [read(path) for path in sorted((bundle / "m").glob("*.safetensors"))]
    table = {"structure": "unstructured", "storage": storage, "min-count": 1024}
    context, made, target = carried_out(bundle, ShardsJudge(), tmp_path / "work", **table)
    assert {detail["amount"] for detail in made.values()} == {0.2}
    assert len(made) == 2
    assert len({finding.path for finding in context.findings}) == (2 if storage == "dense" else 0)
    shipped = sorted((target / "m").glob("*.safetensors.mlbundle" if storage == "sparse" else "*.safetensors"))
    assert len(shipped) == 2
    if storage == "dense":
        assert 0.7 <= weights_in([read(path) for path in shipped]) / weights_in(before) < 0.9


def test_a_file_with_nothing_to_prune_beside_another_one_stays_as_it_is(bundle: Path, tmp_path: Path) -> None:
    shard(bundle)
    first, second = sorted((bundle / "m").glob("*.safetensors"))
    write(second, {name: ("F32", np.ones(3)) for name in read(second)})
    table = {"structure": "unstructured", "min-count": 1024, "amount": 0.1}
    _, made, target = carried_out(bundle, ShardsJudge(), tmp_path / "work", **table)
    assert list(made) == [f"m/{first.name}.mlbundle"]
    assert (target / "m" / second.name).read_bytes() == second.read_bytes()
    assert not (target / "m" / second.name).is_symlink()
