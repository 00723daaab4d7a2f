from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.errors import KeptError, MissingLibraryError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.model import Change, Convert, Keep
from hatch_mlbundle.optimizers.pack_weights import PackWeights, PackWeightsOptions
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.runtime.signpost import is_signpost
from hatch_mlbundle.runtime.unpack import unpack
from hatch_mlbundle.schema import Size
from tests.bundles.wheelsmith import build_wheel
from tests.fakes import FakeContext, bundle_of

RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.standard_normal(300_000).astype("<f4").tobytes()
NOISE = RANDOM.bytes(1_200_000)
MODEL = "pkg/model.safetensors"


def packer(**options: Any) -> PackWeights:
    return PackWeights(PackWeightsOptions(**options))


def tree(root: Path, files: dict[str, bytes]) -> FakeContext:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return FakeContext(root)


def planned(context: FakeContext, optimizer: PackWeights) -> dict[str, Change]:
    return {change.path: change for change in optimizer.plan(bundle_of(context.root), context)}


def test_weights_of_every_format_are_packed(tmp_path: Path) -> None:
    names = [MODEL, "pkg/a.pt", "pkg/pytorch_model-00001-of-00002.bin", "pkg/m.onnx", "pkg/m.onnx.data", "pkg/m.gguf"]
    changes = planned(tree(tmp_path, dict.fromkeys(names, WEIGHTS) | {"pkg/table.dat": WEIGHTS}), packer())
    assert sorted(changes) == sorted(names)
    change = changes[MODEL]
    assert isinstance(change, Convert)
    assert (change.sources, change.outputs) == ((MODEL,), (MODEL, f"{MODEL}.mlpack"))
    assert 0.15 < (change.saves or 0) / len(WEIGHTS) < 0.2
    assert "deflate saves" in change.reason


def test_what_would_gain_too_little_stays_and_says_so(tmp_path: Path) -> None:
    text = b"a line that repeats and repeats\n" * 50_000
    changes = planned(tree(tmp_path, {"noise.pt": NOISE, "text.pt": text, "small.pt": WEIGHTS[:9999]}), packer())
    assert {path: change.reason for path, change in changes.items() if isinstance(change, Keep)} == {
        "noise.pt": "packing would save 0.0 % only",
        "text.pt": changes["text.pt"].reason,
    }
    assert changes["text.pt"].reason.startswith("deflate, which wheels and archives use, saves 99.")
    assert isinstance(planned(FakeContext(tmp_path), packer(min_saving=30, min_size=Size(0)))["small.pt"], Keep)


def test_files_that_the_user_names(tmp_path: Path) -> None:
    context = tree(tmp_path, {"pkg/table.dat": WEIGHTS, MODEL: WEIGHTS})
    assert list(planned(context, packer(files=("*.dat", "*.dta")))) == ["pkg/table.dat"]
    (finding,) = context.findings
    assert (finding.code, "'*.dta'" in finding.message) == ("MB741", True)
    assert FakeContext(tmp_path, excluded=[MODEL]).codes == []
    assert planned(FakeContext(tmp_path, excluded=[MODEL]), packer()) == {}


def test_links_and_what_is_packed_already_stay(tmp_path: Path) -> None:
    context = tree(tmp_path, {MODEL: WEIGHTS})
    (tmp_path / "pkg/link.safetensors").symlink_to("model.safetensors")
    change = planned(context, packer())[MODEL]
    assert isinstance(change, Convert)
    task = context.convert_task(change, tmp_path.parent / "work")
    packer().convert(task, context)
    for path in change.outputs:
        (tmp_path / path).write_bytes((task.target / path).read_bytes())
    assert planned(context, packer(min_size=Size(0))) == {}
    assert context.codes == ["MB742"]
    (tmp_path / f"{MODEL}.mlpack").unlink()
    (keep,) = planned(FakeContext(tmp_path), packer(min_size=Size(0))).values()
    assert (keep.path, keep.reason) == (MODEL, "it says that the file of this name was packed already")


def test_the_packed_file_holds_the_original_and_the_detail_says_what_was_done(tmp_path: Path) -> None:
    context = tree(tmp_path / "tree", {MODEL: WEIGHTS})
    change = planned(context, packer())[MODEL]
    assert isinstance(change, Convert)
    task = context.convert_task(change, tmp_path / "work")
    details = packer().convert(task, context)
    written = task.target / f"{MODEL}.mlpack"
    assert details == {
        f"{MODEL}.mlpack": {
            "setting": "planes",
            "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
            "size": [len(WEIGHTS), written.stat().st_size],
            "layouts": {"4 turned": 5},
        }
    }
    assert is_signpost(task.target / MODEL)
    assert f"{Path(MODEL).name}.mlpack".encode() in (task.target / MODEL).read_bytes()
    unpack(written)
    assert (task.target / MODEL).read_bytes() == WEIGHTS


def test_what_gains_less_than_was_estimated_is_kept(tmp_path: Path) -> None:
    context = tree(tmp_path / "tree", {MODEL: NOISE})
    change = Convert(path=MODEL, reason="", sources=(MODEL,), outputs=(MODEL, f"{MODEL}.mlpack"))
    task = context.convert_task(change, tmp_path / "work")
    with pytest.raises(KeptError, match=r"save 0\.0 % only"):
        packer().convert(task, context)
    assert not list(task.target.rglob("*.*"))


def test_the_libraries_that_decide_the_bytes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(packer().programs()) == {"numpy", "zlib"}
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(MissingLibraryError, match=r"^pack_weights needs the library numpy; pip install 'hatch-mlbundle\[models\]'$"):
        packer().programs()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_wheel_from_end_to_end(tmp_path: Path, workers: int) -> None:
    wheel = build_wheel(tmp_path, {"pkg/__init__.py": b"", MODEL: WEIGHTS, "pkg/noise.pt": NOISE})
    registry = load_registry()
    settings = {"optimizers": ["pack_weights"], "workers": workers, "cache": {"folder": "cache"}}
    results = []
    for folder in ("cold", "warm"):
        (tmp_path / folder).mkdir()
        job = prepare(project_config(tmp_path, registry, settings), registry, project=tmp_path)
        outcome = optimize(job, wheel, tmp_path / folder / wheel.name)
        results.append((tmp_path / folder / wheel.name).read_bytes())
    assert results[0] == results[1]
    assert outcome.manifest.artifact.after.size < outcome.manifest.artifact.before.size - 90_000
    rows = {row.path: row for row in outcome.manifest.files}
    assert [row.after.size if row.after else None for row in (rows["pkg/noise.pt"],)] == [len(NOISE)]
    assert [(row.path, row.detail["sha256"]) for row in outcome.manifest.details] == [
        (f"{MODEL}.mlpack", hashlib.sha256(WEIGHTS).hexdigest())
    ]
    with zipfile.ZipFile(tmp_path / "warm" / wheel.name) as archive:
        archive.extractall(tmp_path / "installed")
    assert is_signpost(tmp_path / "installed" / MODEL)
    assert unpack(tmp_path / "installed") == (str(tmp_path / "installed" / MODEL),)
    assert (tmp_path / "installed" / MODEL).read_bytes() == WEIGHTS
