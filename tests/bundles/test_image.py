from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.cli import main
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Kind
from tests.bundles.test_frozen import job_for
from tests.imagesmith import (
    OCI,
    PACKINGS,
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
    put_image,
    put_index,
    put_json,
    sha256,
    zstd,
)

BASE = layer(("etc/", None), ("etc/passwd", b"root\n"), ("app/old.bin", os.urandom(5000)), ("bin/sh", b"\x7fELF" + os.urandom(3000)))
ABOVE = layer(("etc/passwd", b"root and others\n"), ("app/.wh.old.bin", b""), ("app/new.py", b"x = 1\n" * 500))
FILES = {"etc/passwd": b"root and others\n", "app/new.py": b"x = 1\n" * 500}


def scan(path: Path, limits: Limits | None = None) -> Side:
    with ThreadPoolExecutor(2) as pool:
        image = open_image(path, pool, limits or Limits())
        assert image is not None
        return image.scan()


def seen(root: Path, *layers: bytes) -> dict[str, int | str]:
    """Return what a container of these layers sees: sizes of files, and targets of links."""
    side = scan(oci_layout(root, layers, ""))
    assert sum((side.account.compressed or {}).values()) + side.account.structure == side.account.size
    return {path: file.size if file.link is None else file.link for path, file in side.bundle.items()}


FORMS = {
    "folder": lambda root, packing: oci_layout(root / "image", [BASE, ABOVE], packing),
    "tar": lambda root, packing: as_tar(oci_layout(root / "image", [BASE, ABOVE], packing), root / "image.tar"),
}


def check_files(side: Side) -> None:
    assert sorted(side.bundle) == ["app/new.py", "bin/sh", "etc/passwd"]
    for path, data in FILES.items():
        file = side.bundle[path]
        assert (file.size, file.sha256, file.owner) == (len(data), sha256(data), path.partition("/")[0])
    assert side.bundle["bin/sh"].kind is Kind.ELF
    account = side.account
    assert account.compressed is not None
    assert sum(account.compressed.values()) + account.structure == account.size
    assert [row.installed for row in side.layers] == [3004, 3016]
    assert [row.hidden_installed for row in side.layers] == [5005, 0]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_and_packing_tells_the_same_files(tmp_path: Path, form: str, packing: str) -> None:
    side = scan(FORMS[form](tmp_path, packing))
    check_files(side)
    blobs = list((tmp_path / "image/blobs/sha256").iterdir())
    assert side.account.size == sum(each.stat().st_size for each in blobs)
    assert side.account.sha256 in [each.name for each in blobs]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzipped, zstd])
def test_what_docker_saves_is_read_even_compressed_as_a_whole(tmp_path: Path, pack: object, old: bool) -> None:
    path = docker_archive(tmp_path / "app.tar", [BASE, ABOVE], old=old)
    path.write_bytes(pack(path.read_bytes()))  # type: ignore[operator]
    side = scan(path)
    check_files(side)
    assert [row.size for row in side.layers] == [len(BASE), len(ABOVE)]
    assert [row.digest for row in side.layers] == [f"sha256:{sha256(BASE)}", f"sha256:{sha256(ABOVE)}"]
    assert (side.account.compressed or {})["app/new.py"] == 3000


@pytest.mark.parametrize("damaged", [False, True])
def test_an_archive_of_docker_s_form_may_have_packed_layers(tmp_path: Path, damaged: bool) -> None:
    layers, config = [gzipped(BASE), gzipped(ABOVE)], json.dumps(config_of([BASE, ABOVE])).encode()  # as `crane save` writes it
    names = [f"{sha256(each)}.tar.gz" for each in layers]
    manifest = [{"Config": f"sha256:{sha256(config)}", "RepoTags": None, "Layers": names}]
    members = [(manifest[0]["Config"], config + b" " * damaged), *zip(names, layers, strict=True)]
    (tmp_path / "app.tar").write_bytes(layer(*members, ("manifest.json", json.dumps(manifest).encode())))  # type: ignore[arg-type]
    if damaged:
        with pytest.raises(ArtifactError, match="has its configuration with the digest"):
            scan(tmp_path / "app.tar")
        return
    side = scan(tmp_path / "app.tar")
    check_files(side)
    assert [row.size for row in side.layers] == [len(each) for each in layers]


@pytest.mark.parametrize("pack", [bytes, gzipped])
def test_a_layer_that_is_there_twice_is_read_twice(tmp_path: Path, pack: object) -> None:
    path = docker_archive(tmp_path / "app.tar", [BASE, ABOVE, BASE], old=True)
    path.write_bytes(pack(path.read_bytes()))  # type: ignore[operator]
    side = scan(path)
    assert sorted(side.bundle) == ["app/new.py", "app/old.bin", "bin/sh", "etc/passwd"]
    assert [row.files for row in side.layers] == [0, 1, 3]


