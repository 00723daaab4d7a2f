from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.bundles.unpacking import UnpackingContent
from hatch_mlbundle.model import CHUNK, MemoryContent

LARGE = b"\x7fELF" + bytes(range(256)) * (CHUNK // 100)


@pytest.mark.parametrize(("path", "data"), [("a.so", LARGE), ("m.safetensors", b"x" * 3000), ("m.onnx", b"y")])
def test_what_is_looked_into_is_left_on_disk(tmp_path: Path, path: str, data: bytes) -> None:
    content = UnpackingContent(MemoryContent(data), path, tmp_path / "place")
    assert content.local_path() is None
    assert b"".join(content.chunks()) == data
    assert content.local_path() == tmp_path / "place"
    assert (tmp_path / "place").read_bytes() == data


@pytest.mark.parametrize(("path", "data"), [("a.so", b"no library"), ("a.py", b"x = 1"), ("m.json", b"{}" * CHUNK), ("a.so", b"")])
def test_nothing_else_is(tmp_path: Path, path: str, data: bytes) -> None:
    content = UnpackingContent(MemoryContent(data), path, tmp_path / "place")
    assert b"".join(content.chunks()) == data
    assert content.local_path() is None
