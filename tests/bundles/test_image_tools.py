"""Images that other programs make and unpack: what is read of them is what these find."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.zip_reader import Limits
from tests.imagesmith import hard_link, layer, link, oci_layout, sha256

needs_umoci = pytest.mark.skipif(not shutil.which("umoci"), reason="needs umoci")
needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")

LAYERS = [
    layer(
        ("usr/lib/", None),
        link("lib", "usr/lib"),
        ("usr/lib/libc.so", os.urandom(30_000)),
        ("usr/lib/deep/er/x", b"x" * 900),
        ("usr/share/doc/a", b"a" * 5000),
        ("usr/share/doc/b", b"b" * 6000),
        ("opt/file", b"1"),
        ("opt/folder/x", b"22"),
        hard_link("opt/hard", "usr/lib/libc.so"),
        ("etc/passwd", b"root\n"),
    ),
    layer(("usr/share/doc/.wh..wh..opq", b""), ("usr/share/doc/c", b"c" * 70), ("etc/passwd", b"others\n"), ("usr/lib/deep/.wh.er", b"")),
    layer(("opt/file/", None), ("opt/file/inside", b"333"), ("opt/.wh.folder", b""), ("opt/folder2", b"4"), ("n" * 200, b"name")),
]


def run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True, capture_output=True)


def scan(path: Path) -> Side:
    with ThreadPoolExecutor(2) as pool:
        image = open_image(path, pool, Limits())
        assert image is not None
        return image.scan()


def told(side: Side) -> dict[str, tuple[int, str | None]]:
    return {path: (file.size, file.sha256 if file.link is None else None) for path, file in side.bundle.items()}


def on_disk(root: Path) -> dict[str, tuple[int, str | None]]:
    """Return the files in a folder as an image's are told: links without bytes, hard links under the first of their names."""
    found: dict[str, tuple[int, str | None]] = {}
    same: defaultdict[int, list[str]] = defaultdict(list)
    for path in root.rglob("*"):
        name, status = path.relative_to(root).as_posix(), path.lstat()
        if stat.S_ISLNK(status.st_mode):
            found[name] = (0, None)
        elif stat.S_ISREG(status.st_mode):
            found[name] = (status.st_size, sha256(path.read_bytes()))
            same[status.st_ino].append(name)
    return found | {name: (0, None) for names in same.values() for name in sorted(names)[1:]}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return an OCI image layout that umoci made of `LAYERS`."""
    root = tmp_path / "image"
    run("umoci", "init", "--layout", root)
    run("umoci", "new", "--image", f"{root}:app")
    for number, each in enumerate(LAYERS):
        (tmp_path / "layer.tar").write_bytes(each)
        run("umoci", "raw", "add-layer", "--image", f"{root}:app", "--history.created_by", f"step {number}", tmp_path / "layer.tar")
    run("umoci", "gc", "--layout", root)
    return root


@needs_umoci
def test_the_files_are_those_that_umoci_unpacks(tmp_path: Path, image: Path) -> None:
    run("umoci", "unpack", "--rootless", "--image", f"{image}:app", tmp_path / "unpacked")
    side = scan(image)
    assert told(side) == on_disk(tmp_path / "unpacked/rootfs")
    assert side.account.size == sum(each.stat().st_size for each in (image / "blobs/sha256").iterdir())
    assert [row.created_by for row in side.layers] == ["step 0", "step 1", "step 2"]


FORMS = {
    "docker-archive": ["docker-archive:{}:app:1"],
    "oci-archive": ["oci-archive:{}:app"],
    "oci": ["oci:{}:app"],
    "zstd": ["--dest-compress", "--dest-compress-format", "zstd", "oci:{}:app"],
    "docker manifest": ["--format", "v2s2", "oci:{}:app"],
}


@needs_umoci
@needs_skopeo
@pytest.mark.parametrize("form", FORMS)
def test_what_skopeo_makes_of_an_image_tells_the_same(tmp_path: Path, image: Path, form: str) -> None:
    target = tmp_path / "copy"
    options = [each.format(target) for each in FORMS[form]]
    run("skopeo", "--insecure-policy", "copy", *options[:-1], f"oci:{image}:app", options[-1])
    side = scan(target)
    assert told(side) == told(scan(image))
    assert [row.hidden_installed for row in side.layers] == [11_908, 0, 0]


MEMORY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.zip_reader import Limits
with ThreadPoolExecutor(2) as pool:
    print(len(open_image(Path(sys.argv[1]), pool, Limits(max_ratio=2000)).scan().bundle))
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024 // 10**6)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one process is read from Linux's /proc")
@pytest.mark.parametrize("packing", ["+gzip", "+zstd"])
def test_memory_does_not_grow_with_the_layers(tmp_path: Path, packing: str) -> None:
    large = os.urandom(1 << 20) * 120
    oci_layout(tmp_path / "image", [layer(("a/large", large)), layer(("b/large", large))], packing)
    ran = subprocess.run([sys.executable, "-c", MEMORY, tmp_path / "image"], capture_output=True, text=True, check=True)
    files, peak = map(int, ran.stdout.split())
    assert files == 2
    assert peak < 80
