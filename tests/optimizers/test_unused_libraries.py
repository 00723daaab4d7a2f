from __future__ import annotations

import marshal
import os
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.bundles import carchive
from hatch_mlbundle.model import Bundle, Drop, Kind
from hatch_mlbundle.optimizers.unused_libraries import UnusedLibraries, UnusedLibrariesOptions
from tests.elfsmith import compile_elf
from tests.fakes import FakeContext, bundle_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An application of an extension module and a library that nobody needs."""
    root = tmp_path / "bundle"
    library(root, "_internal/libunused.so.1")
    library(root, "_internal/pkg/ext.cpython-311-x86_64-linux-gnu.so", source="void PyInit_ext(void) {}\n")
    return root


def library(root: Path, path: str, *needs: str, source: str = "int f(void) { return 1; }\n", soname: str | None = None) -> None:
    """Compile a library that needs others, given by their paths."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    libraries = [str(root / need) for need in needs]
    compile_elf(target, f"-Wl,-soname,{soname or target.name}", "-Wl,--no-as-needed", *libraries, source=source)
    target.with_name(f"{target.name}.c").unlink()


def write(root: Path, path: str, data: bytes | str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data if isinstance(data, bytes) else data.encode())


def dropped(root: Path, bundle: Bundle | None = None, excluded: tuple[str, ...] = ()) -> list[str]:
    context = FakeContext(root, excluded=excluded)
    optimizer = UnusedLibraries(UnusedLibrariesOptions(remove=True))
    changes = list(optimizer.plan(bundle_of(root) if bundle is None else bundle, context))
    assert all(isinstance(change, Drop) for change in changes)
    assert context.codes == []
    return [change.path for change in changes]


UNUSED = ["_internal/libunused.so.1"]


def test_what_nothing_needs_is_reported_and_nothing_changes(root: Path) -> None:
    library(root, "_internal/libbig.so", source="const char big[100000] = {1};\n")
    context = FakeContext(root)
    assert list(UnusedLibraries(UnusedLibrariesOptions()).plan(bundle_of(root), context)) == []
    assert context.codes == ["MB421"]
    assert "_internal/libbig.so (1" in context.findings[0].message
    assert context.findings[0].message.index("libbig") < context.findings[0].message.index("libunused")
    assert "remove = true" in context.findings[0].message


def test_what_nothing_needs_goes_when_asked_for(root: Path) -> None:
    assert dropped(root) == UNUSED
    assert dropped(root, excluded=("_internal/libunused.so.1",)) == []


def test_where_all_is_used_nothing_is_said(root: Path) -> None:
    (root / UNUSED[0]).unlink()
    context = FakeContext(root)
    assert list(UnusedLibraries(UnusedLibrariesOptions()).plan(bundle_of(root), context)) == []
    assert context.codes == []


def test_what_is_needed_stays_at_any_depth_by_file_name_soname_and_links(root: Path) -> None:
    library(root, "_internal/libdeep.so.2")
    library(root, "_internal/one.libs/libmiddle-0123abcd.so", "_internal/libdeep.so.2")
    library(root, "_internal/libtop.so.1.2.3", "_internal/one.libs/libmiddle-0123abcd.so", soname="libtop.so.1")
    library(root, "_internal/pkg/other.abi3.so", "_internal/libtop.so.1.2.3", source="void PyInit_other(void) {}\n")
    (root / "_internal" / "libmiddle.so").symlink_to("one.libs/libmiddle-0123abcd.so")
    assert dropped(root) == UNUSED
    (root / "_internal/pkg/other.abi3.so").unlink()
    assert {*dropped(root)} == {*UNUSED, "_internal/libtop.so.1.2.3"}  # what another file needs stays, even if that one goes


def test_links_to_a_library_go_with_it(root: Path) -> None:
    (root / "_internal" / "pkg" / "liblink.so").symlink_to("../libunused.so.1")
    assert dropped(root) == [*UNUSED, "_internal/pkg/liblink.so"]
    write(root, "_internal/pkg/load.py", "import ctypes\nctypes.CDLL('liblink.so')\n")
    assert dropped(root) == []


