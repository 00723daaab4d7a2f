"""GPU code that leaves whole artifacts, alone and beside other steps."""

from __future__ import annotations

import base64
import csv
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize, plan_for
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.cli import main
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.profile import FILE_NAME, Profile
from hatch_mlbundle.testing import folder_from, wheel_from
from tests.elfsmith import need
from tests.frozensmith import frozen_folder, says
from tests.gpusmith import gpu_library
from tests.imagesmith import layer, oci_layout

NCCL = "nvidia/nccl/lib/libnccl.so.2"
SITE = "usr/local/lib/python3.11/site-packages"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a library with code for five architectures."""
    return gpu_library(tmp_path_factory.mktemp("gpu") / "lib.so", None, "-Wl,-soname,libnccl.so.2").read_bytes()


def job_for(project: Path, *steps: str, **tables: Mapping[str, Any]) -> Job:
    registry = load_registry()
    steps = steps or ("gpu_code",)
    table = {"optimizers": list(steps), "cache": {"enabled": False}, **tables}
    if "gpu_code" in steps:
        table["gpu_code"] = {"targets": ["8.0"]}
    return prepare(project_config(project, registry, table), registry, project=project)


def codes(manifest: Manifest) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.optimizer) for finding in manifest.findings]


def architectures(path: Path) -> set[str | None]:
    """Return what there is GPU code for, the CUDA runtime's own kernels not counted."""
    with Reader(path) as reader:
        return {entry.name for each in elf_containers(reader, read_elf(reader)) if not each.is_pinned for entry in each.entries}


def unpacked(image: Path, folder: Path) -> set[str]:
    """Unpack the files of all layers, and return their paths."""
    found = set()
    for blob in (image / "blobs/sha256").iterdir():
        if tarfile.is_tarfile(blob):
            with tarfile.open(blob) as tar:
                tar.extractall(folder, filter="data")
                found |= set(tar.getnames())
    return found


def answers(path: Path) -> bool:
    code = f"import ctypes; print(ctypes.CDLL({str(path)!r}).answer(b'abc'))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout == "21\n"


