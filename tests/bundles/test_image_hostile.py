"""Images that are damaged or hostile: each ends in one line, and costs no more than reading it."""

from __future__ import annotations

import json
import os
import random
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.images.layer import MOST_MEMBERS, Allowance
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.cli import main
from hatch_mlbundle.errors import ArtifactError, MlbundleError
from tests.imagesmith import (
    OCI,
    Json,
    as_tar,
    config_of,
    docker_archive,
    gzipped,
    hard_link,
    layer,
    link,
    oci_layout,
    put,
    put_index,
    put_json,
    zstd,
)

PLAIN = layer(("a", b"1" * 1000), ("b", b"2"))


def scan(path: Path, limits: Limits) -> None:
    with ThreadPoolExecutor(2) as pool:
        image = open_image(path, pool, limits)
        assert image is not None
        image.scan()


def refused(path: Path, limits: Limits | None = None) -> str:
    """Return the one line that an image is refused with."""
    with pytest.raises(MlbundleError) as caught:
        scan(path, limits or Limits())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 1000
    assert message.startswith(str(path))
    return message


def header(name: bytes, kind: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """Return a header whose fields may be anything; its checksum is right."""
    info = tarfile.TarInfo("x")
    info.size = size
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[:100] = name[:100].ljust(100, b"\0")
    block[156:157] = kind
    places = {"size": 124, "mode": 100, "magic": 257, "sparse": 386, "more": 482, "real": 483, "checksum": 148, "link": 157}
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    if "checksum" not in fields:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", kind, len(records)) + records.ljust(-(-len(records) // 512) * 512, b"\0")


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", kind, len(name)) + name.ljust(-(-len(name) // 512) * 512, b"\0")


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += next(digits for digits in range(1, 9) if len(str(length + digits)) == digits)
    return b"%d %s=%s\n" % (length, key, value)


def many_links() -> bytes:
    """Return a layer in which each file lies behind links that take 50,000 steps."""
    links = [link(f"l{number}", (f"l{number - 1}/" if number else "d/") + "../d/" * 800) for number in range(38)]
    return layer(("d/" * 1000, None), *links, *((f"l37/{number}", b"") for number in range(1500)))


SPARSE_1 = pax(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"9") + record(b"GNU.sparse.name", b"x"))
PIECES = pax((record(b"GNU.sparse.offset", b"0") + record(b"GNU.sparse.numbytes", b"0")) * 18_000)

