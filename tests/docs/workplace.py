"""A project's folder in which the paths exist that the documentation names: small wheels, folders, images, manifests."""

from __future__ import annotations

from pathlib import Path

from hatch_mlbundle.cli import main
from tests.bundledmodels import below, onnx_files, transformers_files, write_files
from tests.bundles.wheelsmith import METADATA, build_wheel
from tests.imagesmith import config_of, docker_archive, layer, oci_layout

PROGRAM = '#!/bin/sh\necho "heard $*"\n'
"""What stands for an application: a program that says what it heard."""

FOLDERS = {
    "dist/my-app": "my-app",
    "dist/frozen-minilm": "frozen-minilm",
    "dist/app": "app",
    "plain": "frozen-onnx",
}
WHEELS = [
    "app-1.0-py3-none-any.whl",
    "dist/my_app-1.0-py3-none-any.whl",
    "dist/app-1.0-py3-none-any.whl",
    "dist/app-1.1-py3-none-any.whl",
    "numpy-2.3.5-py3-none-any.whl",
    "numpy-2.4.0-py3-none-any.whl",
]
MANIFESTS = [
    "sizes/app.mlbundle.json",
    "old.whl.mlbundle.json",
    "my-app-1.0.mlbundle.json",
    "last.mlbundle.json",
    "app-1.0-py3-none-any.whl.mlbundle.json",
    "dist/app-1.0-py3-none-any.whl.mlbundle.json",
]
IMAGES = ["app", "image"]
ARCHIVES = ["app.tar", "next.tar"]


def make_workplace(root: Path) -> Path:
    """Write all of it below `root`."""
    for path, program in FOLDERS.items():
        write_application(root / path, program)
    for path in WHEELS:
        write_wheel(root / path)
    layers = [layer(("usr/lib/a", b"base" * 400)), layer(*sorted(_application().items()))]
    config = config_of(layers, history=[{"created_by": "debootstrap"}, {"created_by": "COPY app /app"}])
    for path in IMAGES:
        oci_layout(root / path, layers, config=config)
    for path in ARCHIVES:
        docker_archive(root / path, layers, config=config)
    for path in MANIFESTS:
        (root / path).parent.mkdir(exist_ok=True)
        main(["check", str(root / "dist/app-1.0-py3-none-any.whl"), "--manifest", str(root / path)])
    return root


def write_application(folder: Path, program: str) -> None:
    """Write a folder with a program, a package with tests, and a model."""
    package = below(
        "_internal/pkg", {"__init__.py": b"", "tests/test_a.py": b"def test_a():\n    assert True\n", "headers/a.h": b"int a;\n"}
    )
    files = {program: PROGRAM, **package, **below("minilm_onnx/model", {**onnx_files("model.onnx"), "tokenizer.json": b"{}"})}
    write_files(folder, files)
    (folder / program).chmod(0o755)


def write_wheel(path: Path) -> None:
    """Write a wheel whose bytes depend on its name alone."""
    distribution, version = path.name.split("-")[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {
        f"{distribution}/__init__.py": f"__version__ = '{version}'\n".encode() * (1 + int(version[-1])),
        f"{distribution}/tests/__init__.py": b"",
        f"{distribution}/tests/test_it.py": b"def test_it():\n    assert True\n" * 40,
    }
    metadata = {**METADATA, "METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n".encode()}
    build_wheel(path.parent, files, dist_info=f"{distribution}-{version}.dist-info", metadata=metadata, name=path.name)


def _application() -> dict[str, bytes]:
    site = "app/venv/lib/python3.11/site-packages"
    package = below(f"{site}/pkg", {"__init__.py": b"", "tests/__init__.py": b"", "tests/test_a.py": b"def test_a():\n    assert 1\n" * 30})
    return {**package, **below("app/models/minilm", transformers_files())}
