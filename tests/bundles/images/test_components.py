from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images import caches
from hatch_mlbundle.bundles.images import components as components_module
from hatch_mlbundle.bundles.images.component_names import cuda_library, cuda_name
from hatch_mlbundle.manifest import ComponentRow
from tests.bundles.test_image import scan
from tests.elfsmith import Code, Part, build_elf, fatbin
from tests.imagesmith import Member, hard_link, layer, link, oci_layout

PACKAGES = "usr/local/lib/python3.11/site-packages"
HUB = "root/.cache/huggingface/hub/models--Salesforce--blip"
OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'


def rows(root: Path, *layers: bytes) -> dict[str, ComponentRow]:
    """Return the components of an image by `KIND NAME`; they add up to it, whatever is in it."""
    side = scan(oci_layout(root / "image", layers))
    check_sums(side)
    found = {f"{row.kind} {row.name}": row for row in side.components}
    assert len(found) == len(side.components)
    return found


def check_sums(side: Side) -> None:
    compressed = side.account.compressed or {}
    assert sum(row.files for row in side.components) == len(side.bundle)
    assert sum(row.installed for row in side.components) == side.bundle.size
    assert sum(row.compressed for row in side.components) == sum(compressed.values())
    assert [row.installed for row in side.components] == sorted((row.installed for row in side.components), reverse=True)


