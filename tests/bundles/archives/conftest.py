"""A tree with everything that a folder may hold, and what can be seen of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

Shape: TypeAlias = dict[str, tuple[str, object]]
"""Of each path below a folder: `folder`, `file 755` or the like, or `link`, and the bytes or the target."""

FILES = {
    "run": b"#!/bin/sh\necho hello\n",
    "lib/libx.so.1.0": b"\x7fELF" + bytes(3000),
    "empty": b"",
    "with space/and 'quote'.txt": b"words",
    "ünï/漢字 📦.bin": b"\x00\xff" * 700,
    "n" * 120 + "/" + "short.txt": b"a name that ustar splits",
    "/".join(["m" * 90] * 3) + "/long.txt": b"a name that only pax headers hold",
    "p" * 200: b"a name with nowhere to split it",
    "-dash": b"no option",
}


def make_tree(root: Path) -> Path:
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "run").chmod(0o755)
    (root / "lib/libx.so.1").symlink_to("libx.so.1.0")
    (root / "lib/libx.so").symlink_to("libx.so.1")
    (root / "ünï/zurück").symlink_to("../with space")
    (root / "zz-long-link").symlink_to("m" * 90 + "/" + "m" * 90)
    (root / "nowhere").symlink_to("lib/absent")
    (root / "loop").symlink_to("loop")
    os.link(root / "ünï/漢字 📦.bin", root / "a hard link")
    os.link(root / "ünï/漢字 📦.bin", root / "with space/another hard link")
    (root / "hollow/inner").mkdir(parents=True)
    return root


def shape_of(root: Path) -> Shape:
    found: Shape = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))  # noqa: PTH115 - as written
        elif path.is_dir():
            found[name] = ("folder", None)
        else:
            found[name] = (f"file {path.stat().st_mode & 0o777:o}", path.read_bytes())
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "app-1.0 ü")


@pytest.fixture
def shape() -> Callable[[Path], Shape]:
    return shape_of
