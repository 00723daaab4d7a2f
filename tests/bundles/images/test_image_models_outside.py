"""An image whose model left: what runs in it comes by the same model, from a folder, an image or a registry."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

import hatch_mlbundle
from hatch_mlbundle.cli import main
from tests.containers import as_layout, needs_bwrap, needs_skopeo, needs_umoci, packed, run_inside, skopeo, unpacked
from tests.imagesmith import config_of, oci_layout
from tests.registries import needs_registry, registry

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="images of Linux"), needs_skopeo, needs_umoci, needs_bwrap]

RUNTIME = Path(hatch_mlbundle.__file__).parent
ENVIRONMENT = {"PYTHONPATH": "/app", "PYTHONDONTWRITEBYTECODE": "1", "MLBUNDLE_STORE": "/tmp/store"}
WEIGHTS = hashlib.shake_128(b"weights").digest(200_000)
MODEL = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"\2\0\0\0\0\0\0\0{}" + WEIGHTS, "deep/er/tokenizer.json": b"{}"}
APPLICATION = b"""
import hashlib, pathlib
from hatch_mlbundle.runtime import model_path
model = model_path("minilm", local="/app/models/minilm")
for path in ("config.json", "model.safetensors", "deep/er/tokenizer.json"):
    print(path, hashlib.sha256((model / path).read_bytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [RUNTIME / "__init__.py", *(RUNTIME / "runtime").rglob("*.py")]
    code = {f"app/hatch_mlbundle/{path.relative_to(RUNTIME).as_posix()}": path.read_bytes() for path in sources}
    model = {f"app/models/minilm/{path}": data for path, data in MODEL.items()}
    layers = [packed({**code, "app/app.py": APPLICATION}), packed(model)]
    return oci_layout(tmp_path_factory.mktemp("image") / "app", layers, config=config_of(layers))


def taken_out(image: Path, folder: Path, **options: object) -> Path:
    """Return an image that lacks its model, which lies beside it in `small.models/minilm`."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    table = ["[tool.mlbundle]", 'optimizers = ["externalize"]', "[tool.mlbundle.externalize]", 'models = ["app/models/minilm/"]', *lines]
    (folder / "pyproject.toml").write_text("\n".join(table))
    assert main(["optimize", "--quiet", "--project", str(folder), "--output", str(folder / "small"), str(image)]) == 0
    return folder / "small"


def root_of(image: Path, folder: Path) -> Path:
    folder.mkdir()
    return unpacked(as_layout(f"oci:{image}", folder / "layout"), folder / "unpacked")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, image: Path) -> str:
    printed = run_inside(root_of(image, tmp_path_factory.mktemp("before") / "x"), ["app.py"], ENVIRONMENT)
    assert hashlib.sha256(MODEL["model.safetensors"]).hexdigest() in printed
    return printed


def test_a_folder_is_mounted(tmp_path: Path, image: Path, expected: str) -> None:
    small = taken_out(image, tmp_path, mode="mount", mount="/models")
    root = root_of(small, tmp_path / "root")
    assert not (root / "app/models/minilm/model.safetensors").exists()
    assert run_inside(root, ["app.py"], ENVIRONMENT, "--ro-bind", str(tmp_path / "small.models"), "/models") == expected


def test_the_models_own_image_is_mounted(tmp_path: Path, image: Path, expected: str) -> None:
    small = taken_out(image, tmp_path, mode="mount", mount="/models", form="image")
    model = root_of(tmp_path / "small.models/minilm", tmp_path / "model")
    assert {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()} == {
        "mlbundle.models.json",
        *(f"minilm/{path}" for path in MODEL),
    }
    assert run_inside(root_of(small, tmp_path / "root"), ["app.py"], ENVIRONMENT, "--ro-bind", str(model), "/models") == expected


def test_a_new_model_needs_no_new_image_of_the_application(tmp_path: Path, image: Path) -> None:
    weights = MODEL["model.safetensors"] + b"more"
    new = packed({f"app/models/minilm/{path}": data for path, data in {**MODEL, "model.safetensors": weights}.items()})
    for name, each in (("old", image), ("new", oci_layout(tmp_path / "image", [new]))):
        (tmp_path / name).mkdir()
        taken_out(each, tmp_path / name, mode="mount", mount="/models", form="image")
    model = root_of(tmp_path / "new/small.models/minilm", tmp_path / "model")
    printed = run_inside(root_of(tmp_path / "old/small", tmp_path / "root"), ["app.py"], ENVIRONMENT, "--ro-bind", str(model), "/models")
    assert hashlib.sha256(weights).hexdigest() in printed


@needs_registry
def test_a_registry_gives_the_models_files(tmp_path: Path, image: Path, expected: str) -> None:
    with registry(tmp_path) as host:
        small = taken_out(image, tmp_path, mode="download", form="artifact", sources=[f"oci://{host}/models/minilm"])
        skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path / 'small.models/minilm'}", f"docker://{host}/models/minilm:1")
        root = root_of(small, tmp_path / "root")
        assert run_inside(root, ["app.py"], ENVIRONMENT, "--share-net") == expected


def test_the_model_stays_the_same_whatever_image_it_was_taken_out_of(tmp_path: Path, image: Path) -> None:
    other = packed({f"app/models/minilm/{path}": data for path, data in MODEL.items()}, owner=7)
    another = oci_layout(tmp_path / "another", [other, packed({"app/other.py": b"x = 1\n"})])
    models = []
    for name, each in (("one", image), ("two", another)):
        (tmp_path / name).mkdir()
        taken_out(each, tmp_path / name, form="image")
        models.append(json.loads((tmp_path / name / "small.models/minilm/index.json").read_bytes()))
    assert models[0] == models[1]