TARS: dict[str, tuple[bytes, str]] = {
    "up": (layer(("../a", b"1")), "has a member '../a' that leads out of its folder by '..'"),
    "up within": (layer(("a/../../b", b"1")), "by '..'"),
    "hard link up": (layer(hard_link("a", "../../etc/passwd")), "by '..'"),
    "hard link to nothing": (layer(hard_link("a", "b")), "has a member 'a' that is a hard link to 'b', which is no file"),
    "hard link to itself": (layer(hard_link("a", "a")), "which is no file"),
    "hard link to a folder": (layer(("d/", None), hard_link("a", "d")), "that is a hard link to a folder"),
    "long link": (layer(link("a", "b/" * 3000)), "has a member 'a' that is a link to more than 4,096 characters"),
    "links around": (layer(link("a", "b"), link("b", "a"), ("a/x", b"1")), "behind links that lead around"),
    "link to itself": (layer(link("a", "a/a"), ("a/x", b"1")), "behind links that lead around"),
    "below a file": (layer(("a", b"1"), ("a/b", b"2")), "has a member 'a/b' below what is no folder"),
    "no name": (layer(("./", b"1")), "that is a file without a name"),
    "whiteout of all": (layer((".wh...", b"")), "that hides nothing there can be"),
    "whiteout of nothing": (layer((".wh.", b"")), "that hides nothing there can be"),
    "line break": (layer(("../new\nline", b"1")), r"'../new\nline'"),
    "bidi": (layer(("../\u202e", b"1")), r"'../\u202e'"),
    "surrogate": (layer(("../\udcff", b"1")), r"'../\udcff'"),
    "long name": (layer(("x" * 5000, b"1")), "of more than 4,096 characters"),
    "deep by links": (
        layer(("d/" * 2000, None), link("l", "d/" * 2000), ("l/" + "e/" * 1000, None)),
        "of more than 4,096 characters, its links followed",
    ),
    "many long links": (many_links(), "behind too many long names and links"),
    "many folders": (layer(*((f"{number}/{'a/' * 2000}", None) for number in range(520))), "behind too many long names and links"),
    "unknown type": (header(b"a", b"Z"), "the unknown type b'Z'"),
    "checksum": (header(b"a", checksum=b"0000000\0"), "a tar header with a wrong checksum"),
    "no number": (header(b"a", size=0)[:124] + b"+7_0\0" + header(b"a")[129:], "a tar header with"),
    "letters": (header(b"a", mode=b"0o777\0"), "a number that is none"),
    "digit nine": (header(b"a", mode=b"000999\0"), "a number that is none"),
    "negative": (header(b"a", mode=b"\xff" * 8), "a negative number"),
    "enormous": (header(b"a", b"7", size=1 << 60), "ends too early"),
    "cut header": (PLAIN[:1536] + b"x", "ends too early"),
    "cut data": (PLAIN[:900], "a member that ends too early"),
    "no tar": (b"hello" * 1000, "a tar header with"),
    "long pax": (header(b"pax", b"x", 1 << 21), "a tar header of 2,097,152 bytes"),
    "enormous pax": (header(b"pax", b"x", 1 << 50), "a tar header of"),
    "enormous GNU name": (header(b"././@LongLink", b"L", 1 << 40), "a tar header of"),
    "pax without length": (pax(b"path=x\n"), "a number in a pax header that is none"),
    "pax that goes on without a length": (pax(b"10 path=x\n" + b"y" * 30), "a number in a pax header that is none"),
    "pax with length 0": (pax(b"0 path=x\n"), "a pax header that is none"),
    "pax that is longer": (pax(b"99 path=x\n"), "a pax header that is none"),
    "pax with a huge length": (pax(b"9" * 5000 + b" path=x\n"), "a pax header that is none"),
    "pax size": (pax(b"11 size=-5\n") + header(b"a"), "a number in a pax header that is none"),
    "pax size of letters": (pax(b"13 size=0x10\n") + header(b"a"), "a number in a pax header that is none"),
    "pax size too large": (pax(b"29 size=99999999999999999999\n") + header(b"a"), "a number in a pax header that is none"),
    "pax path up": (pax(b"13 path=../b\n") + header(b"a"), "by '..'"),
    "GNU path up": (long_name(b"../" * 50) + header(b"a"), "by '..'"),
    "sparse bomb": (header(b"a", b"S", real=b"777777777777"), "in `[tool.mlbundle] limits`"),
    "sparse backwards": (
        header(b"a", b"S", 2, sparse=b"00000000010\000000000001\000000000000\000000000001\0", real=b"00000000020\0"),
        "map does not fit",
    ),
    "sparse beyond": (header(b"a", b"S", 5, sparse=b"00000000010\000000000005\0", real=b"00000000004\0"), "map does not fit"),
    "sparse without end": (header(b"a", b"S", more=b"\1"), "ends too early"),
    "sparse 1.0 without a map": (pax(b"22 GNU.sparse.major=1\n26 GNU.sparse.realsize=10\n") + header(b"a", size=0), "whose map has no end"),
    "sparse 1.0 of one long line": (SPARSE_1 + header(b"a", size=20_480_000) + b"1" * 20_480_000, "whose map has no end"),
    "pieces without end": (PIECES * 5 + header(b"a"), "a file of more than 65,536 pieces"),
    "sparse 0.1 of letters": (pax(b"21 GNU.sparse.size=9\n22 GNU.sparse.map=a,b\n") + header(b"a"), "a number in a pax header"),
}


