from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images.edits import LayerEdit, NewLayer
from hatch_mlbundle.bundles.images.image import read_image
from hatch_mlbundle.bundles.images.image_documents import left_out
from hatch_mlbundle.bundles.images.layouts import FolderLayout
from hatch_mlbundle.errors import ArtifactError, ConfigurationError, StorageError
from tests.bundles.imagewriting import (
    contents,
    documents,
    dropping,
    edit_of,
    layers,
    members,
    new_file,
    replacing,
    write,
)
from tests.imagesmith import (
    OCI,
    as_tar,
    config_of,
    docker_archive,
    gzipped,
    hard_link,
    layer,
    link,
    oci_layout,
    put_image,
    put_index,
    put_json,
    sha256,
    zstd,
)

BASE = layer(("etc/", None), ("etc/passwd", b"root\n"), ("app/", None), ("app/old.bin", b"o" * 5000))
ABOVE = layer(("app/new.py", b"x = 1\n" * 500), ("app/.wh.old.bin", b""), ("app/data", b"d" * 700))
TOP = layer(("app/cache", b"c" * 900))
LAYERS = [BASE, ABOVE, TOP]
HISTORY = [
    {"created": "2024-05-06T07:08:09Z", "created_by": "base"},
    {"created_by": "ENV A=1", "empty_layer": True},
    {"created_by": "COPY app", "comment": "buildkit.dockerfile.v0"},
    {"created_by": "RUN cache"},
]
CONFIG = {
    "created": "2024-05-06T07:08:09.5Z",
    "author": "me",
    "x-unknown": [1, {"deep": None}, 1.5],
    "config": {"Env": ["A=1"], "Labels": {"kept": "yes"}, "Healthcheck": {"Test": ["NONE"]}},
    "history": HISTORY,
}


def image(root: Path, packing: str = "+gzip", tars: list[bytes] = LAYERS) -> Path:
    return oci_layout(root, tars, packing, config=config_of(tars, **CONFIG))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_edits_the_image_stays_as_it_is(tmp_path: Path) -> None:
    source = image(tmp_path / "image")
    made = write(source, tmp_path / "made", edit_of(None, None, None))
    _, before, _ = documents(source)
    _, after, _ = documents(made)
    assert after["config"] == before["config"]
    assert after["layers"] == before["layers"]
    assert (
        tree(made).items() >= {name: data for name, data in tree(source).items() if name.endswith(before["config"]["digest"][7:])}.items()
    )
    assert contents(made) == contents(source)


def test_edits_that_find_nothing_keep_the_stored_bytes(tmp_path: Path) -> None:
    source = image(tmp_path / "image", "+zstd")
    made = write(source, tmp_path / "made", edit_of(dropping("nowhere"), LayerEdit(), None))
    assert documents(made)[1]["layers"] == documents(source)[1]["layers"]


def test_what_the_documents_say(tmp_path: Path) -> None:
    edit = edit_of(
        None,
        dropping("app/data"),
        dropping("app/cache"),
        new=[NewLayer(files=(new_file("models/m", b"m" * 10),), created_by="models out")],
        comment="made smaller",
        labels={"smaller": "1"},
    )
    made = write(image(tmp_path / "image"), tmp_path / "made", edit)
    index, manifest, config = documents(made)
    assert list(config) == ["os", "architecture", "rootfs", *CONFIG]
    assert {key: config[key] for key in ("created", "author", "x-unknown")} == {
        key: CONFIG[key] for key in ("created", "author", "x-unknown")
    }
    assert config["config"] == {"Env": ["A=1"], "Labels": {"kept": "yes", "smaller": "1"}, "Healthcheck": {"Test": ["NONE"]}}
    assert config["history"] == [
        HISTORY[0],
        HISTORY[1],
        {"created_by": "COPY app", "comment": "buildkit.dockerfile.v0; made smaller"},
        {"created_by": "RUN cache", "comment": "made smaller", "empty_layer": True},
        {"created": CONFIG["created"], "created_by": "models out", "comment": "made smaller"},
    ]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{sha256(each)}" for each in layers(made)]}
    assert [each["mediaType"] for each in manifest["layers"]] == [f"{OCI}.layer.v1.tar+gzip"] * 3
    assert manifest["mediaType"] == index["manifests"][0]["mediaType"] == f"{OCI}.manifest.v1+json"
    assert [sorted(members(each)) for each in layers(made)[1:]] == [["app/.wh.old.bin", "app/new.py"], ["models", "models/m"]]
    assert set(contents(made)) == {"etc/passwd", "app/new.py", "models/m"}
    again = write(made, tmp_path / "again", edit_of(None, dropping("app/.wh.old.bin"), None, comment="made smaller"))
    assert documents(again)[2]["history"][2]["comment"] == "buildkit.dockerfile.v0; made smaller"


