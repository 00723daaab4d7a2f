from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hatch_mlbundle.application import optimize
from hatch_mlbundle.errors import ConfigurationError, KeptError, MissingLibraryError, ModelError
from hatch_mlbundle.model import Bundle, Change, Convert, Keep
from hatch_mlbundle.optimizer import Detail, Measured, SearchBy
from hatch_mlbundle.optimizers.quantize import Quantize, QuantizeOptions
from hatch_mlbundle.runtime.weights import PackedFile, is_signpost
from tests.fakes import FakeContext, bundle_of
from tests.models.safesmith import file_with, raw_file, read_tensors, weights, write_tensors
from tests.models.test_safetensors import BAD, RAW
from tests.test_application import job

CONFIG = '{\n  "model_type": "bert"\n}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def model(folder: Path, *, config: str | None = CONFIG, seed: int = 0) -> Path:
    """Write a small model: an embedding, two layers, of which one is hard to store in 8 bits, and what stays."""
    hard = weights(64, 512, seed=seed + 1)
    hard[:, 0] = 40
    tensors = {
        "ids": np.arange(64)[None],
        "embed.weight": weights(300, 64, seed=seed),
        "hard.weight": hard,
        "layer.weight": weights(64, 128, seed=seed + 2),
        "layer.bias": weights(64, seed=seed + 3),
    }
    path = write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(config)
    return path


def sharded(folder: Path) -> list[Path]:
    shards = [write_tensors(folder / f"model-{n}.safetensors", {f"w{n}": weights(64, 64, seed=n), f"b{n}": weights(9)}) for n in (1, 2)]
    index = {
        "metadata": {"total_size": sum(read.nbytes for path in shards for read in read_tensors(path).values())},
        "weight_map": {name: path.name for path in shards for name in read_tensors(path)},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text(CONFIG)
    return shards


def plan(root: Path, context: FakeContext | None = None, **options: Any) -> tuple[list[Change], FakeContext, Quantize]:
    quantize, used = Quantize(QuantizeOptions(**options)), context or FakeContext(root)
    return list(quantize.plan(bundle_of(root), used)), used, quantize


def carry_out(root: Path, change: Change, context: FakeContext, quantize: Quantize) -> tuple[Path, Mapping[str, Detail]]:
    assert isinstance(change, Convert)
    work = root.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    task = context.convert_task(change, work)
    details = quantize.convert(task, context)
    written = {path.relative_to(task.target).as_posix() for path in task.target.rglob("*") if path.is_file()}
    assert written <= set(change.outputs)
    assert list(task.scratch.iterdir()) == []
    return task.target, details


def quantized(root: Path, context: FakeContext | None = None, **options: Any) -> tuple[Path, Mapping[str, Detail]]:
    (change,), used, quantize = plan(root, context, **options)
    target, details = carry_out(root, change, used, quantize)
    assert used.codes == []
    return target, details


def test_a_file_in_16_bits_keeps_its_name_and_says_what_to_compute_in(root: Path) -> None:
    source = model(root / "m")
    (change,), context, quantize = plan(root)
    assert isinstance(change, Convert)
    assert change.sources == change.outputs == ("m/model.safetensors", "m/config.json")
    assert change.reason.startswith("weights as float16, ")
    target, details = carry_out(root, change, context, quantize)
    made = target / "m/model.safetensors"
    assert change.saves == source.stat().st_size - made.stat().st_size
    loaded, original = read_tensors(made), read_tensors(source)
    for name, array in original.items():
        assert np.array_equal(loaded[name], array.astype(np.float16) if array.dtype == np.float32 else array)
    assert json.loads((target / "m/config.json").read_text()) == {"dtype": "float32", "model_type": "bert"}
    detail = details["m/model.safetensors"]
    assert detail["setting"] == "float16"
    assert 70 < detail["sqnr"] < 80
    assert detail["tensors"][1] == {
        "name": "embed.weight",
        "shape": [300, 64],
        "before": "F32",
        "after": "F16",
        "size": [76800, 38400],
        "sqnr": detail["tensors"][1]["sqnr"],
    }
    assert detail["tensors"][0]["sqnr"] is None


def test_8_bits_go_into_a_file_of_another_name(root: Path) -> None:
    source = model(root / "m")
    target, details = quantized(root, dtype="int8")
    assert sorted(path.name for path in (target / "m").iterdir()) == ["model.safetensors", "model.safetensors.mlbundle"]
    assert is_signpost(target / "m/model.safetensors")
    assert b"install()" in (target / "m/model.safetensors").read_bytes()
    with PackedFile(target / "m/model.safetensors.mlbundle") as file:
        assert file.metadata() == {"format": "pt"}
        for name, array in read_tensors(source).items():
            loaded = file.read(name)
            assert loaded.dtype == array.dtype
            assert np.abs(loaded - array).max() < 0.2
            assert np.array_equal(loaded, array) == (name in {"ids", "layer.bias"})
    rows = {row["name"]: row for row in details["m/model.safetensors.mlbundle"]["tensors"]}
    assert rows["embed.weight"]["after"] == "I8 by row"
    assert rows["hard.weight"]["after"] == "I8 in groups of 32"
    assert rows["hard.weight"]["reason"].startswith("I8 by row has ")
    assert rows["layer.bias"]["after"] == "F32"


def test_a_loader_that_is_not_prepared_raises(root: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    model(root / "m")
    target, _ = quantized(root, dtype="int8")
    with pytest.raises(Exception, match=r"(?i)header"):
        library.load_file(target / "m/model.safetensors")


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (None, False),
        ('{"model_type": "bert", "torch_dtype": "float16"}', False),
        ('{"in_features": 3}', False),
        ('{"model_type": "bert", "torch_dtype": null}', True),
    ],
)
def test_a_configuration_is_changed_only_where_it_has_to_be(config: str | None, changed: bool, root: Path) -> None:
    model(root, config=config)
    (change,), _, _ = plan(root)
    assert isinstance(change, Convert)
    assert ("config.json" in change.sources) == changed
    (left,), _, _ = plan(root, compute_dtype=False)
    assert isinstance(left, Convert)
    assert left.sources == ("model.safetensors",)


