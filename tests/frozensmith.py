"""Real applications that PyInstaller builds once a session, and hand-made archives that it never would."""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from hatch_mlbundle.bundles.carchive import COOKIE, MAGIC
from hatch_mlbundle.bundles.marshal_table import Value, write_table
from tests.projects import environment

SAID = "Mia 2 3 data run"
"""What the application prints."""
_APP = """\
import os, sys
def value(name, what):
    try:
        return getattr(__import__(name, fromlist=["x"]), what)
    except ImportError:
        return "no " + name
if False:
    import pets.cat, tools.inner.deep, space.one.mod, _bz2
import _bz2
root = sys._MEIPASS
found = [value("pets.cat", "NAME"), value("tools.inner.deep", "VALUE"), value("space.one.mod", "VALUE")]
with open(os.path.join(root, "d\\u00e4ta", "link.txt"), encoding="ascii") as stream:
    found.append(stream.read())
found.append("run" if os.access(os.path.join(root, "d\\u00e4ta", "run"), os.X_OK) else "no run")
print(*found)
"""
_FILES = {
    "pets/__init__.py": "",
    "pets/cat.py": "NAME = 'Mia'",
    "tools/__init__.py": "",
    "tools/inner/__init__.py": "",
    "tools/inner/deep.py": "VALUE = 2",
    "space/one/mod.py": "VALUE = 3",
    "d\u00e4ta/text.txt": "data",
    "d\u00e4ta/run": "#!/bin/sh\n",
    "app.py": _APP,
}


def write_sources(folder: Path) -> Path:
    """Write the application: two packages, a namespace package, a link, a file with the executable bit, a name beyond ASCII."""
    for name, text in _FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "d\u00e4ta/run").chmod(0o755)
    (folder / "d\u00e4ta/link.txt").symlink_to("text.txt")
    return folder


def pyinstaller(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run PyInstaller in a folder, with a fixed hash seed."""
    command = [sys.executable, "-m", "PyInstaller", "-y", "--log-level", "ERROR", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(PYTHONHASHSEED="1"), capture_output=True, text=True, check=False, timeout=300
    )


@cache
def _built(*arguments: str) -> Path:
    folder = write_sources(Path(mkdtemp(prefix="mlbundle-tests-frozen-")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    result = pyinstaller(folder, "--add-data", f"d\u00e4ta{os.pathsep}d\u00e4ta", *arguments, "app.py")
    assert result.returncode == 0, result.stderr
    link = folder / "dist/app/_internal/d\u00e4ta/link.txt"
    if link.parent.is_dir() and not link.is_symlink():  # older releases collect what a link points to
        link.unlink()
        link.symlink_to("text.txt")
    return folder / "dist/app"


def frozen_folder(place: Path, name: str = "app") -> Path:
    """Return a copy of the application as a folder."""
    pytest.importorskip("PyInstaller")
    return Path(shutil.copytree(_built(), place / name, symlinks=True))


def frozen_file(place: Path) -> Path:
    """Return a copy of the application as one file."""
    pytest.importorskip("PyInstaller")
    return Path(shutil.copy(_built("--onefile"), place / "one"))


def says(executable: Path) -> str:
    """Return what the application prints; it must end well."""
    result = subprocess.run([executable], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Item:
    """An entry of a hand-made archive; what is None is as it should be."""

    name: bytes
    data: bytes = b""
    type: bytes = b"x"
    offset: int | None = None
    stored: int | None = None
    size: int | None = None
    compressed: int = 0
    length: int | None = None


def craft(items: Sequence[Item], *, head: bytes = b"\x7fELF" + bytes(60), tail: bytes = b"", **cookie: int) -> bytes:
    """Return a file with an archive; `cookie` may give `size`, `table` or `table_size`."""
    body, rows = b"", b""
    for item in items:
        name = item.name + b"\0"
        name += bytes(-(18 + len(name)) % 16)
        values = (
            18 + len(name) if item.length is None else item.length,
            len(body) if item.offset is None else item.offset,
            len(item.data) if item.stored is None else item.stored,
            len(item.data) if item.size is None else item.size,
        )
        rows += struct.pack("!IIIIBc", *values, item.compressed, item.type) + name
        body += item.data
    size = cookie.get("size", len(body) + len(rows) + COOKIE.size)
    end = COOKIE.pack(MAGIC, size, cookie.get("table", len(body)), cookie.get("table_size", len(rows)), 311, b"libpython3.11.so")
    return head + body + rows + end + tail


def craft_pyz(rows: Value, data: bytes = b"", *, table: int | None = None, raw: bytes | None = None) -> Item:
    """Return an entry that is a PYZ archive with this table."""
    head = struct.pack("!4s4si", b"PYZ\0", b"\xa7\r\r\n", 17 + len(data) if table is None else table).ljust(17, b"\0")
    return Item(name=b"PYZ.pyz", type=b"z", data=head + data + (write_table(rows) if raw is None else raw))


def packed(data: bytes) -> tuple[bytes, int]:
    """Return data compressed, and its size before."""
    return zlib.compress(data), len(data)