def test_history_that_is_not_about_the_layers_stays(tmp_path: Path) -> None:
    for history in ([], HISTORY[:2]):
        source = oci_layout(tmp_path / f"{len(history)}", LAYERS, config=config_of(LAYERS, history=history))
        edit = edit_of(None, None, dropping("app/cache"), new=[NewLayer(files=(new_file("x"),), created_by="x")], comment="c")
        assert documents(write(source, tmp_path / f"{len(history)}-made", edit))[2]["history"] == history


def test_the_last_layer_never_goes(tmp_path: Path) -> None:
    source = oci_layout(tmp_path / "image", [layer(("a", b"1"))])
    made = write(source, tmp_path / "made", edit_of(dropping("a")))
    assert layers(made) == [bytes(1024)]
    assert contents(made) == {}


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("stored", ["+gzip", "+zstd", ""])
def test_layers_are_packed_as_asked(tmp_path: Path, compression: str, stored: str) -> None:
    source = image(tmp_path / "image", stored)
    suffix = "" if compression == "none" else f"+{compression}"
    edit = edit_of(None, LayerEdit(), dropping("app/nothing"))
    made = write(source, tmp_path / "made", edit, compression=compression, level=1, recompress=True)
    _, manifest, config = documents(made)
    assert [each["mediaType"].removeprefix(f"{OCI}.layer.v1.tar") for each in manifest["layers"]] == [stored, suffix, suffix]
    assert config["rootfs"] == documents(source)[2]["rootfs"]
    assert manifest["config"] == documents(source)[1]["config"]
    assert contents(made) == contents(source)


@pytest.mark.parametrize("name", ["made", "made.tar", "made.tar.gz", "made.tar.zst"])
@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "docker", "old docker", "docker.zst"])
def test_every_form_becomes_every_other(tmp_path: Path, form: str, name: str) -> None:
    source = image(tmp_path / "image")
    if form.startswith("tar"):
        source = as_tar(source, tmp_path / "image.tar")
    elif "docker" in form:
        source = docker_archive(tmp_path / "image.tar", LAYERS, old="old" in form, config=config_of(LAYERS, **CONFIG))
    if form.endswith((".gz", ".zst")):
        source.write_bytes((gzipped if form.endswith("gz") else zstd)(source.read_bytes()))
    made = write(source, tmp_path / name, edit_of(None, dropping("app/data"), None))
    left = contents(source)
    assert left.pop("app/data")
    assert contents(made) == left
    assert made.is_dir() == (name == "made")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("image", "image.tar", name)]


def test_a_tar_file_is_for_docker_too(tmp_path: Path) -> None:
    source = docker_archive(tmp_path / "image.tar", LAYERS, config=config_of(LAYERS))
    made = write(source, tmp_path / "made.tar", edit_of(None, dropping("app/data"), None))
    with tarfile.open(made) as tar:
        names = tar.getnames()
        texts = {name: json.loads(tar.extractfile(name).read()) for name in ("index.json", "manifest.json")}  # type: ignore[union-attr]
        (docker,) = texts["manifest.json"]
        config = json.loads(tar.extractfile(docker["Config"]).read())  # type: ignore[union-attr]
    assert docker["RepoTags"] == ["app:latest"]
    assert [each["annotations"] for each in texts["index.json"]["manifests"]] == [
        {"io.containerd.image.name": "docker.io/library/app:latest", "org.opencontainers.image.ref.name": "latest"}
    ]
    assert len(config["rootfs"]["diff_ids"]) == len(docker["Layers"]) == 3
    assert names[:3] == ["oci-layout", "index.json", "manifest.json"]
    assert set(docker["Layers"]) < set(names)


