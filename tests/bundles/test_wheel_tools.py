"""What other tools make we read; what we write they accept."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from installer.sources import WheelFile

from hatch_mlbundle.atomic import replace_atomically
from hatch_mlbundle.bundles.compressor import deflate_compressor
from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.bundles.wheel_writer import write_wheel
from hatch_mlbundle.model import File, Kind, MemoryContent
from tests.bundles.wheelsmith import DIST_INFO, FILES, build_wheel

NATIVE = b"\x7fELF" + b"changed" * 3000
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "demo"
version = "1.0"
"""


def run(*command: object, cwd: Path | None = None) -> str:
    ran = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def python(*arguments: object, cwd: Path | None = None) -> str:
    return run(sys.executable, "-W", "ignore", "-m", *arguments, cwd=cwd)


def slimmed(path: Path, folder: Path) -> Path:
    """Rewrite a wheel into `folder` with one file changed and one left out."""
    folder.mkdir()
    target = folder / path.name
    with WheelSource.open(path) as source, deflate_compressor(level=9, workers=2) as compressor, replace_atomically(target) as stream:
        changed = File(
            path="demo/_native.so",
            size=len(NATIVE),
            sha256=sha256(NATIVE).hexdigest(),
            mode=0o755,
            kind=Kind.ELF,
            owner="demo",
            content=MemoryContent(NATIVE),
        )
        bundle = source.scan(2).without(["demo/noise.bin"]).replacing([changed])
        write_wheel(source, bundle, stream, compressor=compressor, workers=2)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    return slimmed(build_wheel(folder), folder / "out")


def test_zipfile(wheel: Path) -> None:
    assert "Done testing" in python("zipfile", "-t", wheel)


def test_installer(wheel: Path) -> None:
    with WheelFile.open(wheel) as source:
        source.validate_record()
        executable = {record[0] for record, _, is_executable in source.get_contents() if is_executable}
    assert executable == {"demo/_native.so", "demo.libs/libx.so", "demo-1.0.data/scripts/run"}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_package_installers(wheel: Path, tmp_path: Path, tool: str) -> None:
    if tool == "pip":
        pytest.importorskip("pip")
        python(
            "pip",
            "install",
            "--no-deps",
            "--no-index",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--target",
            tmp_path / "site",
            wheel,
        )
    else:
        uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
        if uv is None:
            pytest.skip("uv is not installed")
        options = ["--no-deps", "--offline", "--no-config", "--cache-dir", tmp_path / "cache", "--python", sys.executable]
        run(uv, "pip", "install", *options, "--target", tmp_path / "site", wheel)
    assert (tmp_path / "site/demo/_native.so").read_bytes() == NATIVE
    assert not (tmp_path / "site/demo/noise.bin").exists()
    assert (tmp_path / "site/extra/__init__.py").read_bytes() == FILES["demo-1.0.data/purelib/extra/__init__.py"]


def test_wheel_unpack_and_pack(wheel: Path, tmp_path: Path) -> None:
    python("wheel", "unpack", wheel, "-d", tmp_path)
    assert (tmp_path / "demo-1.0/demo/_native.so").read_bytes() == NATIVE
    python("wheel", "pack", tmp_path / "demo-1.0", "-d", tmp_path)
    packed = slimmed(tmp_path / wheel.name, tmp_path / "out")
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None


def test_hatchling(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for path in ("demo/__init__.py", "demo/_native.so", "demo/noise.bin"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(FILES[path])
    python("hatchling", "build", "-t", "wheel", cwd=tmp_path)
    (built,) = (tmp_path / "dist").iterdir()
    with WheelFile.open(slimmed(built, tmp_path / "out")) as source:
        source.validate_record()
    with zipfile.ZipFile(built) as before, zipfile.ZipFile(tmp_path / "out" / built.name) as after:
        kept = [info for info in before.infolist() if info.filename not in ("demo/_native.so", "demo/noise.bin", f"{DIST_INFO}/RECORD")]
        for info in kept:
            new = after.getinfo(info.filename)
            assert (new.date_time, new.external_attr >> 16 & 0o777, new.CRC) == (info.date_time, info.external_attr >> 16 & 0o777, info.CRC)