def test_a_wheel_has_its_record_right_and_a_second_run_changes_nothing(tmp_path: Path, library: bytes) -> None:
    wheel = wheel_from(tmp_path, {NCCL: library, "pkg/__init__.py": ""}, tag="py3-none-manylinux_2_17_x86_64")
    planned = plan_for(job_for(tmp_path), wheel)
    (change,) = planned.stages[0].changes
    first = optimize(job_for(tmp_path), wheel).manifest
    assert first.steps[0].saved.installed == change.saves  # type: ignore[union-attr]
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(NCCL)
        (name,) = (each for each in archive.namelist() if each.endswith("RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(archive.read(name).decode().splitlines())}
        archive.extract(NCCL, tmp_path / "unpacked")
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    assert rows[NCCL] == [f"sha256={digest}", str(len(data))]
    assert architectures(tmp_path / "unpacked" / NCCL) == {"sm_80"}
    assert answers(tmp_path / "unpacked" / NCCL)
    before = wheel.read_bytes()
    second, third = (optimize(job_for(tmp_path), wheel).manifest for _ in range(2))
    assert wheel.read_bytes() == before
    assert second.to_json() == third.to_json()
    assert [row.changes for row in second.files if row.path == NCCL] == [()]


def test_files_that_others_have_a_name_of_are_not_written_to(tmp_path: Path, library: bytes) -> None:
    """What uv and conda install are names of the files in their caches."""
    folder = folder_from(tmp_path / "env", {NCCL: library, "pkg/x.py": ""})
    os.link(folder / NCCL, tmp_path / "cached")
    os.link(folder / NCCL, folder / "pkg/libnccl.so.2")
    optimize(job_for(tmp_path), folder)
    assert (tmp_path / "cached").read_bytes() == library
    for path in (folder / NCCL, folder / "pkg/libnccl.so.2"):
        assert architectures(path) == {"sm_80"}
        assert answers(path)


@pytest.mark.slow
def test_a_frozen_application_starts_as_before(tmp_path: Path, library: bytes) -> None:
    folder = frozen_folder(tmp_path)
    before = says(folder / "app")
    place = folder / "_internal" / NCCL
    place.parent.mkdir(parents=True)
    place.write_bytes(library)
    manifest = optimize(job_for(tmp_path), folder).manifest
    assert codes(manifest) == []
    assert architectures(place) == {"sm_80"}
    assert answers(place)
    assert says(folder / "app") == before


def test_an_image_loses_it_from_the_layer_that_has_it(tmp_path: Path, library: bytes) -> None:
    layers = [layer(("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")), layer((f"{SITE}/{NCCL}", library), ("app/run.py", b"1"))]
    image = oci_layout(tmp_path / "image", layers)
    manifest = optimize(job_for(tmp_path), image, tmp_path / "small").manifest
    assert codes(manifest) == []
    assert manifest.artifact.before.installed - manifest.artifact.after.installed > len(library) // 2
    assert f"{SITE}/{NCCL}" in unpacked(tmp_path / "small", tmp_path / "root")
    place = tmp_path / "root" / SITE / NCCL
    assert architectures(place) == {"sm_80"}
    assert answers(place)


@pytest.mark.parametrize("steps", [("strip", "gpu_code"), ("gpu_code", "strip"), ("gpu_code", "strip", "gpu_code", "strip")])
def test_our_own_strip_comes_in_any_order(tmp_path: Path, library: bytes, steps: tuple[str, ...]) -> None:
    folder = folder_from(tmp_path / "env", {NCCL: library})
    for step in steps:
        assert codes(optimize(job_for(tmp_path, step), folder).manifest) == []
    assert architectures(folder / NCCL) == {"sm_80"}
    assert answers(folder / NCCL)
    assert b"fatbins_end" not in (folder / NCCL).read_bytes()
    again = optimize(job_for(tmp_path, "strip", "gpu_code"), folder).manifest
    assert again.artifact.before.installed == again.artifact.after.installed


@pytest.mark.parametrize(
    ("step", "options", "program"),
    [("upx", {"min-size": 4096}, "upx"), ("strip", {"tool": "binutils"}, "strip"), ("strip", {"tool": "elfutils"}, "eu-strip")],
)
def test_other_programs_are_told_to_come_first_and_let_nowhere_near(
    tmp_path: Path, library: bytes, step: str, options: Mapping[str, Any], program: str
) -> None:
    need(program)
    folder = folder_from(tmp_path / "env", {NCCL: library})
    manifest = optimize(job_for(tmp_path, "gpu_code", step, **{step: options}), folder).manifest
    assert codes(manifest) == [*([("MB431", step)] if step == "strip" else []), ("MB436", step)]
    assert architectures(folder / NCCL) == {"sm_80"}
    assert answers(folder / NCCL)
    later = optimize(job_for(tmp_path, step, **{step: options}), folder).manifest
    assert codes(later) == [("MB436", step)]
    assert [change.action for row in later.files for change in row.changes if row.path == NCCL] == ["keep"]


def test_what_is_packed_has_nothing_to_take_out_and_that_is_told(tmp_path: Path, library: bytes) -> None:
    need("upx")
    folder = folder_from(tmp_path / "env", {NCCL: library})
    manifest = optimize(job_for(tmp_path, "upx", "gpu_code", upx={"min-size": 4096}), folder).manifest
    assert codes(manifest)[:1] == [("MB431", "gpu_code")]
    assert "name it before" in manifest.findings[0].message


@pytest.mark.parametrize("tool", ["binutils", "elfutils", "llvm"])
def test_other_programs_may_come_first(tmp_path: Path, library: bytes, tool: str) -> None:
    need({"binutils": "strip", "elfutils": "eu-strip", "llvm": "llvm-strip"}[tool])
    folder = folder_from(tmp_path / "env", {NCCL: library})
    assert codes(optimize(job_for(tmp_path, "strip", "gpu_code", strip={"tool": tool}), folder).manifest) == []
    assert architectures(folder / NCCL) == {"sm_80"}
    assert answers(folder / NCCL)


def test_other_steps_work_beside_it(tmp_path: Path, library: bytes) -> None:
    folder = folder_from(
        tmp_path / "env", {NCCL: library, "nvidia/lib64/libnccl.so.2": library, "unused/libnccl.so.2": library, "pkg/x.py": "1"}
    )
    Profile(used=frozenset({NCCL, "nvidia/lib64/libnccl.so.2", "pkg/x.py"}), unused=frozenset({"unused/libnccl.so.2"})).save(
        tmp_path / FILE_NAME
    )
    manifest = optimize(job_for(tmp_path, "gpu_code", "prune_unused", "deduplicate", "externalize"), folder).manifest
    assert [code for code, _ in codes(manifest) if code.startswith(("MB1", "MB4"))] == []
    assert not (folder / "unused/libnccl.so.2").exists()
    assert (folder / "nvidia/lib64/libnccl.so.2").samefile(folder / NCCL)
    assert architectures(folder / NCCL) == {"sm_80"}
    assert answers(folder / "nvidia/lib64/libnccl.so.2")


def test_patchelf_takes_the_result(tmp_path: Path, library: bytes) -> None:
    need("patchelf")
    folder = folder_from(tmp_path / "env", {NCCL: library})
    optimize(job_for(tmp_path), folder)
    place = folder / NCCL
    subprocess.run(["patchelf", "--set-rpath", "/a/quite/long/path/" * 20, "--set-soname", "libother.so", place], check=True)
    assert architectures(place) == {"sm_80"}
    assert answers(place)


@pytest.mark.slow
def test_a_wheel_of_the_registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """nvJPEG's: 16 architectures in 9 MB; NVIDIA's, so it has to be named."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--platform", "manylinux2014_x86_64"]
    result = subprocess.run([*command, "-d", tmp_path, "nvidia-nvjpeg-cu12==12.4.0.76"], check=False, capture_output=True)
    if result.returncode:
        pytest.skip("the registry cannot be reached")
    (wheel,) = tmp_path.glob("*.whl")
    before = wheel.stat().st_size
    (tmp_path / "pyproject.toml").write_text(
        '[tool.mlbundle]\noptimizers = ["gpu_code"]\n[tool.mlbundle.gpu_code]\ntargets = ["8.0"]\nlibraries = ["nvidia/**"]\n'
    )
    assert main(["optimize", str(wheel), "--project", str(tmp_path)]) == 0
    assert "MB432" in capsys.readouterr().out
    assert wheel.stat().st_size < before // 2
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("nvidia/nvjpeg/lib/libnvjpeg.so.12", tmp_path)
    place = tmp_path / "nvidia/nvjpeg/lib/libnvjpeg.so.12"
    assert architectures(place) == {"sm_80"}
    version = ctypes.c_int()
    assert ctypes.CDLL(str(place)).nvjpegGetProperty(0, ctypes.byref(version)) == 0
    assert version.value == 12
    if shutil.which("auditwheel"):
        shown = subprocess.run(["auditwheel", "show", wheel], check=True, capture_output=True, text=True).stdout
        assert "manylinux" in shown