def test_tags_of_an_index_go_on(tmp_path: Path) -> None:
    root = tmp_path / "image"
    names = {"org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": "docker.io/library/app:latest"}
    inner = put_json(
        root,
        {"schemaVersion": 2, "manifests": [put_image(root, LAYERS, platform={"os": "linux", "architecture": "amd64"})]},
        f"{OCI}.index.v1+json",
    )
    put_index(root, [{**inner, "annotations": names}])
    made = write(root, tmp_path / "made.tar", edit_of(None, None, dropping("app/cache")))
    with tarfile.open(made) as tar:
        (entry,) = json.loads(tar.extractfile("index.json").read())["manifests"]  # type: ignore[union-attr]
        (docker,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert (entry["annotations"], entry["platform"]) == (names, {"os": "linux", "architecture": "amd64"})
    assert docker["RepoTags"] == ["app:latest"]


def test_the_same_layer_twice(tmp_path: Path) -> None:
    for number, name in enumerate(["made", "made.tar"]):
        source = oci_layout(tmp_path / f"image{number}", [BASE, TOP, TOP])
        for edit in (edit_of(None, None, None), edit_of(dropping("etc/passwd"), *[replacing(new_file("app/cache", b"n" * 99))] * 2)):
            made = write(source, tmp_path / f"{len(edit.layers[0].drop) if edit.layers[0] else 0}{name}", edit)
            assert contents(made)["app/cache"]
            assert len(tree(made)) == 6 if made.is_dir() else True


def test_new_layers_are_the_same_whatever_the_rest_is(tmp_path: Path) -> None:
    new = NewLayer(
        files=(new_file("srv/models/b", b"2" * 600, mode=0o600), new_file("srv/a", b"1"), new_file("srv/l", link="a")), created_by="x"
    )
    one = write(image(tmp_path / "one"), tmp_path / "one-made", edit_of(None, None, None, new=[new]))
    other = write(oci_layout(tmp_path / "other", [TOP]), tmp_path / "other-made", edit_of(dropping("app/cache"), new=[new]))
    assert documents(one)[1]["layers"][-1] == documents(other)[1]["layers"][-1]
    found = members(layers(one)[-1])
    assert list(found) == ["srv", "srv/a", "srv/l", "srv/models", "srv/models/b"]
    assert {each.mtime for each in found.values()} == {1580601600}
    assert {(each.uid, each.gid, each.uname) for each in found.values()} == {(0, 0, "")}
    assert [oct(each.mode) for each in found.values()] == ["0o755", "0o644", "0o777", "0o755", "0o600"]


def test_new_layers_leave_folders_and_owners_as_they_are(tmp_path: Path) -> None:
    def owned(name: str, kind: bytes, mode: int, uid: int, **pax: str) -> tuple[str, tarfile.TarInfo]:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.pax_headers = kind, mode, uid, 50, pax
        return name, info

    below = layer(
        owned("home/", tarfile.DIRTYPE, 0o700, 1),
        owned("home/me/", tarfile.DIRTYPE, 0o1777, 3_000_000),
        owned("home/me/f", tarfile.REGTYPE, 0o600, 7),
    )
    above = layer(owned("home/", tarfile.DIRTYPE, 0o711, 2, **{"SCHILY.xattr.user.a": "\udcffb"}))
    new = NewLayer(files=(new_file("home/me/f", b"1"), new_file("home/me/g", b"1")), created_by="x")
    made = write(oci_layout(tmp_path / "image", [below, above]), tmp_path / "made", edit_of(dropping("home/me/f"), None, new=[new]))
    found = members(layers(made)[-1])
    assert [(each.name, each.mode, each.uid, each.gid) for each in found.values()] == [
        ("home", 0o711, 2, 50),
        ("home/me", 0o1777, 3_000_000, 50),
        ("home/me/f", 0o644, 7, 50),
        ("home/me/g", 0o644, 0, 0),
    ]
    assert found["home"].pax_headers["SCHILY.xattr.user.a"] == "\udcffb"


def test_headers_of_replaced_members_say_the_rest_as_before(tmp_path: Path) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        info = tarfile.TarInfo("folder/" + "n" * 95)
        info.uid, info.gid, info.mtime, info.uname, info.mode = 11, 22, 1234567890, "me", 0o4755
        if form == tarfile.PAX_FORMAT:
            info.mtime, info.pax_headers = 1234567890.25, {"SCHILY.xattr.security.capability": "\x01\x00\udc80", "comment": "c"}
        source = oci_layout(
            tmp_path / f"{form}",
            [
                layer((info.name, info), link("l", "t" * 150), form=form)
                if form != tarfile.USTAR_FORMAT
                else layer((info.name, info), form=form)
            ],
        )
        new = new_file(info.name, b"n" * 3000, mode=0o755)
        (made,) = layers(write(source, tmp_path / f"{form}-made", edit_of(replacing(new)), compression="none"))
        found = members(made)[info.name]
        assert (found.size, found.mode, found.uid, found.gid, found.mtime, found.uname) == (3000, 0o755, 11, 22, info.mtime, "me")
        assert {key: found.pax_headers.get(key) for key in info.pax_headers} == info.pax_headers
        linked = replacing(new_file(info.name, link="../" + "t" * 120))
        if form != tarfile.USTAR_FORMAT:
            (made,) = layers(write(source, tmp_path / f"{form}-linked", edit_of(linked), compression="none"))
            found = members(made)[info.name]
            assert (found.issym(), found.linkname, found.size, found.uid) == (True, "../" + "t" * 120, 0, 11)


def test_files_with_holes(tmp_path: Path) -> None:
    place = tmp_path / "files"
    place.mkdir()
    for name in ("a-kept", "b-dropped", "c-replaced", "d-plain"):
        with (place / name).open("wb") as file:
            for number in range(7):
                file.seek(number * 100_000)
                file.write(name.encode() * 500)
            file.truncate(900_000)
    for name in ("b-dropped", "c-replaced"):
        os.link(place / name, place / f"z-{name}")
    for version in ("0.0", "0.1", "1.0", "gnu"):
        form = ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
        tar = tmp_path / f"{version}.tar"
        subprocess.run(["tar", "-C", place, "-S", "--sort=name", *form, "-cf", tar, "."], check=True)
        source = oci_layout(tmp_path / version, [tar.read_bytes()])
        edit = LayerEdit(drop=frozenset({"b-dropped"}), replace={name: new_file(name, b"new") for name in ("c-replaced", "d-plain")})
        made = write(source, tmp_path / f"{version}-made", edit_of(edit))
        before, after = contents(source), contents(made)
        assert after == {
            "a-kept": before["a-kept"],
            "c-replaced": (sha256(b"new"), 0o644, None),
            "d-plain": (sha256(b"new"), 0o644, None),
            "z-b-dropped": before["b-dropped"],
            "z-c-replaced": before["c-replaced"],
        }
        (data,) = layers(made)
        assert len(data) < 300_000  # the holes are still holes
        (tmp_path / "made.tar").write_bytes(data)
        out = tmp_path / f"{version}-out"
        out.mkdir()
        subprocess.run(["tar", "-C", out, "-xf", tmp_path / "made.tar"], check=True)
        assert {path.name: sha256(path.read_bytes()) for path in out.iterdir()} == {name: found[0] for name, found in after.items()}
        raw = tar.read_bytes()
        assert raw[raw.index(b"a-kept") :][:20_000] in data


@pytest.mark.parametrize("form", ["--format=gnu", "--format=pax"])
def test_holes_of_more_than_octal_numbers_can_say(tmp_path: Path, form: str) -> None:
    place, out = tmp_path / "files", tmp_path / "out"
    place.mkdir()
    out.mkdir()
    with (place / "big").open("wb") as file:
        file.seek(9 << 30)
        file.write(b"end")
    os.link(place / "big", place / "same")
    subprocess.run(["tar", "-C", place, "-S", "--sort=name", form, "-cf", tmp_path / "in.tar", "."], check=True)
    source = oci_layout(tmp_path / "image", [(tmp_path / "in.tar").read_bytes()])
    (data,) = layers(write(source, tmp_path / "made", edit_of(dropping("big"))))
    subprocess.run(["tar", "-C", out, "-xf", "-"], input=data, check=True)
    with (out / "same").open("rb") as file:
        file.seek(9 << 30)
        assert (file.read(), [path.name for path in out.iterdir()]) == (b"end", ["same"])


def test_the_same_bytes_however_it_is_made(tmp_path: Path) -> None:
    tars = [layer(*((f"f{number}", os.urandom(30_000) + bytes(400_000)) for number in range(8))), TOP]
    source = image(tmp_path / "image", "+gzip", tars)
    new = NewLayer(files=(new_file("m", os.urandom(3_000_000)),), created_by="x")
    edit = edit_of(dropping("f3"), dropping("nothing"), new=[new])
    for compression in ("gzip", "zstd"):
        written = [
            write(source, tmp_path / f"{compression}{workers}.tar", edit, workers=workers, compression=compression, level=3)
            for workers in (1, 2, 5)
        ]
        assert len({sha256(each.read_bytes()) for each in written}) == 1


SCRIPT = """
import os, sys
os.umask(0o77)
from pathlib import Path
from tests.bundles.imagewriting import *
write(Path(sys.argv[1]), Path(sys.argv[2]), edit_of(dropping("app/old.bin"), dropping("app/data"), None, labels={"b": "1", "a": "2"}))
"""


def test_the_same_bytes_for_any_umask_and_hash_seed(tmp_path: Path) -> None:
    source, other = image(tmp_path / "image"), tmp_path / "other.tar"
    edit = edit_of(dropping("app/old.bin"), dropping("app/data"), None, labels={"b": "1", "a": "2"})
    made = write(source, tmp_path / "made.tar", edit)
    subprocess.run([sys.executable, "-c", SCRIPT, source, other], check=True, env={**os.environ, "PYTHONHASHSEED": "5"})
    assert made.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", ["made", "made.tar", "made.tgz"])
def test_a_layer_that_changed_is_noticed_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    for kind, edit in enumerate([edit_of(None, None, None), edit_of(None, dropping("app/data"), None), edit_of(None, LayerEdit(), None)]):
        source = image(tmp_path / f"image{kind}", "")
        place = source / "blobs/sha256" / documents(source)[1]["layers"][1]["digest"][7:]
        place.write_bytes(place.read_bytes().replace(b"ddd", b"eee"))
        with pytest.raises(ArtifactError, match="should have the digest"):
            write(source, tmp_path / name, edit, recompress=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"image{number}" for number in range(kind + 1)]


def test_files_that_are_not_what_they_say_are_noticed(tmp_path: Path) -> None:
    source = image(tmp_path / "image")
    for content in (b"other", b"longer than it says"):
        wrong = new_file("app/data", b"right")
        object.__setattr__(wrong, "content", new_file("x", content).content)
        with pytest.raises(ArtifactError, match="app/data: its bytes changed"):
            write(source, tmp_path / "made", edit_of(None, replacing(wrong), None))
        with pytest.raises(ArtifactError, match="app/data: its bytes changed"):
            write(source, tmp_path / "made", edit_of(None, None, None, new=[NewLayer(files=(wrong,), created_by="x")]))
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_what_is_to_be_replaced_must_be_there(tmp_path: Path) -> None:
    source = image(tmp_path / "image")
    with pytest.raises(ArtifactError, match="layer 2 has no file 'app/gone', which was to be replaced"):
        write(source, tmp_path / "made", edit_of(None, replacing(new_file("app/gone")), None))
    with pytest.raises(ArtifactError, match="has 3 layers, not 1"):
        write(source, tmp_path / "made", edit_of(None))


@pytest.mark.parametrize(("compression", "level"), [("gzip", 10), ("zstd", 23), ("zstd", -1)])
def test_levels_that_there_are_none_of(tmp_path: Path, compression: str, level: int) -> None:
    with pytest.raises(ConfigurationError, match=f"level is {level}; {compression} has those from 1 to"):
        write(image(tmp_path / "image"), tmp_path / "made", edit_of(None, None, None), compression=compression, level=level)
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_what_else_an_index_holds_is_left_out_and_told(tmp_path: Path) -> None:
    root = tmp_path / "image"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    ours = put_image(root, LAYERS, platform={"os": "linux", "architecture": machine})
    other = put_image(root, [TOP], platform={"os": "linux", "architecture": "mips"})
    unknown = {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    attestation = put_image(root, [BASE], **unknown)
    inner = put_json(root, {"schemaVersion": 2, "manifests": [ours, other, attestation]}, f"{OCI}.index.v1+json")
    put_index(root, [inner])
    made = write(root, tmp_path / "made", edit_of(None, None, None))
    (entry,) = documents(made)[0]["manifests"]
    assert entry["platform"] == {"os": "linux", "architecture": machine}
    assert len(tree(made)) == 2 + 2 + 3
    with ThreadPoolExecutor(1) as pool:
        layout = FolderLayout(root, pool)
        assert left_out(layout, read_image(layout)) == ("linux/mips", "attestation-manifest")


def test_digests_of_another_algorithm_stay(tmp_path: Path) -> None:
    source = image(tmp_path / "image", "")
    index, manifest, _ = documents(source)
    digest = hashlib.sha512(BASE).hexdigest()
    (source / "blobs/sha512").mkdir()
    (source / "blobs/sha512" / digest).write_bytes(BASE)
    manifest["layers"][0]["digest"] = f"sha512:{digest}"
    index["manifests"][0] = put_json(source, manifest, f"{OCI}.manifest.v1+json")
    (source / "index.json").write_text(json.dumps(index))
    for name in ("made", "made.tar"):
        made = write(source, tmp_path / name, edit_of(None, dropping("app/data"), None))
        assert "app/new.py" in contents(made)
    assert documents(tmp_path / "made")[1]["layers"][0] == manifest["layers"][0]


def test_files_where_folders_were(tmp_path: Path) -> None:
    """A file takes the place of a folder, or a folder that of a file, in one layer: what counts in the end is written, and nothing else."""
    tar = layer(("a", b"1" * 600), ("a/", None), ("a/x", b"2"), ("d/x", b"3" * 600), hard_link("kept", "d/x"), ("d", b"4"), ("e", b"5"))
    source = oci_layout(tmp_path / "image", [tar])
    assert set(contents(source)) == {"a/x", "d", "e", "kept"}
    made = write(source, tmp_path / "made", edit_of(dropping("e")))
    assert contents(made) == {path: each for path, each in contents(source).items() if path != "e"}


def test_links_within_a_layer_lead_to_what_is_edited(tmp_path: Path) -> None:
    tar = layer(link("lib", "usr/lib"), ("lib/x", b"1" * 600), ("lib/y", b"2"), hard_link("z", "lib/x"))
    source = oci_layout(tmp_path / "image", [tar])
    edit = LayerEdit(drop=frozenset({"usr/lib/x"}), replace={"usr/lib/y": new_file("usr/lib/y", b"new")})
    made = write(source, tmp_path / "made", edit_of(edit))
    assert {path: each[0] for path, each in contents(made).items() if each[2] is None} == {
        "usr/lib/y": sha256(b"new"),
        "z": sha256(b"1" * 600),
    }


def test_hard_links_by_way_of_a_link_to_a_folder_go_on_leading_somewhere(tmp_path: Path) -> None:
    tar = layer(link("lib", "usr/lib"), ("usr/lib/x", b"1" * 600), hard_link("usr/lib/y", "usr/lib/x"), hard_link("z", "lib/y"))
    made = write(oci_layout(tmp_path / "image", [tar]), tmp_path / "made", edit_of(dropping("usr/lib/y")))
    assert members(layers(made)[0])["z"].linkname == "usr/lib/x"


def test_links_have_no_attributes_of_files(tmp_path: Path) -> None:
    """Linux refuses `user.` ones of links, and so does whatever unpacks an image with them."""
    info = tarfile.TarInfo("f")
    info.pax_headers = {"SCHILY.xattr.user.a": "1", "LIBARCHIVE.xattr.user.a": "MQ", "SCHILY.acl.access": "user::r--", "comment": "c"}
    source = oci_layout(tmp_path / "image", [layer(("f", info), ("g", b"1"))])
    new = NewLayer(files=(new_file("f", link="g"),), created_by="x")
    for made in (
        write(source, tmp_path / "replaced", edit_of(replacing(new_file("f", link="g")))),
        write(source, tmp_path / "new", edit_of(dropping("f"), new=[new])),
    ):
        (found,) = [each for data in layers(made) for name, each in members(data).items() if name == "f"]
        assert (found.linkname, set(found.pax_headers) - {"comment"}) == ("g", set())


@pytest.mark.parametrize("path", ["../up", "/top", "a//b", "a/.wh.b", ".wh..wh.plnk/x"])
def test_names_that_no_file_has(tmp_path: Path, path: str) -> None:
    with pytest.raises(ArtifactError, match="is no name"):
        write(
            image(tmp_path / "image"), tmp_path / "made", edit_of(None, None, None, new=[NewLayer(files=(new_file(path),), created_by="x")])
        )


@pytest.mark.parametrize("name", ["made", "made.tar"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, name: str) -> None:
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs to mount a file system")
    source = image(tmp_path / "image", "", [layer(*((f"f{number}", os.urandom(400_000)) for number in range(8)))])
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a file system")
    try:
        with pytest.raises(StorageError, match="disk full while writing"):
            write(
                source, disk / name, edit_of(dropping("f0"), new=[NewLayer(files=(new_file("n", os.urandom(3_000_000)),), created_by="x")])
            )
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