def test_programs_need_libraries_too(root: Path) -> None:
    library(root, "_internal/libused.so")
    text = root.parent / "p.c"
    text.write_text("int f(void);\nint main(void) { return f(); }\n")
    subprocess.run(["gcc", "-o", root / "_internal" / "tool", text, root / "_internal" / "libused.so"], check=True)
    assert dropped(root) == UNUSED


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("_internal/pkg/load.py", "import ctypes\nctypes.CDLL('libunused.so.1')\n"),
        ("_internal/pkg/load.py", "from ctypes.util import find_library\nfind_library('unused')\n"),
        ("_internal/pkg/config.json", '{"backend": "libunused.so"}'),
        ("_internal/pkg/backends.yaml", "backend: libunused\n"),
        ("_internal/pkg-1.0.dist-info/entry_points.txt", "[backends]\nx = libunused.so.1\n"),
        ("_internal/app.pyz/pkg/load.pyc", marshal.dumps(compile("import ctypes\nctypes.CDLL('libunused.so.1')", "m", "exec"))),
        ("_internal/app.pyz/pkg/load.pyc", marshal.dumps(compile("from x import find_library\nfind_library('unused')", "m", "exec"))),
    ],
)
def test_a_library_that_a_file_names_stays(root: Path, path: str, data: bytes | str) -> None:
    write(root, path, data)
    assert dropped(root) == []


@pytest.mark.parametrize("path", ["_internal/pkg-1.0.dist-info/RECORD", "_internal/pkg/build.cmake", "_internal/pkg/README.md"])
def test_lists_of_files_and_texts_name_nothing(root: Path, path: str) -> None:
    write(root, path, "libunused.so.1,sha256=x,1\n")
    assert dropped(root) == UNUSED


def test_a_library_that_another_opens_stays_and_its_own_name_does_not_count(root: Path) -> None:
    source = '#include <dlfcn.h>\nvoid PyInit_open(void) { dlopen("libunused.so.1", 1); }\n'
    library(root, "_internal/pkg/open.abi3.so", source=source)
    assert dropped(root) == []


def test_a_package_that_composes_names_keeps_its_own_libraries_alone(root: Path) -> None:
    library(root, "_internal/pkg/lib/libcpu.so")
    library(root, "_internal/pkg.libs/libx-0123abcd.so")
    library(root, "_internal/other/lib/libz.so")
    write(root, "_internal/pkg/__init__.py", "import ctypes\ndef load(name):\n    return ctypes.CDLL(f'lib{name}.so')\n")
    write(root, "_internal/other/__init__.py", "")
    assert {*dropped(root)} == {*UNUSED, "_internal/other/lib/libz.so"}


def test_plug_ins_stay_since_they_are_found_by_listing(root: Path) -> None:
    library(root, "_internal/pkg/plugins/libqfoo.so")
    library(root, "_internal/libgcc_s.so.1")
    library(root, "_internal/libpython3.11.so.1.0")
    assert dropped(root) == UNUSED


def test_what_a_script_in_the_executable_opens_stays(root: Path) -> None:
    bundle = frozen(root, "import ctypes\nctypes.CDLL('libother.so')\n")
    assert dropped(root, bundle) == UNUSED
    bundle = frozen(root, "import ctypes\nctypes.CDLL('libunused.so.1')\n")
    assert dropped(root, bundle) == []


def frozen(root: Path, script: str) -> Bundle:
    """Add an executable with a PyInstaller archive that holds a script, and return the bundle."""
    compile_elf(root / "app", "-pie", source="int main(void) { return 0; }\n").with_name("app.c").unlink()
    code = zlib.compress(marshal.dumps(compile(script, "app.py", "exec")))
    name = b"app\0" + bytes(10)
    table = struct.pack("!IIIIBc", 18 + len(name), 0, len(code), 1000, 1, b"s") + name
    size = len(code) + len(table) + carchive.COOKIE.size
    cookie = carchive.COOKIE.pack(carchive.MAGIC, size, len(code), len(table), 311, b"libpython3.11.so.1.0")
    with (root / "app").open("ab") as stream:
        stream.write(code + table + cookie)
    bundle = bundle_of(root)
    return bundle.replacing([replace(bundle["app"], kind=Kind.FROZEN)])


def test_unreadable_libraries_are_taken_for_used(root: Path) -> None:
    data = (root / UNUSED[0]).read_bytes()
    write(root, UNUSED[0], data[: len(data) // 2])
    assert dropped(root) == []


def test_libraries_of_other_systems_are_not_looked_at(root: Path) -> None:
    write(root, "_internal/libmac.dylib", b"\xcf\xfa\xed\xfe" + os.urandom(100))
    assert dropped(root) == UNUSED