def test_gzip_is_measured_to_the_byte(tmp_path: Path) -> None:
    noise = [os.urandom(70_000 + number) for number in range(20)]
    members = [(f"n/{number}", data) for number, data in enumerate(noise)]
    side = scan(oci_layout(tmp_path / "image", [layer(*members)]))
    assert side.account.compressed is not None
    for path, data in members:  # noise is stored as it is, with a few bytes before each block
        assert len(data) <= side.account.compressed[path] <= len(data) + 128


def test_zstd_is_measured_to_a_block(tmp_path: Path) -> None:
    large, zeros = os.urandom(3_000_000), bytes(3_000_000)
    side = scan(oci_layout(tmp_path / "image", [layer(("a", large), ("b", zeros), ("c", b"x"))], "+zstd"))
    assert side.account.compressed is not None
    assert abs(side.account.compressed["a"] - len(large)) < 200_000
    assert side.account.compressed["b"] < 200_000


def test_layers_of_several_gzip_members_and_zstd_frames(tmp_path: Path) -> None:
    plain = layer(("a", os.urandom(40_000)), ("b", os.urandom(40_000)))
    half = len(plain) // 2
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"table"  # RFC 8878, 3.1.2; what zstd:chunked ends with
    for name, data in {
        "gzip": gzipped(plain[:half]) + gzipped(b"") + gzipped(plain[half:]),
        "zstd": skippable + zstd(plain[:half]) + zstd(plain[half:]) + skippable,
    }.items():
        side = scan(put_raw(tmp_path / name, data, plain))
        assert {path: file.size for path, file in side.bundle.items()} == {"a": 40_000, "b": 40_000}, name


def put_raw(root: Path, stored: bytes, plain: bytes) -> Path:
    """Write an image of one layer that is stored as these bytes."""
    packed = put(root, stored, f"{OCI}.layer.v1.tar+gzip")
    configured = put_json(root, config_of([plain]), f"{OCI}.config.v1+json")
    manifest = put_json(root, {"schemaVersion": 2, "config": configured, "layers": [packed]}, f"{OCI}.manifest.v1+json")
    return put_index(root, [manifest])


def test_whiteouts_hide_what_is_below_them_and_nothing_else(tmp_path: Path) -> None:
    below = layer(("a/x", b"1"), ("a/y", b"22"), ("b/x", b"333"), ("c", b"4444"), ("d/deep/er", b"55555"))
    above = layer(("a/.wh..wh..opq", b""), ("a/new", b"n"), (".wh.c", b""), ("d/.wh.deep", b""), ("b/.wh.none", b""), (".wh..wh.plnk", b""))
    assert seen(tmp_path, below, above) == {"a/new": 1, "b/x": 3}


def test_a_whiteout_spares_what_its_own_layer_brings_whichever_comes_first(tmp_path: Path) -> None:
    below = layer(("a/x", b"1"), ("a/y", b"22"), ("b", b"333"))
    first = layer(("a/.wh..wh..opq", b""), (".wh.b", b""), ("a/z", b"z"), ("b/inside", b"bb"))
    last = layer(("b/inside", b"bb"), ("a/z", b"z"), (".wh.b", b""), ("a/.wh..wh..opq", b""))
    expected = {"a/z": 1, "b/inside": 2}
    assert seen(tmp_path / "1", below, first) == expected
    assert seen(tmp_path / "2", below, last) == expected
    folder = layer(("b/old", b"o"))
    assert seen(tmp_path / "3", folder, last) == expected


def test_what_a_file_system_noted_of_itself_is_no_file(tmp_path: Path) -> None:
    notes = layer((".wh..wh.plnk/1.2", b"x"), (".wh..wh.aufs", b""), hard_link(".wh..wh.orph/y", ".wh..wh.plnk/1.2"), ("a", b"1"))
    side = scan(oci_layout(tmp_path, [notes]))
    assert list(side.bundle) == ["a"]
    assert side.layers[0].hidden_installed == 0


