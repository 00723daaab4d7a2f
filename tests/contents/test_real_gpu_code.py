"""NVIDIA's own wheels from the registry: what is told and kept of their GPU code is what NVIDIA's cuobjdump finds. No GPU is needed."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.contents.binaries import ElfInspector
from hatch_mlbundle.contents.totals import totals
from hatch_mlbundle.manifest import Manifest
from tests.elfsmith import readelf
from tests.fatbinsmith import decoded, entries_of, pruned_copy
from tests.imagesmith import oci_layout
from tests.projects import environment
from tests.test_real_wheels import download

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="the wheels are for x86-64 Linux"),
]

LIBRARIES = ["nvidia-nvjpeg-cu12==12.4.0.76", "nvidia-curand-cu12==10.3.10.19"]
"""5 and 64 MB: for 15 and 9 architectures or more, compressed, and PTX."""
CUOBJDUMP = "nvidia-cuda-cuobjdump==13.5.37"


def unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def cuobjdump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuobjdump")
    (folder / "wheel").mkdir()
    (program,) = unpacked(download(CUOBJDUMP, folder / "wheel"), folder / "x").rglob("cuobjdump")
    program.chmod(0o755)
    return program


def listed(program: Path, library: Path, kind: str) -> Counter[str]:
    """Return the number of entries of a kind (elf, ptx) by architecture; cuobjdump tells no family (`sm_100f`) apart."""
    command = [program, "-all", f"--list-{kind}", library]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Counter(re.findall(r"\.(sm_\d+a?)f?\.(?:cubin|ptx)\b", text))


@pytest.fixture(scope="module", params=LIBRARIES)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return download(request.param, tmp_path_factory.mktemp("wheel"))


def library_of(folder: Path) -> Path:
    (library,) = (path for path in folder.rglob("*.so*") if ".nv_fatbin" in readelf(path, "-S"))
    return library


def as_listed(names: Mapping[str, int], kind: str) -> Counter[str]:
    """Return the number of entries of a kind as `listed` has them, from our names."""
    if kind == "elf":
        return Counter({name.rstrip("f"): count for name, count in names.items() if name.startswith("sm_")})
    return Counter({name.replace("compute", "sm").removesuffix(" (PTX)"): count for name, count in names.items() if name.endswith("(PTX)")})


def test_architectures_are_those_that_cuobjdump_lists(tmp_path: Path, cuobjdump: Path, wheel: Path) -> None:
    manifest = analyzed(wheel)
    library = library_of(unpacked(wheel, tmp_path / "x"))
    (gpu,) = (each for each in ElfInspector().inspect(library) if each.view == "gpu")
    names = Counter(each.name for each in gpu.extents if each.name[0] != "(")
    cubins, ptx = as_listed(names, "elf"), as_listed(names, "ptx")
    assert sum(cubins.values()) > 50
    assert cubins == listed(cuobjdump, library, "elf")
    assert ptx == listed(cuobjdump, library, "ptx")
    assert sum(cubins.values()) + sum(ptx.values()) == sum(names.values())

    told = totals(manifest)
    assert set(told["gpu"]) - {"(headers)", "(padding)"} == set(names)
    (size,) = re.findall(r" \.nv_fatbin +PROGBITS +[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+)", readelf(library, "-S"))
    assert sum(told["gpu"].values()) == told["sections"][".nv_fatbin"] == int(size, 16)

    image = analyzed(oci_layout(tmp_path / "image", [tar_of(tmp_path / "x")]))
    folder = analyzed(tmp_path / "x")
    assert {(f"x/{row.path}", row.view): row.parts for row in folder.contents} == {
        (row.path, row.view): row.parts for row in image.contents
    }
    assert [replace(row, path=f"x/{row.path}") for row in folder.removable] == list(image.removable)
    (component,) = (row for row in image.components if row.installed > 10**6)
    name, version = wheel.name.split("-")[:2]
    assert (component.kind, component.name, component.version) == ("cuda", name.replace("_", "-"), version)
    assert "GPU code for compute_" in component.detail
    assert "sm_90" in component.detail


@pytest.mark.parametrize("wheel", LIBRARIES[:1], indirect=True)
def test_what_it_could_lose_is_what_the_steps_take(tmp_path: Path, wheel: Path) -> None:
    folder = unpacked(wheel, tmp_path / "x")
    table = '[tool.mlbundle]\noptimizers = ["strip", "gpu_code"]\n[tool.mlbundle.gpu_code]\ntargets = ["7.5", "9.0"]\nlibraries = ["*"]\n'
    (tmp_path / "pyproject.toml").write_text(table)
    told = {row.path: row for row in analyzed(folder).removable}
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "--no-cache", str(folder), "-o", str(tmp_path / "out")]
    subprocess.run(command, capture_output=True, check=True, env=environment(), cwd=tmp_path)
    files = {path: path.stat().st_size - (tmp_path / "out" / path.relative_to(folder)).stat().st_size for path in folder.rglob("*.so*")}
    assert {path: row.gpu.keeping[0].with_strip for path, row in told.items() if row.gpu} == {
        path.relative_to(folder).as_posix(): saved for path, saved in files.items() if saved
    }
    assert sum(files.values()) > 10**6


def test_what_is_left_of_a_pruned_library_is_what_was_to_be_kept(tmp_path: Path, cuobjdump: Path, wheel: Path) -> None:
    library, pruned = library_of(unpacked(wheel, tmp_path / "x")), tmp_path / "pruned.so"
    pruning = pruned_copy(library, pruned, "8.0 12.1", "newest")
    kept = {name: share.entries for name, share in pruning.kept.items()}
    assert listed(cuobjdump, pruned, "elf") == as_listed(kept, "elf")
    assert listed(cuobjdump, pruned, "ptx") == as_listed(kept, "ptx")
    assert as_listed(kept, "elf")["sm_80"] > 9
    assert sum(as_listed(kept, "ptx").values()) > 8
    assert extracted(cuobjdump, pruned, tmp_path / "after") == extracted(cuobjdump, library, tmp_path / "before")

    before, after = entries_of(library), entries_of(pruned)
    assert len(before) == len(after)
    assert all(set(found) <= set(whole) for whole, found in zip(before, after, strict=True))
    for name, entry in (each for found in after for each in found):
        code = decoded(entry)
        assert code.startswith(b"\x7fELF") if name.startswith("sm_") else b".target sm_" in code


def extracted(program: Path, library: Path, folder: Path) -> list[str]:
    """Return digests of all cubins for one architecture."""
    folder.mkdir()
    subprocess.run([program, "--extract-elf", "sm_80.cubin", library], cwd=folder, check=True, capture_output=True)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()]
    assert len(digests) > 9
    return sorted(digests)


def tar_of(folder: Path) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        tar.add(folder, folder.name)
    return sink.getvalue()


def analyzed(path: Path) -> Manifest:
    command = [sys.executable, "-m", "hatch_mlbundle", "analyze", "--json", "--no-cache", str(path)]
    ran = subprocess.run(command, capture_output=True, check=True, env=environment(), cwd=path.parent)
    assert json.loads(ran.stdout)["contents"]
    return Manifest.from_json(ran.stdout)
