"""Images that were written, as other programs take them: what they unpack is what they unpacked before, but for what was to go."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TypeAlias

import pytest

from hatch_mlbundle.bundles.images.edits import ImageEdit, LayerEdit, NewLayer
from tests.bundles.imagewriting import dropping, edit_of, new_file, write
from tests.imagesmith import config_of, layer, put_image, put_index, sha256

needs_umoci = pytest.mark.skipif(not shutil.which("umoci") or os.geteuid() != 0, reason="needs umoci, and to be root")
needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
needs_buildah = pytest.mark.skipif(not shutil.which("buildah") or os.geteuid() != 0, reason="needs buildah, and to be root")

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""CAP_NET_BIND_SERVICE, permitted and effective (capabilities(7), VFS_CAP_REVISION_2)."""
Seen: TypeAlias = dict[str, tuple[object, ...]]


def run(*command: object) -> str:
    result = subprocess.run([str(each) for each in command], check=False, capture_output=True, text=True)
    assert result.returncode == 0, (command, result.stderr)
    return result.stdout


def make_root(root: Path) -> None:
    """Lay out a root with all that a layer can hold."""
    for folder in ("usr/bin", "usr/lib", "home/me", "dev", "tmp", "app/models"):
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/tool").write_bytes(b"\x7fELF" + os.urandom(5000))
    (root / "usr/bin/tool").chmod(0o4755)
    os.setxattr(root / "usr/bin/tool", "security.capability", CAPABILITY)
    os.link(root / "usr/bin/tool", root / "usr/bin/tool-1.0")
    (root / "usr/bin/sh").symlink_to("tool")
    (root / ("usr/lib/" + "n" * 140)).write_bytes(b"long")
    (root / "home/me/file").write_bytes(b"mine")
    os.setxattr(root / "home/me/file", "user.note", b"\xff\n=x")
    os.chown(root / "home/me/file", 1000, 3_000_000)
    os.chown(root / "home/me", 1000, 1000)
    (root / "home/me").chmod(0o700)
    (root / "tmp").chmod(0o1777)
    os.mkfifo(root / "dev/pipe")
    (root / "dev/pipe").chmod(0o620)
    with (root / "usr/lib/holes").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    (root / "app/models/weights").write_bytes(os.urandom(100_000))
    os.link(root / "app/models/weights", root / "app/weights")
    (root / "app/cache").write_bytes(os.urandom(50_000))
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18, 1_600_000_000 * 10**9 + number * 1_234_567_891), follow_symlinks=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return an OCI layout of two layers, the lower of which GNU tar made."""
    root = tmp_path / "root"
    try:
        make_root(root)
    except OSError as error:
        pytest.skip(f"needs a file system with all that a layer can hold ({error})")
    tar = tmp_path / "root.tar"
    run("tar", "-C", root, "-S", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--format=pax", "--sort=name", "-cf", tar, ".")
    above = layer(("app/.wh.none", b""), ("app/new", b"new"), ("usr/lib/", None))
    layers = [tar.read_bytes(), above]
    config = config_of(layers, config={"Cmd": ["/usr/bin/tool"]}, history=[{"created_by": "a"}, {"created_by": "b"}])
    made = put_image(tmp_path / "image", layers, config=config, annotations={"org.opencontainers.image.ref.name": "app"})
    return put_index(tmp_path / "image", [made])


def seen(root: Path) -> Seen:
    """Return all that can be seen of the files below a folder."""
    found: Seen = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        name, status = path.relative_to(root).as_posix(), path.lstat()
        is_file, is_link = stat.S_ISREG(status.st_mode), stat.S_ISLNK(status.st_mode)
        xattrs = () if is_link else tuple(sorted((each, os.getxattr(path, each)) for each in os.listxattr(path)))
        found[name] = (
            stat.filemode(status.st_mode),
            (status.st_uid, status.st_gid, status.st_rdev),
            status.st_mtime_ns,
            sha256(path.read_bytes()) if is_file else str(path.readlink()) if is_link else "",
            first.setdefault(status.st_ino, name) if is_file else "",
            tuple(each for each in xattrs if not each[0].startswith(("user.rootlesscontainers", "security.selinux"))),
        )
    return found


def unpacked(image: Path, target: Path) -> Seen:
    run("umoci", "unpack", "--image", f"{image}:app", target)
    return seen(target / "rootfs")


def taken_by_buildah(source: str, place: Path) -> Seen:
    buildah = ("buildah", "--root", place / "root", "--runroot", place / "run", "--storage-driver", "vfs")
    name = run(*buildah, "from", "--pull-never", run(*buildah, "pull", "-q", source).strip()).strip()
    return seen(Path(run(*buildah, "mount", name).strip()))


NOTHING = LayerEdit(drop=frozenset({"nowhere"}))
EDITS: dict[str, tuple[ImageEdit, frozenset[str]]] = {
    "nothing": (edit_of(NOTHING, NOTHING), frozenset()),
    "a whiteout": (edit_of(None, dropping("app/.wh.none")), frozenset()),
    "a file": (edit_of(dropping("app/cache"), None), frozenset({"app/cache"})),
    "the name with the data": (edit_of(dropping("app/models/weights", "app/cache"), None), frozenset({"app/models/weights", "app/cache"})),
}


@needs_umoci
@pytest.mark.parametrize("what", EDITS)
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_umoci_unpacks_what_it_did_before(tmp_path: Path, image: Path, what: str, compression: str) -> None:
    edit, gone = EDITS[what]
    before = unpacked(image, tmp_path / "before")
    made = write(image, tmp_path / "made", edit, compression=compression, recompress=True)
    after = unpacked(made, tmp_path / "after")
    assert before["dev/pipe"][0] == "prw--w----"
    assert (before["usr/bin/tool"][5], before["home/me/file"][5]) == ((("security.capability", CAPABILITY),), (("user.note", b"\xff\n=x"),))
    expected = {path: each for path, each in before.items() if path not in gone}
    if "app/models/weights" in gone:  # the other name is now that of a file by itself
        expected["app/weights"] = (*expected["app/weights"][:4], "app/weights", *expected["app/weights"][5:])
    assert after == expected


@needs_buildah
@needs_skopeo
def test_buildah_and_skopeo_take_the_tar_file_in_both_forms(tmp_path: Path, image: Path) -> None:
    new = NewLayer(files=(new_file("app/models/other", b"m" * 5000),), created_by="models")
    edit = edit_of(dropping("app/cache", "app/weights"), None, new=[new], labels={"small": "yes"}, comment="smaller")
    folder, tar = write(image, tmp_path / "made", edit), write(image, tmp_path / "made.tar", edit)
    found = [
        taken_by_buildah(source, tmp_path / f"{number}")
        for number, source in enumerate((f"oci:{folder}", f"oci-archive:{tar}", f"docker-archive:{tar}"))
    ]
    assert found[0] == found[1] == found[2]
    assert {"app/models/other", "app/models/weights", "app/new"} <= set(found[0])
    assert not {"app/cache", "app/weights"} & set(found[0])
    before = taken_by_buildah(f"oci:{image}", tmp_path / "before")
    for path in ("home/me/file", "usr/bin/tool", "usr/bin/tool-1.0", "dev/pipe", "tmp", "usr/lib/holes", "home/me"):
        assert found[0][path] == before[path]
    for source in (f"oci-archive:{tar}", f"docker-archive:{tar}"):
        assert json.loads(run("skopeo", "inspect", source))["Labels"] == {"small": "yes"}
        run("skopeo", "copy", "-q", source, f"dir:{tmp_path / 'copy'}")


@needs_skopeo
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("name", ["made.tgz", "made.tar.zst", "made.tar"])
def test_skopeo_copies_every_form(tmp_path: Path, image: Path, name: str, compression: str) -> None:
    made = write(image, tmp_path / name, EDITS["a file"][0], compression=compression, level=1)
    form = "oci-archive" if name == "made.tgz" else "docker-archive"  # some releases cannot read even their own, once gzip packs it
    run("skopeo", "copy", "-q", f"{form}:{made}", f"oci:{tmp_path / 'copy'}:app")
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{tmp_path / 'copy'}:app"))
    assert [each.get("created_by") for each in config["history"]] == ["a", "b"]