def test_what_takes_the_place_of_what(tmp_path: Path) -> None:
    below = layer(("folder/x", b"1"), ("file", b"22"), link("lib", "usr/lib"), ("usr/lib/a.so", b"333"), ("kept/a", b"4"))
    above = layer(("folder", b"now a file"), ("file/inside", b"5"), ("lib/b.so", b"66"), ("kept/", None), ("kept/b", b"7"))
    assert seen(tmp_path, below, above) == {
        "folder": 10,
        "file/inside": 1,
        "lib/b.so": 2,  # a folder of a later layer takes the place of a link, as in an overlay
        "usr/lib/a.so": 3,
        "kept/a": 1,
        "kept/b": 1,
    }


def test_links_to_folders_are_followed_within_a_layer(tmp_path: Path) -> None:
    members = [link("lib", "usr/lib"), ("lib/a", b"1"), link("usr/lib64", "/lib/../lib"), ("usr/lib64/b", b"22"), link("up", "../../..")]
    assert seen(tmp_path, layer(*members, ("up/c", b"333"))) == {
        "lib": "usr/lib",
        "usr/lib/a": 1,
        "usr/lib64": "/lib/../lib",
        "usr/lib/b": 2,
        "up": "../../..",
        "c": 3,
    }


def test_hard_links_are_one_file_under_the_first_of_their_names(tmp_path: Path) -> None:
    data = b"x" * 1000
    below = layer(("b", data), hard_link("c", "b"), hard_link("a", "./c"), link("s", "b"), hard_link("t", "/s"))
    assert seen(tmp_path / "1", below) == {"a": 1000, "b": "/a", "c": "/a", "s": "b", "t": "b"}
    gone = layer((".wh.a", b""), hard_link("below", "b"), hard_link("again", "below"))
    assert seen(tmp_path / "2", below, gone) == {"again": 1000, "b": "/again", "below": "/again", "c": "/again", "s": "b", "t": "b"}
    side = scan(oci_layout(tmp_path / "3", [below, layer((".wh.a", b""), (".wh.c", b""))]))
    assert [(row.installed, row.hidden_installed) for row in side.layers] == [(1000, 0), (0, 0)]


def test_the_last_of_a_name_counts_and_the_others_are_hidden(tmp_path: Path) -> None:
    twice = layer(("./a", b"1" * 100), ("/a", b"22"), ("b//c", b"1"), ("./b/./c", b"333"))
    side = scan(oci_layout(tmp_path, [twice]))
    assert {path: file.size for path, file in side.bundle.items()} == {"a": 2, "b/c": 3}
    assert [(row.installed, row.hidden_installed) for row in side.layers] == [(5, 101)]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_every_sort(tmp_path: Path, form: int) -> None:
    names = ["new\nline", "<script>|`x`", "\u202eevil", "\udcff\udcfe", "b\\ack", " ", "d/" + "x" * 90]
    if form != tarfile.USTAR_FORMAT:
        names += ["y" * 300, "p/" * 100 + "z" * 120]
    members = [(name, b"1") for name in names]
    side = scan(oci_layout(tmp_path, [layer(*members, form=form)]))
    assert sorted(side.bundle) == sorted(names)


def test_devices_and_empty_layers_are_nothing(tmp_path: Path) -> None:
    null, pipe = link("dev/null", "", tarfile.CHRTYPE), link("run/pipe", "", tarfile.FIFOTYPE)
    assert seen(tmp_path / "1", layer(("dev/null", b"a file"), ("x", b"")), layer(null, pipe), layer(), b"") == {"x": 0}
    assert seen(tmp_path / "2") == {}


def test_a_real_tar_with_holes_in_each_of_its_formats(tmp_path: Path) -> None:
    place = tmp_path / "in/holes"
    place.parent.mkdir()
    with place.open("wb") as stream:
        for number in range(40):
            stream.seek(number * 200_000 + 50_000)
            stream.write(os.urandom(5000))
        stream.truncate(9_000_000)
    data = place.read_bytes()
    for version in ("gnu", "0.0", "0.1", "1.0"):
        form = ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
        made = tmp_path / f"{version}.tar"
        subprocess.run(["tar", "-C", place.parent, "-S", *form, "-cf", made, "holes"], check=True)
        assert made.stat().st_size < 1_000_000
        side = scan(oci_layout(tmp_path / version, [made.read_bytes()]))
        assert [(path, file.size, file.sha256) for path, file in side.bundle.items()] == [("holes", len(data), sha256(data))], version


