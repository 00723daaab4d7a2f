"""Bundles and artifacts that the kit makes, read back by others."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import installer.sources
import pytest

from hatch_mlbundle.api import Kind
from hatch_mlbundle.testing import Given, bundle_from, folder_from, hostile_variants, wheel_from

FILES = {
    "pkg/a.py": "x = 'é'\n",
    "pkg/lib.so": b"\x7fELF" + bytes(60),
    "pkg/run": Given(data="#!/bin/sh\n", mode=0o755),
    "pkg/link": Given(link="a.py"),
}


def test_a_bundle() -> None:
    bundle = bundle_from(FILES)
    assert [(file.path, file.size, file.kind, file.mode, file.link, file.owner) for file in bundle.values()] == [
        ("pkg/a.py", 9, Kind.PYTHON, 0o644, None, "pkg"),
        ("pkg/lib.so", 64, Kind.ELF, 0o644, None, "pkg"),
        ("pkg/run", 10, Kind.OTHER, 0o755, None, "pkg"),
        ("pkg/link", 0, Kind.LINK, 0o644, "a.py", "pkg"),
    ]
    assert bundle["pkg/a.py"].read() == "x = 'é'\n".encode()


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"/a": ""}, "'/a' is absolute"),
        ({"a/../b": ""}, "'a/../b' holds '.' or '..' as a part"),
        ({"a\\b": ""}, "holds a backslash"),
        ({"": ""}, "'' has an empty part"),
        ({"a": "", "a/b": ""}, "the bundle has 'a' both as a file and as a folder"),
    ],
)
def test_paths_that_no_bundle_can_have(files: dict[str, str], fault: str, tmp_path: Path) -> None:
    for make in (bundle_from, lambda each: folder_from(tmp_path, each), lambda each: wheel_from(tmp_path, each)):
        with pytest.raises(ValueError, match=re.escape(fault)):
            make(files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links")
def test_a_folder(tmp_path: Path) -> None:
    folder = folder_from(tmp_path / "new", FILES)
    assert (folder / "pkg" / "link").read_text(encoding="utf-8") == "x = 'é'\n"
    assert stat.S_IMODE((folder / "pkg" / "run").stat().st_mode) == 0o755


def test_a_wheel_is_one_that_installers_take(tmp_path: Path) -> None:
    files = {path: each for path, each in FILES.items() if path != "pkg/link"}
    wheel = wheel_from(tmp_path, files, name="my_maps", version="2.1", tag="cp311-cp311-linux_x86_64")
    assert wheel.name == "my_maps-2.1-cp311-cp311-linux_x86_64.whl"
    with installer.sources.WheelFile.open(wheel) as source:
        source.validate_record()
        assert "Root-Is-Purelib: false" in source.read_dist_info("WHEEL")
        assert [path for (path, _, _), _, executable in source.get_contents() if executable] == ["pkg/run"]
    again = wheel_from(tmp_path / "again", files, name="my_maps", version="2.1", tag="cp311-cp311-linux_x86_64")
    assert again.read_bytes() == wheel.read_bytes()


def test_what_is_given_of_dist_info_stays(tmp_path: Path) -> None:
    wheel = wheel_from(tmp_path, {"example-1.0.dist-info/METADATA": "Name: other\n"})
    with installer.sources.WheelFile.open(wheel) as source:
        assert source.read_dist_info("METADATA") == "Name: other\n"


def test_no_wheel_carries_links(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'pkg/link' is a link, which no wheel can carry"):
        wheel_from(tmp_path, FILES)


@pytest.mark.parametrize("data", [b"", b"x", b"0123456789" * 100])
def test_hostile_variants_are_others_and_the_same_each_time(data: bytes) -> None:
    variants = hostile_variants(data)
    assert variants == hostile_variants(data)
    assert len(variants) > 15
    assert data not in variants.values() or len(data) < 2
