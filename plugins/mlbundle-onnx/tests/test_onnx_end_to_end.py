"""Whole runs: a folder and a wheel made small, and the plugin found by its entry point where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxsmith import ROWS, embedder, run, save, tokens
from onnxsteps import job

import hatch_mlbundle
from hatch_mlbundle.application import optimize
from hatch_mlbundle.manifest import SUFFIX
from tests.bundles.wheelsmith import build_wheel

PLUGIN = Path(__file__).parents[1]
SCHEMA = json.loads((Path(hatch_mlbundle.__file__).parent / "schemas" / "manifest-1.json").read_text())


def settings(**options: Any) -> dict[str, Any]:
    return {"optimizers": ["onnx_quantize"], "onnx_quantize": {"dtype": "int8", **options}, "strict": True}


def test_a_folder_with_external_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    save(embedder(), source / "models" / "m.onnx", "m.bin")
    results = []
    for number in range(2):  # the second comes from the cache
        target = tmp_path / f"result{number}"
        manifest = optimize(job(tmp_path, **settings()), source, target).manifest
        results.append([(target / "models" / name).read_bytes() for name in ("m.onnx", "m.bin")])
    assert results[0] == results[1]
    assert sum(map(len, results[0])) < sum(path.stat().st_size for path in (source / "models").iterdir()) / 3
    (detail,) = manifest.details
    assert detail.path == "models/m.onnx"
    assert detail.detail["tensors"][0]["after"] == "I8 by row"
    before, after = (run(folder / "models" / "m.onnx", input_ids=tokens())[0] for folder in (source, target))
    np.testing.assert_allclose(before, after, atol=0.02)
    onnx.checker.check_model(str(target / "models" / "m.onnx"))


def test_a_wheel(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {"demo/__init__.py": b"", "demo/m.onnx": embedder().SerializeToString()})
    target = tmp_path / "out" / wheel.name
    target.parent.mkdir()
    manifest = optimize(job(tmp_path, **settings()), wheel, target).manifest
    assert manifest.artifact.after.size < manifest.artifact.before.size / 2.5
    jsonschema.validate(json.loads((target.parent / (wheel.name + SUFFIX)).read_text()), SCHEMA)
    with zipfile.ZipFile(target) as archive:
        archive.extract("demo/m.onnx", tmp_path)
    onnx.checker.check_model(str(tmp_path / "demo" / "m.onnx"), full_check=True)


def sampled(folder: Path, **accuracy: Any) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(0, ROWS, (8, 9))
    np.savez(folder / "samples.npz", input_ids=ids)
    return {"accuracy": {"samples": "samples.npz", **{name.replace("_", "-"): value for name, value in accuracy.items()}}}


def test_the_users_samples_decide(tmp_path: Path) -> None:
    source = tmp_path / "source"
    save(embedder(), source / "m.onnx")
    forms = {}
    for bound in (0.999, 0.99998, 0.9999999):
        target = tmp_path / str(bound)
        manifest = optimize(job(tmp_path, **settings(), **sampled(tmp_path, at_least=bound)), source, target).manifest
        (detail,) = manifest.details
        forms[bound] = [row["after"][:3] for row in detail.detail["tensors"] if row["shape"] != [128]]
        assert detail.detail["comparison"]["inputs"] == "samples"
        assert detail.detail["comparison"]["value"] >= bound
        assert detail.detail["search"][-1]["keeps"] or len(detail.detail["search"]) > 2
    assert forms[0.999] == ["I8 "] * 3
    assert sorted(set(forms[0.99998])) == ["F16", "I8 "]
    assert forms[0.9999999] == ["F16"] * 3


def test_weights_in_float16_stay_so_where_int8_loses_too_much(tmp_path: Path) -> None:
    source = tmp_path / "source"
    made = embedder()
    for each in made.graph.initializer:
        each.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(each).astype(np.float16), each.name))
    made.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    save(made, source / "m.onnx")
    asked = {**settings(), **sampled(tmp_path, at_least=0.99998, search="tensor")}
    (detail,) = optimize(job(tmp_path, **asked), source, tmp_path / "some").manifest.details
    assert sorted({row["after"][:3] for row in detail.detail["tensors"]}) == ["F16", "I8 "]
    assert [trial["setting"][:7] for trial in detail.detail["search"]][:2] == ["int8", "float16"]
    asked = {**settings(), **sampled(tmp_path, at_least=0.9999999, search="model")}
    manifest = optimize(job(tmp_path, **asked), source, tmp_path / "none").manifest
    (row,) = [each for each in manifest.files if each.path == "m.onnx"]
    assert "only as it is does it keep the bound" in row.changes[0].reason


def test_a_bound_that_nothing_keeps_keeps_the_model(tmp_path: Path) -> None:
    source = tmp_path / "source"
    save(embedder(), source / "m.onnx")
    for dtype in ("int8", "dynamic"):
        target = tmp_path / dtype
        changed = settings(dtype=dtype)
        manifest = optimize(job(tmp_path, **changed, **sampled(tmp_path, at_least=1.0)), source, target).manifest
        assert (target / "m.onnx").read_bytes() == (source / "m.onnx").read_bytes()
        (row,) = [each for each in manifest.files if each.path == "m.onnx"]
        assert "bound of [tool.mlbundle.accuracy]" in row.changes[0].reason


def test_an_installed_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=PLUGIN, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (python,) = (tmp_path / "venv").glob("[bS]*/python")
    (site,) = (tmp_path / "venv").rglob("site-packages")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    install = [*pip, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, cwd=tmp_path, env={})
    others = [path for path in sys.path if path.endswith("-packages")]
    (site / "others.pth").write_text("\n".join([*others, str(Path(hatch_mlbundle.__file__).parents[1])]))
    save(embedder(), tmp_path / "source" / "m.onnx")
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\noptimizers = ["onnx_quantize"]\n')
    optimized = [python, "-m", "hatch_mlbundle", "optimize", "-q", "-o", tmp_path / "result", tmp_path / "source"]
    subprocess.run(optimized, check=True, cwd=tmp_path, env={"MLBUNDLE_CACHE_DIR": str(tmp_path / "cache")})
    assert (tmp_path / "result" / "m.onnx").stat().st_size < 0.55 * (tmp_path / "source" / "m.onnx").stat().st_size
    manifest = json.loads((tmp_path / ("result" + SUFFIX)).read_text())
    assert manifest["steps"][0]["distribution"] == "mlbundle-onnx"


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory")
def test_weights_are_not_held_in_memory(tmp_path: Path) -> None:
    """300 MB of weights, embedded and external, by a process that starts at some 70 MB."""
    code = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import numpy, onnx, ml_dtypes
from mlbundle_onnx import storing, choosing
folder = Path(sys.argv[1])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
place = storing.Place(model=folder / "out" / "m.onnx", data=folder / "out" / "m.bin", location="m.bin", scratch=folder)
storing.store(folder / "m.onnx", {"m.bin": folder / "m.bin"} if sys.argv[2] == "outside" else {}, choosing.Rules(form="int8"), place)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""
    from onnx import helper
    from onnxsmith import floats, model, values

    table = np.tile(values(64, 1024), (80, 1))
    nodes = [helper.make_node("MatMul", ["x", f"w{n}"], [f"y{n}"]) for n in range(14)]
    made = model(nodes, {f"w{n}": table for n in range(14)}, [floats("x", 1, 5120)], [floats(f"y{n}", 1, 1024) for n in range(14)])
    for where, data in (("embedded", None), ("outside", "m.bin")):
        folder = tmp_path / where
        save(made, folder / "m.onnx", data)
        command = [sys.executable, "-c", code, folder, where, *sys.path]
        grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert grown < 80, f"{where}: {grown} MiB"
        assert sum(path.stat().st_size for path in (folder / "out").iterdir()) < 0.26 * 14 * table.nbytes