def test_owners_are_whoever_lists_a_file(tmp_path: Path) -> None:
    packages = "usr/local/lib/python3.11/site-packages"
    record = 'num/a.py,,\n../../../bin/num,,\n/opt/abs,,\n../../../../../../../etc/up,,\n"a\nb",,\n'
    apk = "P:musl\nV:1\nF:lib\nR:ld-musl.so\n\nP:other\nF:\nR:top\n"
    members = [
        link("lib", "usr/lib"),
        (f"{packages}/num-1.0.dist-info/RECORD", record.encode()),
        (f"{packages}/num/a.py", b"1"),
        (f"{packages}/num/unlisted.pyc", b"2"),
        (f"{packages}/single.py", b"2"),
        ("usr/local/bin/num", b"3"),
        ("opt/abs", b"4"),
        ("etc/up", b"5"),
        ("var/lib/dpkg/info/libc6:amd64.list", b"/.\n/lib\n/lib/libc.so\n/usr/local/bin/num\n"),
        ("usr/lib/libc.so", b"6"),
        ("var/lib/dpkg/status.d/tzdata.md5sums", b"0123456789abcdef0123456789abcdef  usr/share/zone\n"),
        ("usr/share/zone", b"7"),
        ("lib/apk/db/installed", apk.encode()),
        ("usr/lib/ld-musl.so", b"8"),
        ("top", b"9"),
        ("usr/local/lib/python3.11/os.py", b"10"),
        ("usr/local/lib/libpython3.11.so.1.0", b"11"),
        ("srv/app/main.py", b"12"),
    ]
    owners = {path: file.owner for path, file in scan(oci_layout(tmp_path, [layer(*members)])).bundle.items()}
    assert owners[f"{packages}/num/a.py"] == owners[f"{packages}/num/unlisted.pyc"] == owners["usr/local/bin/num"] == "num"
    assert owners["opt/abs"] == owners["etc/up"] == "num"
    assert owners[f"{packages}/num-1.0.dist-info/RECORD"] == "num"
    assert owners[f"{packages}/single.py"] == "single"
    assert owners["usr/lib/libc.so"] == "libc6"
    assert owners["usr/share/zone"] == "tzdata"
    assert (owners["usr/lib/ld-musl.so"], owners["top"]) == ("musl", "other")
    assert owners["usr/local/lib/python3.11/os.py"] == owners["usr/local/lib/libpython3.11.so.1.0"] == "python"
    assert owners["srv/app/main.py"] == "srv"


def test_a_listing_of_a_hidden_package_lists_nothing(tmp_path: Path) -> None:
    record = ("p/x-1.dist-info/RECORD", b"x/a,,\n")
    side = scan(oci_layout(tmp_path, [layer(record, ("p/x/a", b"1")), layer(("p/x-1.dist-info/.wh..wh..opq", b""))]))
    assert {path: file.owner for path, file in side.bundle.items()} == {"p/x/a": "p"}


def test_what_is_hidden_is_a_finding_with_the_largest_of_it(tmp_path: Path) -> None:
    below = layer(("opt/big/a", os.urandom(900_000)), ("opt/big/b", bytes(600_000)), ("c", b"1" * 300_000), ("d", b"1"), ("e\nf", b"1"))
    side = scan(oci_layout(tmp_path / "1", [below, layer(("c", b"2")), layer(("opt/.wh.big", b""), ("d", b"2"), ("e\nf", b"2"))]))
    (finding,) = side.findings
    assert finding.code == "MB801"
    assert finding.message.startswith("1.80 MB (90")
    assert "opt/big (1.50 MB of layer 1, layer 3 hides it); c (300 kB of layer 1, layer 2 hides it); " in finding.message
    assert "[1 others]" in finding.message
    assert len(finding.line().splitlines()) == 1
    assert scan(oci_layout(tmp_path / "2", [BASE, ABOVE])).findings == ()


def analyzed(tmp_path: Path, path: Path) -> Manifest:
    return application.analyze(job_for(tmp_path), path)


def test_the_manifest_reconciles_and_tells_of_layers(tmp_path: Path) -> None:
    history = [{"created_by": "FROM base"}, {"created_by": "ENV x=y", "empty_layer": True}, {"created_by": "COPY app"}]
    path = oci_layout(tmp_path / "image", [BASE, ABOVE], config=config_of([BASE, ABOVE], history=history))
    manifest = analyzed(tmp_path, path)
    after = manifest.artifact.after
    assert manifest.artifact.kind == "image"
    assert [row.created_by for row in manifest.layers] == ["FROM base", "COPY app"]
    states = [row.after for row in manifest.files if row.after]
    assert sum(state.size for state in states) == after.installed == sum(row.installed for row in manifest.layers)
    compressed = sum(state.compressed or 0 for state in states)
    assert compressed + after.structure == after.size
    assert compressed == sum(row.compressed for row in manifest.layers)
    assert all(row.compressed + row.hidden_compressed <= row.size for row in manifest.layers)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert analyzed(tmp_path, as_tar(path, tmp_path / "image.tar")).files == manifest.files