def test_large_maps_and_headers_for_all_members_cost_no_more_than_reading_them(tmp_path: Path) -> None:
    """Each of these took minutes where it was read anew for each block or member."""
    lines = b"65535\n" + b"".join(b"%019d\n%019d\n" % (number, 0) for number in range(65_535))
    lines += bytes(-len(lines) % 512)
    sparse = pax(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.realsize", b"65536") + record(b"GNU.sparse.name", b"x"))
    spread = pax(record(b"GNU.sparse.size", b"0") + record(b"GNU.sparse.map", b"0,0," * 60_000 + b"0,0"), b"g")
    members = [sparse + header(b"a", size=len(lines)) + lines] * 5 + [spread, *(header(b"%d" % number) for number in range(3000))]
    start = time.process_time()
    scan(oci_layout(tmp_path / "image", [b"".join(members)], ""), Limits())
    assert time.process_time() - start < 15


def test_a_path_is_no_longer_than_any_however_many_links_lead_to_it(tmp_path: Path) -> None:
    steps = [("a" * 3000 + "/", None), link("l0", "a" * 3000), (f"l0/{'b' * 2000}/", None)]
    assert "of more than 4,096 characters, its links followed" in refused(oci_layout(tmp_path, [layer(*steps)]))


def test_lists_of_packages_files_are_kept_within_a_bound(tmp_path: Path) -> None:
    listing = layer(*((f"{number}/a-1.dist-info/RECORD", b"a" * (1 << 24)) for number in range(9)))
    assert "brings the lists of packages' files to more than 134 MB" in refused(oci_layout(tmp_path, [listing], ""))


def test_a_compressed_file_is_not_read_again_and_again(tmp_path: Path) -> None:
    small, large = layer(("a", b"1")), layer(("b", os.urandom(9_000_000)))
    config = json.dumps(config_of([small] * 500 + [large] * 6)).encode()
    manifest = json.dumps([{"Config": "c.json", "Layers": ["small"] * 500 + ["large"] * 6}]).encode()
    members = layer(("c.json", config), ("small", small), ("large", large), ("manifest.json", manifest))
    (tmp_path / "app.tar.gz").write_bytes(gzipped(members))
    assert "has a large layer more than 4 times" in refused(tmp_path / "app.tar.gz")
    config = json.dumps(config_of([small] * 500)).encode()
    manifest = json.dumps([{"Config": "c.json", "Layers": ["small"] * 500}]).encode()
    (tmp_path / "app.tar.gz").write_bytes(gzipped(layer(("c.json", config), ("small", small), ("manifest.json", manifest))))
    scan(tmp_path / "app.tar.gz", Limits())


@pytest.mark.parametrize("pack", [bytes, gzipped])
def test_an_archive_with_a_file_twice_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "app.tar").write_bytes(pack(layer(("manifest.json", b"[]"), ("x", b"1"), ("./x", b"2"))))
    assert "has 'x' twice" in refused(tmp_path / "app.tar")


@pytest.mark.parametrize("name", TARS)
def test_a_layer_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    data, hint = TARS[name]
    message = refused(oci_layout(tmp_path / "image", [data]))
    assert hint in message
    assert ": layer 1 " in message


def put_layer(root: Path, stored: bytes, plain: bytes = PLAIN, kind: str = f"{OCI}.layer.v1.tar+gzip", **changes: object) -> Path:
    """Write an image of one layer that is stored as these bytes; `changes` are laid over its descriptor."""
    packed = put(root, stored, kind) | changes
    configured = put_json(root, config_of([plain]), f"{OCI}.config.v1+json")
    return put_index(root, [put_json(root, {"schemaVersion": 2, "config": configured, "layers": [packed]}, f"{OCI}.manifest.v1+json")])


BOMB = bytes(101_000_000)
STORED: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip cut": (lambda: gzipped(PLAIN)[:-12], "has gzip data that end too early"),
    "gzip header cut": (lambda: gzipped(PLAIN)[:5], "has gzip data that end too early"),
    "gzip checksum": (lambda: gzipped(PLAIN)[:-8] + bytes(8), "has gzip data that cannot be unpacked"),
    "gzip rubbish": (lambda: gzipped(PLAIN)[:30] + os.urandom(300), "has gzip data that"),
    "gzip and more": (lambda: gzipped(PLAIN) + b"more", "has gzip data that cannot be unpacked"),
    "zstd cut": (lambda: zstd(PLAIN)[:-3], "has zstd data that end too early"),
    "zstd rubbish": (lambda: zstd(PLAIN)[:10] + os.urandom(300), "has zstd data that cannot be unpacked"),
    "gzip bomb": (lambda: gzipped(header(b"a", size=len(BOMB)) + BOMB), "as a bomb does; raise `max-ratio`"),
    "gzip bomb behind the end": (lambda: gzipped(layer() + BOMB), "as a bomb does; raise `max-ratio`"),
    "zstd bomb": (lambda: zstd(header(b"a", size=len(BOMB)) + BOMB), "as a bomb does; raise `max-ratio`"),
}


@pytest.mark.parametrize("name", STORED)
def test_stored_bytes_that_cannot_be_unpacked_are_one_line(tmp_path: Path, name: str) -> None:
    make, hint = STORED[name]
    assert hint in refused(put_layer(tmp_path / "image", make()))


def test_layers_may_not_unpack_to_more_than_the_limit_together(tmp_path: Path) -> None:
    layers = [layer((f"{number}", os.urandom(60_000))) for number in range(4)]
    path = oci_layout(tmp_path / "image", layers)
    assert "unpacks to more than the limit of 200 kB; raise `max-size`" in refused(path, Limits(max_size=200_000))


