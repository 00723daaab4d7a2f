"""How the dynamic linker of this system sees links: what `deduplicate` goes by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.linking import Linking, found_beside, linking_of
from hatch_mlbundle.binaries.reader import Reader
from tests.elfsmith import compile_elf
from tests.fakes import bundle_of

ORIGIN = "-Wl,-rpath,$ORIGIN"
COUNTING = "int which(void);\nstatic int n;\nint bump(void) { return ++n; }\nint seen(void) { return which(); }\n"
PROGRAM = '#include <stdio.h>\nint which(void);\nint main(void) { printf("%d\\n", which()); return 0; }\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folders, each with a `libn.so` of its own; in `a` a library and a program that look for theirs beside them."""
    root = tmp_path / "bundle"
    for number, folder in enumerate("ab", start=1):
        (root / folder).mkdir(parents=True)
        compile_elf(root / folder / "libn.so", "-Wl,-soname,libn.so", source=f"int which(void) {{ return {number}; }}\n")
    neighbour = str(root / "a" / "libn.so")
    compile_elf(root / "a" / "libl.so", "-Wl,-soname,libl.so", "-Wl,--no-as-needed", neighbour, ORIGIN, source=COUNTING)
    (root / "prog.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-o", root / "a" / "prog", root / "prog.c", neighbour, ORIGIN], check=True)
    for path in root.rglob("*.c"):
        path.unlink()
    return root


def linking(path: Path) -> Linking:
    with Reader(path) as reader:
        return linking_of(reader, read_elf(reader))


def python(code: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", f"import ctypes\n{code}"], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_origin_is_the_folder_of_the_name_by_which_a_library_was_first_loaded(root: Path) -> None:
    (root / "b" / "libl.so").symlink_to("../a/libl.so")
    load = f"x = ctypes.CDLL('{root}/{{}}/libl.so').seen; print(x())\n"
    assert python(load.format("b")) == ["2"]
    assert python(load.format("a")) == ["1"]
    assert python(load.format("b") + load.format("a")) == ["2", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_two_names_of_one_file_are_one_library_and_two_copies_are_two(root: Path) -> None:
    bump = f"print(*(ctypes.CDLL('{root}/' + name).bump() for name in ('a/libl.so', 'b/libl.so')))"
    (root / "b" / "libl.so").write_bytes((root / "a" / "libl.so").read_bytes())
    assert python(bump) == ["1", "1"]
    (root / "b" / "libl.so").unlink()
    (root / "b" / "libl.so").symlink_to("../a/libl.so")
    assert python(bump) == ["1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_a_program_looks_beside_the_file_not_beside_the_link(root: Path) -> None:
    (root / "b" / "prog").symlink_to("../a/prog")
    assert subprocess.run([root / "b" / "prog"], capture_output=True, check=True).stdout == b"1\n"


def test_what_a_file_is_to_the_linker(root: Path) -> None:
    library, program = linking(root / "a" / "libl.so"), linking(root / "a" / "prog")
    assert (library.soname, library.executable, library.extension, library.looks_at_itself) == ("libl.so", False, False, False)
    assert "libn.so" in library.needed
    assert library.search == ("$ORIGIN",)
    assert (program.executable, program.soname) == (True, None)
    assert Linking.from_json(library.to_json()) == library


def test_an_extension_module_and_a_library_that_asks_for_its_path_are_known(root: Path) -> None:
    module = compile_elf(root / "m.so", source="void *PyInit_m(void) { return 0; }\n")
    asking = compile_elf(root / "d.so", source="int dladdr(const void *, void *);\nint f(void *x) { return dladdr(f, x); }\n")
    assert (linking(module).extension, linking(module).looks_at_itself) == (True, False)
    assert (linking(asking).extension, linking(asking).looks_at_itself) == (False, True)


def test_neighbours_are_found_through_origin_and_through_links(root: Path) -> None:
    bundle = bundle_of(root)
    library = linking(root / "a" / "libl.so")
    assert found_beside("a/libl.so", library, bundle)["libn.so"] == bundle["a/libn.so"].sha256
    assert found_beside("b/libl.so", library, bundle)["libn.so"] == bundle["b/libn.so"].sha256
    assert found_beside("libl.so", library, bundle)["libn.so"] is None
    (root / "libn.so").symlink_to("b/libn.so")
    assert found_beside("libl.so", library, bundle_of(root))["libn.so"] == bundle["b/libn.so"].sha256