def test_findings_can_be_ignored(tmp_path: Path) -> None:
    path = oci_layout(tmp_path / "image", [layer(("a", bytes(2_000_000))), layer((".wh.a", b""))])
    assert [finding.code for finding in analyzed(tmp_path, path).findings] == ["MB801"]


def test_a_budget_counts_an_image_as_it_is_stored_and_leaves_presets_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = oci_layout(tmp_path / "image", [BASE, ABOVE])
    table = '[project]\nname = "app"\n[tool.mlbundle.budget]\npreset = ["pypi", "lambda", "one-file"]\ndownload = "1 kB"\n'
    (tmp_path / "pyproject.toml").write_text(table)
    assert main(["check", str(path), "--project", str(tmp_path), "--no-cache", "--json"]) == 1
    results = {each["limit"]: each for each in json.loads(capsys.readouterr().out)["limits"]}
    assert (results["download"]["status"], results["download"]["actual"]) == ("over", scan(path).account.size)
    assert [results[name]["status"] for name in ("pypi", "lambda", "one-file")] == ["unmeasured"] * 3
    assert "no limit for container images" in results["pypi"]["note"]


def several(root: Path, platforms: list[Json | None], *, nested: bool = False) -> Path:
    """Write an index of an image for each platform, whose only file has the platform's number of bytes."""
    manifests = []
    for number, platform in enumerate(platforms):
        plain = [layer((f"{number}", b"x" * number))]
        arch = (platform or {}).get("architecture", "s390x")
        more = {} if platform is None else {"platform": platform}
        manifests.append(put_image(root, plain, config=config_of(plain, architecture=arch), **more))
    if nested:
        manifests = [put_json(root, {"schemaVersion": 2, "manifests": manifests}, f"{OCI}.index.v1+json")]
    return put_index(root, manifests)


AMD, ARM = ({"os": "linux", "architecture": name} for name in ("amd64", "arm64"))
ATTESTATION = {"os": "unknown", "architecture": "unknown"}


@pytest.mark.parametrize("nested", [True, False])
def test_the_image_of_this_machine_is_chosen(tmp_path: Path, nested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = several(tmp_path, [ATTESTATION, ARM, AMD, None], nested=nested)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert list(scan(path).bundle) == ["2"]
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert list(scan(path).bundle) == ["1"]


def test_the_only_image_is_taken_whatever_it_is_for(tmp_path: Path) -> None:
    other = {"os": "linux", "architecture": "riscv64", "variant": "x"}
    assert list(scan(several(tmp_path, [ATTESTATION, other])).bundle) == ["1"]


def test_no_image_for_this_machine_is_one_line_with_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(ArtifactError, match=r"holds no image for linux/amd64, but 'linux/arm64, linux/s390x'; copy the one"):
        scan(several(tmp_path / "1", [ARM, None]))
    two = [{**AMD, "variant": "v1"}, {**AMD, "variant": "v2"}]
    with pytest.raises(ArtifactError, match=r"holds 2 images for linux/amd64"):
        scan(several(tmp_path / "2", two))


@pytest.mark.parametrize("form", FORMS)
def test_an_image_is_hashed_whatever_is_asked_for(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = FORMS[form](tmp_path, "+gzip")
    told = []
    for more in ([], ["--no-hashes"]):
        assert main(["analyze", str(path), "--json", "--no-cache", "--project", str(tmp_path), *more]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert json.loads(told[0])["artifact"]["kind"] == "image"


def test_an_analysis_keeps_no_bytes(tmp_path: Path) -> None:
    side = scan(oci_layout(tmp_path / "image", [BASE, ABOVE]))
    with pytest.raises(ArtifactError, match="does not give the bytes of single files"):
        next(side.bundle["bin/sh"].content.chunks())


def test_gzip_by_another_program_and_its_name(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "app.tar.gz", [BASE, ABOVE])
    with gzip.open(tmp_path / "named.gz", "wb", compresslevel=1) as stream:
        stream.write(path.read_bytes())
    check_files(scan(tmp_path / "named.gz"))


def test_zstd_that_is_not_installed_is_one_line_and_what_to_install(tmp_path: Path) -> None:
    path = oci_layout(tmp_path / "image", [BASE], "+zstd")
    code = "import sys; sys.modules.update(backports=None, compression=None); from hatch_mlbundle.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "analyze", path, "--no-cache", "--project", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = "mlbundle: reading layers packed with zstd needs the library zstd; pip install 'hatch-mlbundle[archives]'\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", expected)
