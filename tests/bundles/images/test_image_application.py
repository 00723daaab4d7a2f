"""A real Python application in an image, made smaller: other programs take the result, and it computes what it did before."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from hatch_mlbundle.application import optimize
from tests.bundles.images.test_optimized_image import digests, job_for, scan
from tests.imagesmith import config_of, oci_layout

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or not all(map(shutil.which, ("bwrap", "skopeo", "umoci", "ldd"))), reason="needs bwrap, skopeo, umoci, ldd"
    ),
]

APPLICATION = """
import json, sys
import numpy as np
rows = np.random.default_rng(7).standard_normal((60, 40))
print(json.dumps([float(each) for each in np.linalg.svd(rows, compute_uv=False)]), sys.prefix)
"""
HEAVY = re.compile(r".*/(?:test|tests|idlelib|config-[^/]+|ensurepip|tkinter|__pycache__|site-packages)/.*|.*\.a")
ENVIRONMENT = ["PATH=/usr/local/bin", "LD_LIBRARY_PATH=/usr/local/lib", "OPENBLAS_NUM_THREADS=1"]


def layer_of(files: Iterable[tuple[str, Path | bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, source in files:
            header = tarfile.TarInfo(name)
            header.mode = 0o755
            data = source if isinstance(source, bytes) else source.read_bytes()
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return sink.getvalue()


def needed(programs: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield what the dynamic linker takes from this machine, each library in the image's /usr/local/lib but the linker itself."""
    found: dict[str, Path] = {}
    for program in programs:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(/\S+) \(0x", told):
            found[path if "/ld-linux" in path else f"/usr/local/lib/{Path(path).name}"] = Path(path)
    yield from ((target.lstrip("/"), source) for target, source in sorted(found.items()))


def python_files() -> Iterator[tuple[str, Path]]:
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield f"usr/local/bin/{version}", Path(os.path.realpath(base / "bin" / version))
    for path in sorted((base / "lib" / version).rglob("*")):
        if path.is_file() and not path.is_symlink() and not HEAVY.fullmatch(path.as_posix()):
            yield f"usr/local/lib/{version}/{path.relative_to(base / 'lib' / version).as_posix()}", path


def numpy_files() -> Iterator[tuple[str, Path]]:
    packages = Path(sysconfig.get_path("purelib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for top in packages.glob("numpy*"):
        for path in sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"usr/local/lib/{version}/site-packages/{path.relative_to(packages).as_posix()}", path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("numpy")
    python, numpy = list(python_files()), list(numpy_files())
    native = [path for _, path in (*python, *numpy) if path.suffix == ".so" or path.parent.name in ("bin", "numpy.libs")]
    layers = [layer_of([*needed(native), *python]), layer_of(numpy), layer_of([("app/main.py", APPLICATION.encode())])]
    history = [{"created_by": each} for each in ("base", "pip install numpy", "COPY main.py /app/")]
    config = config_of(layers, history=history, config={"Env": ENVIRONMENT, "WorkingDir": "/app"})
    return oci_layout(tmp_path_factory.mktemp("application") / "image", layers, config=config)


def run(*command: object) -> str:
    return subprocess.run([str(each) for each in command], check=True, capture_output=True, text=True).stdout


def output_of(image: Path, folder: Path) -> str:
    """Unpack an image as a container engine does, and run the application in it."""
    folder.mkdir()
    copied = folder / "copied"
    run("skopeo", "--insecure-policy", "copy", f"oci-archive:{image}" if image.is_file() else f"oci:{image}", f"oci:{copied}:app")
    run("umoci", "unpack", "--rootless", "--image", f"{copied}:app", folder / "unpacked")
    variables = [text for each in ENVIRONMENT for text in ("--setenv", *each.split("=", 1))]
    root = (
        "bwrap",
        "--bind",
        folder / "unpacked/rootfs",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--unshare-net",
        "--clearenv",
        *variables,
    )
    return run(*root, "--chdir", "/app", f"python3.{sys.version_info.minor}", "main.py")


def test_the_application_computes_what_it_did(image: Path, tmp_path: Path) -> None:
    command = {"run": [f"python3.{sys.version_info.minor}", "main.py"]}
    steps = {"optimizers": ["test_data", "exclude", "strip", "deduplicate"], "verify": {"commands": [command]}}
    groups = {"paths": [], "groups": ["headers", "static-libs", "cmake", "type-stubs", "docs", "sources"]}
    target = tmp_path / "small.tar"
    result = optimize(job_for(tmp_path, image={"base": "1"}, **{**steps, "exclude": groups}), image, target)
    assert result.manifest.findings == ()
    assert result.verification is not None
    kept = [old == new for old, new in zip(digests(image), digests(target), strict=True)]
    assert kept == [True, False, True]
    before, after = scan(image), scan(target)
    assert after.layers[1].installed < 0.85 * before.layers[1].installed
    assert not [path for path in after.bundle if path.endswith(".pyi") and "site-packages" in path]
    assert output_of(target, tmp_path / "after") == output_of(image, tmp_path / "before")
