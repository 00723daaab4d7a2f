"""The real step quantize, measured by a real evaluator: int8 as far as the bound of accuracy allows."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hatch_mlbundle.accuracy.evaluator import Samples
from hatch_mlbundle.application import optimize
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.runtime.weights import load_file
from tests.accuracy.rounding import job
from tests.accuracy.tinynet import TinyNet, network, write_model, write_samples
from tests.bundles.wheelsmith import build_wheel

FOLDER = "demo/net"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    write_samples(tmp_path / "samples.npz", count=40)
    write_model(tmp_path / "network", network())
    weights = (tmp_path / "network").read_bytes()
    files = {f"{FOLDER}/model.safetensors": weights, f"{FOLDER}/config.json": b'{"kind": "tinynet"}'}
    return build_wheel(tmp_path, {"demo/__init__.py": b"", **files})


def quantized(tmp_path: Path, wheel: Path, *evaluators: Any, dtype: str = "int8", **accuracy: Any) -> Manifest:
    settings: dict[str, Any] = {"optimizers": ["quantize"], "quantize": {"dtype": dtype, "min-sqnr": 20.0}}
    if accuracy:
        settings["accuracy"] = {"samples": "samples.npz", **{key.replace("_", "-"): value for key, value in accuracy.items()}}
    (tmp_path / "out").mkdir(exist_ok=True)
    return optimize(job(tmp_path, *evaluators, **settings), wheel, tmp_path / "out" / wheel.name).manifest


def trials(manifest: Manifest) -> list[dict[str, Any]]:
    (row,) = (row for row in manifest.details if "search" in row.detail)
    rows: list[dict[str, Any]] = row.detail["search"]
    return rows


def stored(manifest: Manifest) -> set[str]:
    return {tensor["after"] for row in manifest.details for tensor in row.detail.get("tensors", ())}


def test_by_tensor_the_smallest_mixture_within_the_bound_is_taken(wheel: Path, tmp_path: Path) -> None:
    sizes = []
    for bound in (0.999, 0.9999):
        manifest = quantized(tmp_path, wheel, TinyNet, at_least=bound)
        taken = min((row for row in trials(manifest) if row["keeps"]), key=lambda row: row["size"])
        assert taken["value"] >= bound
        assert all(row["keeps"] or row["value"] < bound for row in trials(manifest))
        sizes.append(manifest.artifact.after.installed)
        assert manifest.findings == ()
    assert sizes == sorted(set(sizes))
    assert stored(manifest) == {"F16", "I8 in groups of 32"}


def test_by_model_and_without_a_search(wheel: Path, tmp_path: Path) -> None:
    assert stored(quantized(tmp_path, wheel, TinyNet, at_least=0.9999, search="model")) == {"F16"}
    kept = quantized(tmp_path, wheel, TinyNet, at_least=0.9999, search="off")
    assert kept.artifact.before == kept.artifact.after
    (reason,) = {change.reason for row in kept.files for change in row.changes}
    assert "cosine 0.999" in reason


def test_what_was_measured_is_what_the_packed_file_gives(wheel: Path, tmp_path: Path) -> None:
    """Unpacked by what loads it in an application, and run here, the result does as the manifest says."""
    manifest = quantized(tmp_path, wheel, TinyNet, at_least=0.999, output="state")
    with zipfile.ZipFile(tmp_path / "out" / wheel.name) as archive:
        archive.extractall(tmp_path / "installed")
    loaded = load_file(tmp_path / "installed" / FOLDER / "model.safetensors.mlbundle")
    write_model(tmp_path / "plain.safetensors", {name: np.asarray(loaded[name], "f4") for name in network()})
    write_model(tmp_path / "before.safetensors", network())
    with np.load(tmp_path / "samples.npz") as arrays:
        samples = Samples(rows=[{"x": each} for each in arrays["x"]])
    before, after = ([row["state"] for row in TinyNet().outputs(tmp_path / f"{name}.safetensors", samples)] for name in ("before", "plain"))
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(before, after, strict=True)]
    taken = min((row for row in trials(manifest) if row["keeps"]), key=lambda row: row["size"])
    assert taken["value"] == pytest.approx(np.mean(cosines), abs=2e-6)
    assert taken["worst"] == pytest.approx(min(cosines), abs=2e-6)


def test_float16_within_the_bound_is_taken_after_one_trial(wheel: Path, tmp_path: Path) -> None:
    manifest = quantized(tmp_path, wheel, TinyNet, dtype="float16", at_least=0.9999)
    assert stored(manifest) == {"F16"}
    assert [row["keeps"] for row in trials(manifest)] == [True]


def test_a_model_that_nothing_can_run_stays_and_is_reported(wheel: Path, tmp_path: Path) -> None:
    manifest = quantized(tmp_path, wheel, at_least=0.9999)
    assert [(finding.code, finding.path) for finding in manifest.findings] == [("MB751", f"{FOLDER}/model.safetensors")]
    assert manifest.artifact.before == manifest.artifact.after
