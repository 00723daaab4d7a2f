from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.images.extent import Extent
from hatch_mlbundle.bundles.images.layer_files import layer_contents
from hatch_mlbundle.bundles.images.tree import Stored
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Content, Kind
from tests.imagesmith import as_tar, docker_archive, gzipped, hard_link, layer, oci_layout, sha256

BIG = os.urandom(300_000)
LAYERS = [
    layer(("a", b"a" * 700), ("b", b"b" * 700), ("big", BIG), hard_link("c", "big"), ("empty", b"")),
    layer(("a", b"A" * 700), ("z" * 200, b"z" * 1234)),
]
FILES = [(1, b"b" * 700), (1, BIG), (1, b""), (2, b"A" * 700), (2, b"z" * 1234)]


def stored(layer_number: int, data: bytes) -> Stored:
    return Stored(layer=layer_number, size=len(data), compressed=0, sha256=sha256(data), kind=Kind.OTHER)


def found(path: Path, wanted: list[Stored], scratch: Path) -> Mapping[int, Content]:
    with ThreadPoolExecutor(2) as pool:
        image = open_image(path, pool, Limits())
        assert image is not None
        return layer_contents(image.layout, {id(each): each for each in wanted}, scratch)


@pytest.mark.parametrize("form", ["+gzip", "+zstd", "", "tar", "tar+gzip", "docker", "docker.gz"])
def test_files_are_found_wherever_they_lie(tmp_path: Path, form: str) -> None:
    if form.startswith("docker"):
        image = docker_archive(tmp_path / "image.tar", LAYERS)
        image.write_bytes(gzipped(image.read_bytes()) if form.endswith("gz") else image.read_bytes())
    else:
        image = oci_layout(tmp_path / "image", LAYERS, form.removeprefix("tar"))
        image = as_tar(image, tmp_path / "image.tar") if form.startswith("tar") else image
    wanted = [stored(number, data) for number, data in FILES]
    contents = found(image, wanted, tmp_path / "scratch")
    assert [b"".join(contents[id(each)].chunks()) for each in wanted] == [data for _, data in FILES]
    assert all(contents[id(each)].local_path() is None for each in wanted)
    in_place = form in ("", "tar", "docker")
    unpacked = sum(path.stat().st_size for path in (tmp_path / "scratch").iterdir())
    assert unpacked == (0 if in_place else sum(len(data) for _, data in FILES))
    if in_place:
        places = {content.path for content in contents.values() if isinstance(content, Extent)}
        assert all(path.is_relative_to(image) for path in places)


def test_files_with_holes_are_unpacked(tmp_path: Path) -> None:
    place = tmp_path / "holes"
    with place.open("wb") as file:
        file.seek(900_000)
        file.write(b"end")
    subprocess.run(["tar", "-C", tmp_path, "-S", "-cf", tmp_path / "layer.tar", "holes"], check=True)
    image = oci_layout(tmp_path / "image", [(tmp_path / "layer.tar").read_bytes()], "")
    wanted = stored(1, place.read_bytes())
    assert b"".join(found(image, [wanted], tmp_path / "scratch")[id(wanted)].chunks()) == place.read_bytes()


def test_what_is_no_longer_there_is_noticed(tmp_path: Path) -> None:
    image = oci_layout(tmp_path / "image", LAYERS)
    for number, wanted in enumerate([stored(1, b"x" * 700), stored(7, b"b" * 700)]):
        with pytest.raises(ArtifactError, match="no longer has a file that was in it"):
            found(image, [wanted], tmp_path / f"{number}")
    (place,) = [each for each in (image / "blobs/sha256").iterdir() if each.read_bytes() == gzipped(LAYERS[0])]
    data = bytearray(place.read_bytes())
    data[4] ^= 1  # the time in the header of gzip
    place.write_bytes(data)
    with pytest.raises(ArtifactError, match="layer 1 should have the digest"):
        found(image, [stored(1, BIG)], tmp_path / "damaged")