def safetensors(size: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + os.urandom(size)


def test_packages_have_the_versions_that_their_managers_tell(tmp_path: Path) -> None:
    base = layer(
        ("etc/os-release", OS_RELEASE),
        ("var/lib/dpkg/status", b"Package: libc6\nStatus: x\nVersion: 2.36-9\n\nPackage: cuda-cudart-12-4\nVersion: 12.4.127-1\n"),
        ("var/lib/dpkg/info/libc6:amd64.list", b"/usr/lib/libc.so\n"),
        ("var/lib/dpkg/info/cuda-cudart-12-4.list", b"/usr/local/cuda-12.4/lib64/libcudart.so.12\n"),
        ("usr/lib/libc.so", b"1" * 50),
        ("usr/local/cuda-12.4/lib64/libcudart.so.12", b"2" * 40),
        ("usr/local/cuda-12.4/README", b"3" * 30),
        ("usr/local/lib/python3.11/os.py", b"4" * 20),
    )
    above = layer(
        (f"{PACKAGES}/num-1.5.dist-info/RECORD", b"num/a.py,,\n"),
        (f"{PACKAGES}/num/a.py", b"5" * 1000),
        (f"{PACKAGES}/nvidia_cublas_cu12-12.4.5.8.dist-info/RECORD", b"nvidia/cublas/lib/libcublas.so.12,,\n"),
        (f"{PACKAGES}/nvidia/cublas/lib/libcublas.so.12", b"6" * 2000),
        (f"{PACKAGES}/num/lib/libcudnn.so.9", b"7"),
        (f"{PACKAGES}/old-0.9-py3.11.egg-info/PKG-INFO", b"a"),
        (f"{PACKAGES}/old/a.py", b"b"),
        ("srv/api/main.py", b"8"),
        ("opt/tool/x", b"9"),
    )
    found = rows(tmp_path, base, above)
    told = {name: (row.version, row.detail, row.layers) for name, row in found.items()}
    assert told == {
        "system libc6": ("2.36-9", "Debian GNU/Linux 12", (1,)),
        "system Debian GNU/Linux": ("12", "files that no package lists", (1,)),
        "cuda cuda-cudart-12-4": ("12.4.127-1", "Debian GNU/Linux 12", (1,)),
        "cuda CUDA": ("12.4", "", (1,)),
        "python Python": ("3.11", "", (1,)),
        "package num": ("1.5", "", (2,)),
        "cuda nvidia-cublas-cu12": ("12.4.5.8", "", (2,)),
        "package old": ("0.9", "", (2,)),
        "cuda libcudnn": ("9", "in num", (2,)),
        "application /srv/api": ("", "", (2,)),
        "application /opt/tool": ("", "", (2,)),
    }


def test_packages_of_apk_and_of_distroless_images(tmp_path: Path) -> None:
    apk = b"P:musl\nV:1.2.5-r0\nF:lib\nR:ld-musl.so\n\nP:busybox\nV:1.36\nF:bin\nR:sh\n"
    status = b"Package: tzdata\nVersion: 2025a-0+deb12u1\n"
    found = rows(
        tmp_path,
        layer(
            ("usr/lib/os-release", b"NAME='Alpine Linux'\nVERSION_ID=3.21\n"),
            ("lib/apk/db/installed", apk),
            ("lib/ld-musl.so", b"1"),
            ("bin/sh", b"2"),
            ("var/lib/dpkg/status.d/tzdata", status),
            ("var/lib/dpkg/status.d/tzdata.md5sums", b"0123456789abcdef0123456789abcdef  usr/share/zone\n"),
            ("usr/share/zone", b"3"),
        ),
    )
    assert {name: row.version for name, row in found.items() if row.kind == "system"} == {
        "system musl": "1.2.5-r0",
        "system busybox": "1.36",
        "system tzdata": "2025a-0+deb12u1",
        "system Alpine Linux": "3.21",
    }


def conda(name: str, version: str, *files: str) -> Member:
    record = {"build": "h1_0", "depends": ["x [y]"], "files": files, "name": name, "paths_data": {"paths": [{"_path": "lib/not-listed"}]}}
    return f"opt/conda/conda-meta/{name}-{version}-h1_0.json", json.dumps(record, indent=2).encode()


def test_packages_of_conda_have_names_and_versions(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        layer(
            ("opt/conda/conda-meta/history", b""),
            conda("python", "3.11.9", "bin/python3.11", "lib/python3.11/os.py"),
            conda("scikit-learn", "1.5.0", f"lib/{'x' * 10}]/odd.py", "lib/python3.11/site-packages/sklearn/a.py"),
            conda("cuda-nvrtc", "12.4.127", "lib/libnvrtc.so.12"),
            ("opt/conda/bin/python3.11", b"1"),
            ("opt/conda/lib/python3.11/os.py", b"2"),
            ("opt/conda/lib/xxxxxxxxxx]/odd.py", b"3"),
            ("opt/conda/lib/python3.11/site-packages/sklearn/a.py", b"4"),
            ("opt/conda/lib/libnvrtc.so.12", b"5"),
            ("opt/conda/lib/not-listed", b"6"),
            ("opt/conda/pkgs/python-3.11.9-h1_0/bin/python3.11", b"7" * 5000),
        ),
    )
    told = {name: (row.version, row.detail, row.files) for name, row in found.items()}
    assert told["python python"] == ("3.11.9", "conda", 2)
    assert told["package scikit-learn"] == ("1.5.0", "conda", 2)
    assert told["cuda cuda-nvrtc"] == ("12.4.127", "conda", 1)
    assert told["cache conda"] == ("", "/opt/conda/pkgs", 1)
    assert told["application /opt/conda"][2] == 5  # what nobody lists, conda's own notes among it


def test_models_have_formats_and_the_hub_s_names_and_dtypes(tmp_path: Path) -> None:
    weights = safetensors(2_000_000)
    found = rows(
        tmp_path,
        layer(
            (f"{HUB}/blobs/aaaa", weights),
            (f"{HUB}/blobs/bbbb", b"{}"),
            link(f"{HUB}/snapshots/rev1/model.safetensors", "../../blobs/aaaa"),
            link(f"{HUB}/snapshots/rev1/config.json", "../../blobs/bbbb"),
            (f"{HUB}/refs/main", b"rev1"),
            ("srv/app/weights/large.onnx", b"o" * 1_500_000),
            ("srv/app/weights/tiny.onnx", b"o" * 1000),
            ("root/.cache/huggingface/xet/chunk", b"c" * 100),
        ),
    )
    blip = found["model Salesforce/blip"]
    assert blip.version == "rev1"
    assert blip.detail == f"safetensors in /{HUB}/snapshots/rev1; F16"
    assert (blip.files, blip.installed) == (4, len(weights) + 2)
    assert found["model large"].detail == "ONNX in /srv/app/weights/large.onnx"
    assert found["application /srv/app"].installed == 1000
    assert found["cache Hugging Face"].detail == "/root/.cache/huggingface"


def test_a_model_in_a_folder_tells_its_dtypes(tmp_path: Path) -> None:
    found = rows(tmp_path, layer(("srv/bert/model.safetensors", safetensors(2_000_000)), ("srv/bert/config.json", b"{}")))
    assert found["model bert"].detail == "safetensors in /srv/bert; F16"


CACHES = {
    "root/.cache/pip/http-v2/a/b": "pip /root/.cache/pip",
    "home/u/.cache/uv/wheels/x": "uv /home/u/.cache/uv",
    "home/u/.cache/pypoetry/x": "Poetry /home/u/.cache/pypoetry",
    "root/.npm/_cacache/x": "npm /root/.npm",
    "usr/local/share/.cache/yarn/v6/x": "yarn /usr/local/share/.cache/yarn",
    "var/lib/apt/lists/deb_Packages": "apt lists /var/lib/apt/lists",
    "var/cache/apt/archives/x.deb": "apt /var/cache/apt",
    "var/cache/apk/APKINDEX.tar.gz": "apk /var/cache/apk",
    "root/.cache/torch/kernels/x": "PyTorch /root/.cache/torch",
    "root/.cache/go-build/00/x": "Go /root/.cache/go-build",
    "go/pkg/mod/cache/x": "Go modules /go/pkg/mod",
    "usr/local/cargo/registry/x": "cargo /usr/local/cargo/registry",
    "root/.composer/cache/x": "composer /root/.composer/cache",
    "root/.ccache/0/x": "ccache /root/.ccache",
}


@pytest.mark.parametrize("path", CACHES)
def test_caches_are_known_by_their_places(tmp_path: Path, path: str) -> None:
    found = rows(tmp_path, layer((path, b"x" * 10), ("srv/app/pip/cache.py", b"1")))
    (cache,) = (row for row in found.values() if row.kind == "cache")
    assert f"{cache.name} {cache.detail}" == CACHES[path]
    assert (cache.files, cache.installed) == (1, 10)


def test_caches_elsewhere_are_known_by_their_mark(tmp_path: Path) -> None:
    mark = b"Signature: 8a477f597d28d172789f06886806bc55"
    found = rows(tmp_path, layer(("build/uv/CACHEDIR.TAG", mark), ("build/uv/a/b/c", b"1"), ("build/other", b"2")))
    assert (found["cache uv"].files, found["cache uv"].detail) == (2, "/build/uv")


def test_gpu_code_is_told_of_whatever_has_it(tmp_path: Path) -> None:
    code = fatbin(Code(90, b"x" * 800), Code(80, b"x" * 800), Code(90, b"x" * 80, kind=1))
    library = build_elf(tmp_path / "lib.so", [Part(".text", b"c" * 600, flags=2), Part(".nv_fatbin", code)]).read_bytes()
    record = (f"{PACKAGES}/torch-2.9.dist-info/RECORD", b"torch/lib/libtorch_cuda.so,,\n")
    path = f"{PACKAGES}/torch/lib/libtorch_cuda.so"
    side = scan(oci_layout(tmp_path / "image", [layer(record, (path, library), hard_link("srv/again.so", path))]))
    check_sums(side)
    (torch,) = (row for row in side.components if row.name == "torch")
    assert torch.detail == "GPU code for compute_90 (PTX), sm_80, sm_90"
    assert {(row.path, row.view) for row in side.contents} == {("srv/again.so", "gpu"), ("srv/again.so", "sections")}


def test_identical_bytes_count_as_repeated_wherever_they_come_again(tmp_path: Path) -> None:
    one, two = os.urandom(5000), os.urandom(3000)
    side = scan(
        oci_layout(
            tmp_path,
            [
                layer(("a", one), ("b", one), hard_link("c", "a")),
                layer(("a", one), ("d", two)),
                layer(("x/d", two), ("e", b""), ("f", b"")),
            ],
        )
    )
    assert [row.repeated_installed for row in side.layers] == [5000, 5000, 3000]
    assert [row.hidden_installed for row in side.layers] == [0, 0, 0]  # the hard link still shows what is hidden under its other name
    assert all(row.repeated_compressed > 0 for row in side.layers)


HOSTILE: dict[str, list[Member]] = {
    "conda-meta that is no JSON": [("c/conda-meta/x-1-0.json", b'{"files": [' + b"[" * 100_000), ("c/y", b"1")],
    "conda-meta with other things": [("c/conda-meta/x-1-0.json", b'{"files": [1, null, {"a": 2}, "../../etc", "y", "a\\nb", "\\ud800"]}')],
    "conda-meta without a list": [("c/conda-meta/x-1-0.json", b'{"files": {"a": 1}}')],
    "conda-meta with bytes": [("c/conda-meta/x-1-0.json", bytes(range(256)))],
    "os-release that is none": [("etc/os-release", bytes(range(256)) * 100), ("bin/x", b"1")],
    "os-release with a terminal's words": [("etc/os-release", b'NAME="\x1b[31mred\x1b[0m\nVERSION_ID=\xe2\x80\xae1\n'), ("bin/x", b"1")],
    "os-release that never ends": [("etc/os-release", b"NAME=" + b"x" * 1_000_000), ("bin/x", b"1")],
    "os-release that is a link": [link("etc/os-release", "/dev/zero"), ("bin/x", b"1")],
    "status of bytes": [("var/lib/dpkg/status", bytes(range(256))), ("var/lib/dpkg/info/a.list", b"/bin/x\n"), ("bin/x", b"1")],
    "versions of anything": [(f"x/{'a' * 3000}-{'1' * 900}.dist-info/RECORD", b"../y,,\n"), ("y", b"1"), ("-.dist-info/RECORD", b"")],
    "names of terminals": [("srv/\x1b[2J/x", b"1"), ("srv/\udcff\u202e/x", b"2"), ("opt/ /x", b"3")],
    "a cache of everything": [("CACHEDIR.TAG", b""), ("a/CACHEDIR.TAG", b""), ("a/b", b"1")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_managers_are_said_to_have_written_all_files_are_counted_once(tmp_path: Path, name: str) -> None:
    for row in rows(tmp_path, layer(*HOSTILE[name])).values():
        for text in (row.name, row.version, row.detail):
            assert text.isprintable()
            assert len(text) <= 410


def test_what_a_package_lists_outside_of_the_image_is_nothing(tmp_path: Path) -> None:
    found = rows(
        tmp_path, layer(("c/conda-meta/x-1-0.json", b'{"files": ["../../../etc/passwd", "y"]}'), ("etc/passwd", b"1"), ("c/y", b"2"))
    )
    assert found["package x"].files == 2  # `..` above the root is the root


def test_too_many_components_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components_module, "_MOST", 3)
    found = rows(tmp_path, layer(*((f"srv/{number}/x", b"x" * number) for number in range(1, 11))))
    assert sorted(found) == ["application (others)", "application /srv/10", "application /srv/8", "application /srv/9"]
    assert found["application (others)"].files == 7


@pytest.mark.parametrize(
    "name", ["nvidia-cublas-cu12", "nvidia_cudnn_cu13", "libcudnn9-cuda-12", "cuda-toolkit-12-4-config-common", "nccl"]
)
def test_packages_of_nvidia_s(name: str) -> None:
    assert cuda_name(name)


@pytest.mark.parametrize("name", ["cudf", "numpy", "libc6", "torch", "curl", "nvchecker", "cupy-cuda12x", "barracuda"])
def test_packages_of_others(name: str) -> None:
    assert not cuda_name(name)


def test_libraries_of_nvidia_s_are_known_by_name() -> None:
    assert cuda_library("a/libcudnn_engines_precompiled.so.9") == ("libcudnn_engines_precompiled", "9")
    assert cuda_library("torch/lib/libcudart-9335f6a2.so.12") == ("libcudart", "12")
    assert cuda_library("usr/local/cuda/bin/nvcc") == ("CUDA", "")
    assert cuda_library("usr/lib/libcurl.so.4") is None


@pytest.mark.parametrize("place", [*caches._OF_MODELS, *caches._ANYWHERE, *caches._AT_ROOT, ".cache/anything"])
def test_every_place_is_found(place: str) -> None:
    found = caches.Caches(()).holding(f"{place}/x")
    assert found is not None
    assert found.place == place
