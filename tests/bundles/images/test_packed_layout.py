"""Images that are compressed as a whole: large layers are read before anything says which they are."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from hatch_mlbundle.errors import ArtifactError
from tests.bundles.test_image import scan
from tests.imagesmith import Member, as_tar, config_of, docker_archive, layer, link, oci_layout

LARGE = 9_000_000
"""Bytes: smaller parts are kept, as documents are, and read when it is known what they are."""


def large_layer(*members: Member) -> bytes:
    return layer(("opt/large", os.urandom(LARGE)), *members)


def compressed(path: Path) -> Path:
    """Compress a file as a whole, quickly."""
    target = path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, gzip.open(target, "wb", 1) as sink:
        shutil.copyfileobj(source, sink)
    return target


@pytest.mark.parametrize("old", [True, False])
def test_what_is_told_does_not_depend_on_it(tmp_path: Path, old: bool) -> None:
    base = large_layer(("etc/a", b"1"), ("etc/b", b"2"))
    layers = [base, layer(("etc/.wh.a", b""), ("c", b"3")), large_layer(("etc/b", b"4")), base]
    plain = docker_archive(tmp_path / "app.tar", layers, old=old)
    expected, found = scan(plain), scan(compressed(plain))
    for each in ("layers", "account", "components", "findings"):
        assert getattr(found, each) == getattr(expected, each)
    assert [(path, file.sha256, file.owner) for path, file in found.bundle.items()] == [
        (path, file.sha256, file.owner) for path, file in expected.bundle.items()
    ]


def test_layers_of_an_index_that_comes_last(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "image", [large_layer(("a", b"1")), large_layer(("a", b"2"))])
    found = scan(compressed(as_tar(folder, tmp_path / "app.tar")))
    assert found.layers == scan(folder).layers
    assert [row.hidden_installed for row in found.layers] == [LARGE + 1, 0]


def test_what_is_no_layer_is_passed_over(tmp_path: Path) -> None:
    folder = oci_layout(tmp_path / "image", [large_layer(("a", b"1"))])
    (folder / "blobs/sha256" / ("0" * 64)).write_bytes(os.urandom(LARGE))
    assert sorted(scan(compressed(as_tar(folder, tmp_path / "app.tar"))).bundle) == ["a", "opt/large"]


REFUSED: dict[str, tuple[Member, str]] = {
    "a way out": (("../x", b"1"), r"layer 2 has a member '../x' that leads out of its folder by '\.\.'"),
    "no target": (link("x", "y", b"1"), r"layer 2 has a member 'x' that is a hard link to 'y', which is no file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_cannot_be_read_is_told_by_its_number(tmp_path: Path, name: str) -> None:
    member, problem = REFUSED[name]
    archive = docker_archive(tmp_path / "app.tar", [layer(("a", b"1")), large_layer(member)])
    with pytest.raises(ArtifactError, match=problem):
        scan(compressed(archive))


def test_a_layer_with_other_bytes_is_told_by_its_number(tmp_path: Path) -> None:
    layers = [large_layer(), large_layer()]
    archive = docker_archive(tmp_path / "app.tar", layers, config=config_of([layers[0], layer(("other", b"1"))]))
    with pytest.raises(ArtifactError, match="layer 2 should have the digest"):
        scan(compressed(archive))


def test_a_file_without_an_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data.tar").write_bytes(large_layer())
    with pytest.raises(ArtifactError, match=r"is a tar file, but no container image: it has neither index\.json nor manifest\.json"):
        scan(compressed(tmp_path / "data.tar"))