def test_members_are_counted_over_all_layers() -> None:
    allowance = Allowance(Limits())
    assert allowance.take(0, MOST_MEMBERS) is None
    assert allowance.take(0, 1) == f"has more than {MOST_MEMBERS:,} members in its layers"


def document(root: Path) -> tuple[Json, Json]:
    """Return the manifest and the configuration of an image of one layer, its blobs written."""
    packed = put(root, gzipped(PLAIN), f"{OCI}.layer.v1.tar+gzip")
    config = config_of([PLAIN])
    return {"schemaVersion": 2, "config": put_json(root, config, f"{OCI}.config.v1+json"), "layers": [packed]}, config


def put_manifest(root: Path, manifest: object, **changes: object) -> Path:
    return put_index(root, [put_json(root, manifest, f"{OCI}.manifest.v1+json") | changes])


Change = Callable[[Path, Json], object]
MANIFESTS: dict[str, tuple[Change, str]] = {
    "no config": (lambda root, m: m.pop("config"), "is no container image"),
    "config of a chart": (
        lambda root, m: m["config"].update(mediaType="application/vnd.cncf.helm\n"),
        r"media type 'application/vnd.cncf.helm\n'",
    ),
    "config is a list": (lambda root, m: m.update(config=[]), "has its manifest whose config is not an object"),
    "layers are an object": (lambda root, m: m.update(layers={}), "has its manifest whose layers is not a list"),
    "layer is a string": (lambda root, m: m.update(layers=["x"]), "with something that is not an object"),
    "unknown layer": (lambda root, m: m["layers"][0].update(mediaType="application/x-model"), "of the media type 'application/x-model'"),
    "encrypted layer": (
        lambda root, m: m["layers"][0].update(mediaType=f"{OCI}.layer.v1.tar+gzip+encrypted"),
        "which no container image has",
    ),
    "digest upwards": (
        lambda root, m: m["layers"][0].update(digest="sha256:../../../etc/passwd"),
        "'sha256:../../../etc/passwd' where a digest",
    ),
    "digest in capitals": (lambda root, m: m["layers"][0].update(digest="sha256:" + "A" * 64), "where a digest"),
    "digest with a line break": (lambda root, m: m["layers"][0].update(digest="sha256:" + "a" * 64 + "\n"), "where a digest"),
    "digest of md5": (lambda root, m: m["layers"][0].update(digest="md5:" + "a" * 32), "where a digest"),
    "digest is a number": (lambda root, m: m["layers"][0].update(digest=5), "whose digest is not a string"),
    "missing layer": (lambda root, m: m["layers"][0].update(digest="sha256:" + "a" * 64), "lacks 'blobs/sha256/aaaa"),
    "other size": (lambda root, m: m["layers"][0].update(size=3), " bytes, not the 3 it names"),
    "size is a string": (lambda root, m: m["layers"][0].update(size="3"), "whose size is not a number"),
    "size is true": (lambda root, m: m["layers"][0].update(size=True), "whose size is not a number"),
    "more layers": (lambda root, m: m.update(layers=m["layers"] * 2), "has 2 layers, but a configuration for 1"),
    "config is no JSON": (
        lambda root, m: m.update(config=put(root, b"{", f"{OCI}.config.v1+json")),
        "has its configuration that is no JSON",
    ),
    "config is deep": (
        lambda root, m: m.update(config=put(root, b"[" * 100_000, f"{OCI}.config.v1+json")),
        "has its configuration that is no JSON",
    ),
    "config is large": (
        lambda root, m: m.update(config=put(root, b" " * (1 << 24), f"{OCI}.config.v1+json")),
        "more than any JSON of an image",
    ),
    "config is a string": (
        lambda root, m: m.update(config=put_json(root, "x", f"{OCI}.config.v1+json")),
        "has its configuration that is no JSON object",
    ),
    "Windows": (
        lambda root, m: m.update(config=put_json(root, config_of([PLAIN], os="windows"), f"{OCI}.config.v1+json")),
        "is an image for Windows",
    ),
    "diff_id": (
        lambda root, m: m.update(config=put_json(root, config_of([]) | {"rootfs": {"diff_ids": [["x"]]}}, f"{OCI}.config.v1+json")),
        "where a digest",
    ),
    "history": (
        lambda root, m: m.update(config=put_json(root, config_of([PLAIN], history=[{"created_by": 5}]), f"{OCI}.config.v1+json")),
        "whose created_by is not a string",
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_cannot_be_believed_is_one_line(tmp_path: Path, name: str) -> None:
    change, hint = MANIFESTS[name]
    root = tmp_path / "image"
    manifest, _ = document(root)
    change(root, manifest)
    path = put_manifest(root, manifest)
    assert hint in refused(path)
    assert hint in refused(as_tar(path, tmp_path / "image.tar"))


def test_a_manifest_that_is_no_object(tmp_path: Path) -> None:
    assert "has its manifest that is no JSON object" in refused(put_manifest(tmp_path, ["x"]))


INDEXES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "has index.json that is no JSON"),
    "a list": (b"[]", "has index.json that is no JSON object"),
    "no manifests": (b"{}", "holds no image: its index names none"),
    "manifests of another sort": (b'{"manifests": [{"mediaType": "x/y"}]}', "holds no image"),
    "a number": (b'{"manifests": 5}', "whose manifests is not a list"),
    "not UTF-8": (b"\xff\xfe\xff", "has index.json that is no JSON"),
    "huge number": (b'{"manifests": ' + b"9" * 10_000 + b"}", "has index.json that is no JSON"),
    "large": (b" " * (1 << 24), "more than any JSON of an image"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_cannot_be_believed_is_one_line(tmp_path: Path, name: str) -> None:
    data, hint = INDEXES[name]
    path = put_index(tmp_path / "image", [])
    (path / "index.json").write_bytes(data)
    assert hint in refused(path)
    assert hint in refused(as_tar(path, tmp_path / "image.tar"))


def test_indexes_in_indexes_end(tmp_path: Path) -> None:
    inner: Json = {"schemaVersion": 2, "manifests": []}
    for _ in range(10):
        inner = {"schemaVersion": 2, "manifests": [put_json(tmp_path, inner, f"{OCI}.index.v1+json")]}
    assert "has an index within an index, deeper than any image" in refused(put_index(tmp_path, inner["manifests"]))


def test_an_index_that_names_itself_has_the_wrong_digest(tmp_path: Path) -> None:
    itself = put_json(tmp_path, {}, f"{OCI}.index.v1+json")
    blob = tmp_path / "blobs/sha256" / itself["digest"].removeprefix("sha256:")
    blob.write_text(json.dumps({"manifests": [itself]}))
    assert "it is damaged: save or copy it again" in refused(put_index(tmp_path, [itself]))


def test_too_many_images(tmp_path: Path) -> None:
    manifests = [{"mediaType": f"{OCI}.manifest.v1+json", "digest": f"sha256:{number:064x}", "size": 1} for number in range(2000)]
    assert "has more than 1,000 images" in refused(put_index(tmp_path, manifests))


@pytest.mark.parametrize("what", ["layers", "config"])
def test_a_blob_with_other_bytes_is_noticed(tmp_path: Path, what: str) -> None:
    root = tmp_path / "image"
    manifest, _ = document(root)
    path = put_manifest(root, manifest)
    if what == "layers":
        other = gzipped(layer(("a", b"1" * 1000), ("b", b"3")))
        named = manifest["layers"][0]
        assert len(other) == named["size"]
    else:
        other, named = json.dumps(config_of([PLAIN], author="x")).encode(), manifest["config"]
    (root / "blobs/sha256" / named["digest"].removeprefix("sha256:")).write_bytes(other)
    assert "digest" in (message := refused(path))
    assert "damaged" in message
    assert message.replace("image.tar", "image") == refused(as_tar(path, tmp_path / "image.tar")).replace("image.tar", "image")


@pytest.mark.parametrize("place", ["blobs", "blobs/sha256", "layer", "index.json"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, place: str) -> None:
    root = tmp_path / "image"
    manifest, _ = document(root)
    path = put_manifest(root, manifest)
    digits = manifest["layers"][0]["digest"].removeprefix("sha256:")
    real = root / (f"blobs/sha256/{digits}" if place == "layer" else place)
    moved = tmp_path / "outside"
    real.rename(moved)
    real.symlink_to(moved)
    assert "where a file or folder belongs" in refused(path)


def test_what_is_no_file_in_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "image"
    manifest, _ = document(root)
    path = put_manifest(root, manifest)
    blob = root / "blobs/sha256" / manifest["layers"][0]["digest"].removeprefix("sha256:")
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(ArtifactError, match="is not a file"):
        scan(path, Limits())


DOCKER: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "has manifest.json that is no JSON"),
    "nothing": (b"[]", "holds 0 images"),
    "a string": (b'["x"]', "with something that is not an object"),
    "two": (
        json.dumps([{"Config": "a", "RepoTags": ["one:1"]}, {"Config": "b", "RepoTags": ["two\n:2"]}]).encode(),
        r"holds 2 images ('one:1, two\n:2')",
    ),
    "no config": (b"[{}]", "lacks ''"),
    "config up": (b'[{"Config": "../../etc/passwd"}]', "lacks '../../etc/passwd'"),
    "layers of numbers": (b'[{"Config": "c.json", "Layers": [1]}]', "whose Layers are not strings"),
    "layer up": (b'[{"Config": "c.json", "Layers": ["../../etc/passwd"]}]', "lacks '../../etc/passwd'"),
    "absolute layer": (b'[{"Config": "c.json", "Layers": ["/etc/passwd"]}]', "lacks '/etc/passwd'"),
    "link to nothing": (b'[{"Config": "c.json", "Layers": ["link"]}]', "lacks 'link'"),
    "links around": (b'[{"Config": "c.json", "Layers": ["around"]}]', "lacks 'around'"),
}


@pytest.mark.parametrize("name", DOCKER)
@pytest.mark.parametrize("pack", [bytes, gzipped])
def test_a_docker_archive_that_cannot_be_believed_is_one_line(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    data, hint = DOCKER[name]
    members = [
        ("manifest.json", data),
        ("c.json", json.dumps(config_of([b""])).encode()),
        link("link", "/etc/passwd"),
        link("around", "around"),
    ]
    (tmp_path / "app.tar").write_bytes(pack(layer(*members)))
    assert hint in refused(tmp_path / "app.tar")


def test_a_docker_layer_with_other_bytes_is_noticed(tmp_path: Path) -> None:
    config = config_of([layer(("other", b"1"))])
    assert "layer 1 should have the digest sha256:" in refused(docker_archive(tmp_path / "app.tar", [PLAIN], config=config))


def test_an_archive_that_ends_in_the_midst_of_it(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "app.tar", [layer(("a", os.urandom(50_000)))])
    whole = path.read_bytes()
    for pack, hints in ((bytes, ["a member that ends too early", "neither index.json"]), (gzipped, ["gzip data that end too early"])):
        packed = pack(whole)
        for length in (len(packed) // 3, len(packed) // 2):
            path.write_bytes(packed[:length])
            assert any(hint in refused(path) for hint in hints), (pack, length)


def test_a_bomb_that_is_compressed_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "app.tar.gz").write_bytes(gzipped(header(b"a", size=len(BOMB)) + BOMB))
    assert "unpacks to more than `limits` in `[tool.mlbundle]` allow" in refused(tmp_path / "app.tar.gz")


@pytest.mark.parametrize("pack", [bytes, gzipped, zstd])
def test_a_tar_file_of_anything_else_is_one_line(
    tmp_path: Path, pack: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.tar").write_bytes(pack(PLAIN))
    assert "is a tar file, but no container image: it has neither index.json nor manifest.json" in refused(tmp_path / "x.tar")
    assert main(["analyze", str(tmp_path / "x.tar"), "--project", str(tmp_path), "--no-cache"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("data", [b"", b"x", bytes(512), b"\x1f\x8b", gzipped(b"text"), zstd(b"text"), os.urandom(3000)])
def test_what_is_no_tar_file_is_no_image(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes(data)
    assert main(["analyze", str(tmp_path / "x"), "--project", str(tmp_path), "--no-cache"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_damage_anywhere_is_one_line_or_harmless(tmp_path: Path) -> None:
    """Change single bytes of layers and documents everywhere: nothing but an ArtifactError may come of it."""
    chance = random.Random(0)
    plain = layer(("a/x", b"1" * 700), link("l", "a"), hard_link("h", "a/x"), ("n" * 150, b"2"), ("a/.wh.y", b""))
    whole = docker_archive(tmp_path / "app.tar", [plain, PLAIN], old=True).read_bytes()
    told: list[str] = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(whole))] = chance.randrange(256)
        (tmp_path / "app.tar").write_bytes(damaged)
        try:
            with ThreadPoolExecutor(1) as pool:
                image = open_image(tmp_path / "app.tar", pool, Limits())
                if image:
                    image.scan()
        except ArtifactError as error:
            told.append(str(error))
    assert len(told) > 75
    assert all(len(each.splitlines()) == 1 for each in told)
