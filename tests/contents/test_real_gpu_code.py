"""NVIDIA's own wheels from the registry: what is told of their GPU code is what NVIDIA's cuobjdump lists. No GPU is needed."""

from __future__ import annotations

import io
import json
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from hatch_mlbundle.contents.binaries import ElfInspector
from hatch_mlbundle.contents.totals import totals
from hatch_mlbundle.manifest import Manifest
from tests.elfsmith import readelf
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


@pytest.mark.parametrize("requirement", LIBRARIES)
def test_architectures_are_those_that_cuobjdump_lists(tmp_path: Path, cuobjdump: Path, requirement: str) -> None:
    wheel = download(requirement, tmp_path)
    manifest = analyzed(wheel)
    (library,) = (path for path in unpacked(wheel, tmp_path / "x").rglob("*.so*") if ".nv_fatbin" in readelf(path, "-S"))
    (gpu,) = (each for each in ElfInspector().inspect(library) if each.view == "gpu")
    names = Counter(each.name for each in gpu.extents if each.name[0] != "(")
    cubins = Counter({name.rstrip("f"): count for name, count in names.items() if name.startswith("sm_")})
    ptx = Counter({name.replace("compute", "sm").removesuffix(" (PTX)"): count for name, count in names.items() if name.endswith("(PTX)")})
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
    (component,) = (row for row in image.components if row.installed > 10**6)
    name, _, version = requirement.partition("==")
    assert (component.kind, component.name, component.version) == ("cuda", name, version)
    assert "GPU code for compute_" in component.detail
    assert "sm_90" in component.detail


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