def test_a_configuration_that_is_excluded_or_of_other_weights_stays(root: Path) -> None:
    model(root)
    write_tensors(root / "zadapter.safetensors", {"a": weights(64, 64)})
    changes, _, _ = plan(root, exclude=("config.json",))
    assert [change.sources for change in changes if isinstance(change, Convert)] == [("model.safetensors",), ("zadapter.safetensors",)]
    write_tensors(root / "model.safetensors", {"a": weights(64, 64), "b": weights(64, 64).astype(np.float16)})
    assert [change.sources for change in plan(root)[0] if isinstance(change, Convert)] == [
        ("model.safetensors",),
        ("zadapter.safetensors",),
    ]


@pytest.mark.parametrize("config", [b"{", b"\xff", b"[]", b'{"model_type": "' + b"x" * 10_000_000 + b'"}'], ids=range(4))
def test_a_configuration_that_cannot_be_read_is_told_and_stays(config: bytes, root: Path) -> None:
    model(root)
    (root / "config.json").write_bytes(config)
    (change,), context, _ = plan(root)
    assert isinstance(change, Convert)
    assert change.sources == ("model.safetensors",)
    assert context.codes == ["MB703"]


def test_shards_and_their_index_go_together(root: Path) -> None:
    sharded(root / "m")
    (change,), context, quantize = plan(root)
    assert isinstance(change, Convert)
    assert change.sources == ("m/model-1.safetensors", "m/model-2.safetensors", "m/model.safetensors.index.json", "m/config.json")
    target, details = carry_out(root, change, context, quantize)
    before = json.loads((root / "m/model.safetensors.index.json").read_text())
    after = json.loads((target / "m/model.safetensors.index.json").read_text())
    assert after == {**before, "metadata": {"total_size": before["metadata"]["total_size"] // 2}}
    tensors = [read_tensors(target / "m" / name) for name in ("model-1.safetensors", "model-2.safetensors")]
    assert sum(array.nbytes for each in tensors for array in each.values()) == after["metadata"]["total_size"]
    assert {name: f"model-{n}.safetensors" for n, each in enumerate(tensors, 1) for name in each} == after["weight_map"]
    assert details.keys() == {"m/model-1.safetensors", "m/model-2.safetensors"}


def test_an_index_that_is_excluded_keeps_its_weights(root: Path) -> None:
    sharded(root)
    (kept,), _, _ = plan(root, exclude=("*.index.json",))
    assert kept == Keep(path="model-1.safetensors", reason="its index is excluded")


def test_an_index_beside_no_weights_is_nobodys_business(root: Path) -> None:
    (root / "model.safetensors.index.json").write_text("{")
    assert plan(root)[0] == []
    assert plan(root)[1].codes == []


def test_packed_shards_need_no_other_index(root: Path) -> None:
    sharded(root)
    (change,), context, quantize = plan(root, dtype="int8", min_count=16)
    assert isinstance(change, Convert)
    assert change.sources == ("model-1.safetensors", "model-2.safetensors")
    assert change.reads == ("model.safetensors.index.json",)
    target, _ = carry_out(root, change, context, quantize)
    assert len([path for path in target.iterdir() if path.suffix == ".mlbundle"]) == 2


def test_a_shard_that_nothing_can_be_packed_of_stays_what_it_was(root: Path) -> None:
    first, second = sharded(root)
    write_tensors(second, {"w2": weights(64), "b2": weights(9)})
    (change,), context, quantize = plan(root, dtype="int8")
    target, details = carry_out(root, change, context, quantize)
    assert sorted(path.name for path in target.iterdir()) == [first.name, f"{first.name}.mlbundle", second.name]
    assert (target / second.name).read_bytes() == second.read_bytes()
    assert details.keys() == {f"{first.name}.mlbundle", second.name}


def test_a_damaged_shard_keeps_the_others_as_they_are(root: Path) -> None:
    _, second = sharded(root)
    second.write_bytes(second.read_bytes()[:-1])
    model(root / "other")
    changes, context, _ = plan(root)
    assert [type(change) for change in changes] == [Keep, Convert]
    assert changes[0].path == "model-1.safetensors"
    assert [(finding.code, finding.path) for finding in context.findings] == [("MB701", "model-2.safetensors")]
    assert "may have been cut off" in context.findings[0].message
    assert str(root) not in context.findings[0].message


def test_a_damaged_file_does_not_keep_another_from_getting_smaller(root: Path) -> None:
    model(root)
    (root / "broken.safetensors").write_bytes(b"\xff" * 100)
    changes, context, _ = plan(root)
    assert [change.path for change in changes] == ["model.safetensors"]
    assert context.codes == ["MB701"]


INDICES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a file that is not there": lambda index: {**index, "weight_map": {**index["weight_map"], "x": "model-3.safetensors"}},
    "a way out": lambda index: {**index, "weight_map": {**index["weight_map"], "x": "../model-1.safetensors"}},
    "no map": lambda index: {"metadata": {}},
    "a list": lambda index: [index],
}


@pytest.mark.parametrize("what", INDICES)
def test_an_index_that_cannot_be_believed_keeps_its_weights(what: str, root: Path) -> None:
    sharded(root / "m")
    index = root / "m/model.safetensors.index.json"
    index.write_text(json.dumps(INDICES[what](json.loads(index.read_text()))))
    changes, context, _ = plan(root)
    assert changes == []
    assert [(finding.code, finding.path) for finding in context.findings] == [("MB702", "m/model.safetensors.index.json")]


def test_an_index_that_lists_what_a_shard_has_not_is_an_error(root: Path) -> None:
    sharded(root)
    index = root / "model.safetensors.index.json"
    parsed = json.loads(index.read_text())
    parsed["weight_map"]["more"] = "model-1.safetensors"
    index.write_text(json.dumps(parsed))
    (change,), context, quantize = plan(root)
    with pytest.raises(ModelError, match="does not hold tensor 'more'"):
        carry_out(root, change, context, quantize)


def test_links_are_left_alone(root: Path) -> None:
    real = model(root / "m")
    (root / "alias.safetensors").symlink_to("m/model.safetensors")
    changes, _, _ = plan(root)
    assert [change.path for change in changes] == ["m/model.safetensors"]
    (kept,), _, _ = plan(root, dtype="int8")
    assert isinstance(kept, Keep)
    assert kept.reason == "alias.safetensors links to it, and would not lead to the packed file"
    assert real.is_file()


def test_a_shard_that_is_a_link_keeps_the_others(root: Path) -> None:
    first, _ = sharded(root)
    (root / "blobs").mkdir()
    first.rename(root / "blobs/abc")
    first.symlink_to("blobs/abc")
    (kept,), context, _ = plan(root)
    assert isinstance(kept, Keep)
    assert "is a link" in kept.reason
    assert context.codes == []


def test_what_gains_nothing_is_kept_with_a_reason(root: Path) -> None:
    write_tensors(root / "half.safetensors", {"a": weights(64, 64).astype(np.float16)})
    write_tensors(root / "none.safetensors", {})
    changes, _, _ = plan(root)
    assert {(type(change), change.path) for change in changes} == {(Keep, "half.safetensors"), (Keep, "none.safetensors")}
    assert [change.path for change in plan(root, dtype="int8")[0] if isinstance(change, Convert)] == ["half.safetensors"]


def test_packed_weights_are_not_packed_again(root: Path) -> None:
    source = model(root)
    target, _ = quantized(root, dtype="int8")
    for path in target.iterdir():
        shutil.copy(path, root / path.name)
    assert is_signpost(source)
    (kept,), context, _ = plan(root, dtype="int8")
    assert kept == Keep(path="model.safetensors", reason="its weights are packed already")
    assert context.codes == []


def test_what_nothing_can_be_done_for_is_kept(root: Path) -> None:
    values = weights(64, 64)
    values[1, 1] = np.nan
    write_tensors(root / "m.safetensors", {"a": values})
    for dtype in ("float16", "int8"):
        (change,), context, quantize = plan(root, dtype=dtype)
        with pytest.raises(KeptError, match="no tensor can be stored as"):
            carry_out(root, change, context, quantize)


def test_excluded_files_are_not_even_read(root: Path) -> None:
    model(root)
    changes, context, _ = plan(root, FakeContext(root, excluded=["model.safetensors"]))
    assert changes == []
    assert context.examined == []


@pytest.mark.parametrize(("key", "value"), [("min_sqnr", -1.0), ("min_sqnr", float("nan")), ("group_size", 4), ("min_count", 0)])
def test_numbers_out_of_their_range_are_told_with_their_path(key: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"^tool.mlbundle.quantize.{key.replace('_', '-')}: must be from "):
        Quantize(QuantizeOptions(**{key: value})).inputs(Path())
    assert Quantize(QuantizeOptions()).inputs(Path()) == {}


def test_the_libraries_are_named_with_their_versions() -> None:
    assert Quantize(QuantizeOptions()).programs() == {"numpy": np.__version__, "ml-dtypes": pytest.importorskip("ml_dtypes").__version__}


def test_a_build_that_needs_neither_imports_no_numpy_and_nothing_that_reads_machine_code() -> None:
    code = "import sys; from hatch_mlbundle.plugins import load_registry; load_registry(); print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in imported if name == "numpy" or "x86_64" in name or "dispatch_stubs" in name] == []


def test_without_numpy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(MissingLibraryError, match=r"^quantize needs the library ml-dtypes; pip install 'hatch-mlbundle\[models\]'$"):
        Quantize(QuantizeOptions()).programs()


@dataclass
class Norms:
    """Implements Judge: the largest error of any tensor, as a share of its norm, may be `bound`; a folder without weights cannot be run."""

    bound: float
    search: SearchBy = "tensor"
    seen: list[tuple[Path, float]] = field(default_factory=list)
    runs: bool = True

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        if not self.runs:
            return None
        assert original != candidate or original.is_file()
        value = max(self._error(path, candidate / path.relative_to(original)) for path in sorted(original.rglob("*.safetensors")))
        self.seen.append((candidate, value))
        return Measured(metric="relative-error", value=value, keeps=value <= self.bound)

    def _error(self, before: Path, after: Path) -> float:
        one, other = read_tensors(before), read_tensors(after)
        assert {name: array.shape for name, array in one.items()} == {name: array.shape for name, array in other.items()}
        return max(float(np.linalg.norm(other[name].astype(float) - one[name]) / np.linalg.norm(one[name])) for name in one)


def judged(root: Path, bound: float, search: SearchBy = "tensor", **options: Any) -> tuple[Detail, Norms]:
    judge = Norms(bound, search)
    _, details = quantized(root, FakeContext(root, judge=judge), **options)
    (detail,) = details.values()
    return detail, judge


def test_the_smallest_setting_within_the_bound_is_found_by_tensor(root: Path) -> None:
    model(root / "m")
    detail, judge = judged(root, 0.02, dtype="int8", min_sqnr=20.0)
    after = {row["name"]: row["after"] for row in detail["tensors"]}
    assert after["embed.weight"] == "I8 by row"
    assert after["hard.weight"] == "I8 in groups of 32"
    assert detail["setting"] == "I8 by row, 1 of 3 tensors I8 in groups of 32"
    rows = detail["search"]
    assert [row["keeps"] for row in rows[:2]] == [False, True]
    assert {row["metric"] for row in rows} == {"relative-error"}
    kept = [row["size"] for row in rows if row["keeps"]]
    assert min(kept) == next(row["size"] for row in rows if row["setting"] == detail["setting"])
    assert judge.seen[0][1] > 0.02


def test_a_bound_that_holds_at_once_ends_the_search(root: Path) -> None:
    model(root / "m")
    detail, judge = judged(root, 0.5, dtype="int8")
    assert (len(judge.seen), detail["setting"]) == (1, "I8 by row")
    detail, judge = judged(root, 0.01, dtype="float16")
    assert (len(judge.seen), detail["setting"]) == (1, "F16")


def test_by_model_there_is_one_setting(root: Path) -> None:
    model(root / "m")
    detail, _ = judged(root, 0.001, "model", dtype="int8", min_sqnr=20.0)
    assert detail["setting"] == "F16"
    assert [row["setting"] for row in detail["search"]] == ["I8 by row", "I8 in groups of 32", "F16"]


def test_some_tensors_may_stay_where_16_bits_are_too_few(root: Path) -> None:
    write_tensors(root / "m/model.safetensors", {"fine": np.ones((64, 64), np.float32) / 4, "rough": weights(64, 64)})
    (root / "m/config.json").write_text(CONFIG)
    detail, _ = judged(root, 1e-6)
    assert {row["name"]: row["after"] for row in detail["tensors"]} == {"fine": "F16", "rough": "F32"}
    assert detail["setting"] == "F16, 1 of 2 tensors as it was"


@pytest.mark.parametrize("search", ["tensor", "model", "off"])
def test_a_bound_that_nothing_keeps_keeps_the_original(search: SearchBy, root: Path) -> None:
    model(root / "m")
    context = FakeContext(root, judge=Norms(0.0, search))
    (change,), _, quantize = plan(root, context)
    with pytest.raises(KeptError, match=r"no smaller setting keeps the bound of accuracy \(F16: relative-error 0.000"):
        carry_out(root, change, context, quantize)


def test_what_cannot_be_measured_is_kept(root: Path) -> None:
    model(root / "m")
    context = FakeContext(root, judge=Norms(1.0, runs=False))
    (change,), _, quantize = plan(root, context)
    with pytest.raises(KeptError, match="nothing that is installed can run the model"):
        carry_out(root, change, context, quantize)


def test_a_model_of_several_folders_is_measured_as_one(root: Path) -> None:
    for name in ("0_Transformer", "2_Dense"):
        model(root / "m" / name, seed=len(name))
    (root / "m/modules.json").write_text("[]")
    (root / "m/vocab.txt").write_text("a\n")
    model(root / "n")
    judge = Norms(0.5)
    changes, context, quantize = plan(root, FakeContext(root, judge=judge), dtype="int8")
    first, second = (change for change in changes if isinstance(change, Convert))
    assert first.sources == ("m/0_Transformer/model.safetensors", "m/2_Dense/model.safetensors")
    assert set(first.reads) == {"m/0_Transformer/config.json", "m/2_Dense/config.json", "m/modules.json", "m/vocab.txt"}
    assert second.sources == ("n/model.safetensors",)
    _, details = carry_out(root, first, context, quantize)
    assert details.keys() == {"m/0_Transformer/model.safetensors.mlbundle", "m/2_Dense/model.safetensors.mlbundle"}


def test_a_whole_run_gives_the_same_bytes_cold_and_warm(root: Path, tmp_path: Path) -> None:
    model(root / "app/m")
    sharded(root / "app/s")
    (root / "app/__init__.py").write_text("")
    results = []
    for number, dtype in enumerate(["int8", "int8", "float16"]):
        settings = {"optimizers": ["quantize"], "quantize": {"dtype": dtype, "min-count": 1}, "cache": {"folder": str(tmp_path / "cache")}}
        target = tmp_path / str(number)
        manifest = optimize(job(tmp_path, **settings), root, target).manifest
        assert manifest.findings == ()
        files = {path.relative_to(target).as_posix(): path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}
        results.append((files, (tmp_path / f"{number}.mlbundle.json").read_text().replace(f'"name": "{number}"', '"name": ""')))
    assert results[0] == results[1]
    files, _ = results[0]
    assert {"app/m/model.safetensors.mlbundle", "app/s/model-2.safetensors.mlbundle"} <= files.keys()
    halved, manifest_text = results[2]
    assert len(halved["app/m/model.safetensors"]) < len((root / "app/m/model.safetensors").read_bytes()) * 0.6
    details = {each["path"]: each["detail"] for each in json.loads(manifest_text)["details"]}
    assert details.keys() == {"app/m/model.safetensors", "app/s/model-1.safetensors", "app/s/model-2.safetensors"}


def test_a_bundle_without_models_has_nothing_to_do(root: Path) -> None:
    assert list(Quantize(QuantizeOptions()).plan(Bundle(), FakeContext(root))) == []


def hostile(folder: Path) -> None:
    """Write files that are no safetensors files, each in its own way, and one sound one."""
    for number, what in enumerate(sorted(BAD)):
        entries, data, _ = BAD[what]
        file_with(folder / f"bad{number:02}.safetensors", entries, data)
    for number, what in enumerate(sorted(RAW)):
        header, length, _ = RAW[what]
        raw_file(folder / f"raw{number:02}.safetensors", header, length=length)
    sound = write_tensors(folder / "sound.safetensors", {"a": weights(64, 64)})
    (folder / "cut.safetensors").write_bytes(sound.read_bytes()[:-4000])
    (folder / "empty.safetensors").write_bytes(b"")


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_each_hostile_file_is_told_and_stays_and_keeps_no_sound_one_from_getting_smaller(dtype: str, root: Path, tmp_path: Path) -> None:
    hostile(root / "m")
    settings = {"optimizers": ["quantize"], "quantize": {"dtype": dtype, "min-count": 1}, "cache": {"enabled": False}}
    manifest = optimize(job(tmp_path, **settings), root, tmp_path / "out").manifest
    bad = sorted(path.name for path in (root / "m").iterdir() if path.name != "sound.safetensors")
    assert [(each.code, each.path) for each in manifest.findings] == [("MB701", f"m/{name}") for name in bad]
    assert all((tmp_path / "out/m" / name).read_bytes() == (root / "m" / name).read_bytes() for name in bad)
    assert (tmp_path / "out/m/sound.safetensors").stat().st_size < (root / "m/sound.safetensors").stat().st_size


def run_cli(folder: Path, *arguments: str, limit: int = 0) -> subprocess.Popen[str]:
    """Start `mlbundle optimize` on the folder itself; `limit` is the most bytes that any file may come to have."""
    code = (
        "import resource, signal, sys\n"
        f"limit = {limit}\n"
        "if limit:\n    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "from hatch_mlbundle.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    (folder.parent / "pyproject.toml").write_text('[tool.mlbundle]\noptimizers = ["quantize"]\ncache = {enabled = false}\n')
    (folder.parent / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder.parent / "tmp")}
    command = [sys.executable, "-c", code, "optimize", *arguments, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent, env=environment)


def test_a_full_disk_leaves_the_original(root: Path) -> None:
    source = write_tensors(root / "m/model.safetensors", {"a": weights(1000, 1000)})
    before = source.read_bytes()
    process = run_cli(root, limit=1_000_000)
    output, errors = process.communicate(timeout=120)
    assert source.read_bytes() == before
    assert process.returncode == 2, output
    assert errors.startswith("mlbundle: file size limit reached")
    assert list((root.parent / "tmp").iterdir()) == []


def test_a_kill_at_any_moment_leaves_the_original_or_the_whole_result(root: Path) -> None:
    source = write_tensors(root / "m/model.safetensors", {f"w{number}": weights(1000, 1000, seed=number) for number in range(8)})
    before = source.read_bytes()
    for seconds in (0.0, 0.05, 0.2):
        process = run_cli(root)
        while process.poll() is None and not any(path.is_file() for path in (root.parent / "tmp").glob("*/*/m/*.safetensors")):
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        process.communicate(timeout=60)
        assert seconds or process.returncode == -signal.SIGKILL
        if source.read_bytes() != before:
            assert {name: array.dtype for name, array in read_tensors(source).items()} == {f"w{n}": np.float16 for n in range(8)}
            source.write_bytes(before)
        shutil.rmtree(root.parent / "tmp")
