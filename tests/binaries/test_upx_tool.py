"""What UPX does to real libraries, and whether the rules keep from it those that it breaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.binaries.upx_tool import copied_data, find_upx, is_packed, pack, why_not
from hatch_mlbundle.errors import KeptError, MissingProgramError
from tests.elfsmith import WIDE, Part, build_elf, compile_elf, need

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="UPX packs shared libraries of Linux only")


@pytest.fixture(autouse=True)
def _upx() -> None:
    need("upx")


def reason(path: Path, copied: list[str] | None = None) -> str | None:
    with Reader(path) as reader:
        return why_not(reader, read_elf(reader), copied or [])


def packed(path: Path) -> Path:
    target = path.with_name(f"packed_{path.name}")
    pack(find_upx(), path, target, [], 0)
    return target


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import ctypes\n{code}"], capture_output=True, text=True, check=False)


def test_a_library_is_packed_and_works(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", source="__thread int t = 5;\nint tls(void) { return t++; }\n" + WIDE)
    path.chmod(0o750)
    assert reason(path) is None
    target = packed(path)
    assert target.stat().st_size < path.stat().st_size
    assert target.stat().st_mode == path.stat().st_mode
    with Reader(path) as before, Reader(target) as after:
        assert (is_packed(before), is_packed(after)) == (False, True)
    result = python(f"x = ctypes.CDLL('{target}'); print(x.tls(), x.tls(), x.a_function_with_quite_a_long_name_7(2))")
    assert result.stdout.split() == ["5", "6", "9"]


def test_links_and_files_that_are_not_executable_are_packed_too(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", source=WIDE)
    path.chmod(0o644)
    (tmp_path / "link.so").symlink_to(path)
    target = packed(tmp_path / "link.so")
    assert target.stat().st_size < path.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o644
    assert sorted(each.name for each in tmp_path.iterdir()) == ["libx.so", "libx.so.c", "link.so", "packed_link.so"]


def test_a_function_that_the_linker_calls_speaks_against_it(tmp_path: Path) -> None:
    source = 'static int a(void) { return 5; }\nstatic void *pick(void) { return a; }\nint choose(void) __attribute__((ifunc("pick")));\n'
    path = compile_elf(tmp_path / "libx.so", source=source + "int use(void) { return choose(); }\n" + WIDE)
    assert "IFUNC choose" in (reason(path) or "")
    assert python(f"print(ctypes.CDLL('{path}').use())").stdout == "5\n"
    assert python(f"print(ctypes.CDLL('{packed(path)}').use())").returncode < 0


def test_data_that_a_program_copies_speaks_against_it(tmp_path: Path) -> None:
    """UPX's result loads, and yet the program finds compressed bytes: nothing but the symbols tells."""
    library = compile_elf(
        tmp_path / "libx.so", "-Wl,-soname,libx.so", source="const int table[4] = {1, 2, 3, 4};\nint other[2] = {1, 2};\n" + WIDE
    )
    text = '#include <stdio.h>\nextern const int table[4];\nextern int other[2];\nint main(void) { printf("%d %d", table[0], other[1]); }\n'
    (tmp_path / "p.c").write_text(text)
    program = tmp_path / "p"
    subprocess.run(["gcc", "-no-pie", "-o", program, tmp_path / "p.c", library, "-Wl,-rpath,$ORIGIN"], check=True)
    with Reader(program) as reader:
        copied = list(copied_data(reader, read_elf(reader)))
    assert {"table", "other"} <= set(copied)
    assert reason(library) is None
    assert "may copy table" in (reason(library, copied) or "")
    assert reason(library, ["other"]) is None
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"1 2"
    packed(library).replace(library)
    assert subprocess.run([program], capture_output=True, check=False).stdout != b"1 2"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-Wl,-z,noseparate-code",), "first segment is executable"),
        (("-nostdlib",), "no DT_INIT"),
        (("-static-pie",), "a static program"),
        (("-pie", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"), "another C library"),
    ],
)
def test_the_shape_of_a_file_may_speak_against_it(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    path = compile_elf(tmp_path / "x", *flags, source="int main(void) { return 0; }\n" + WIDE)
    assert said in (reason(path) or "")


def test_tables_that_patchelf_moved_speak_against_it(tmp_path: Path) -> None:
    need("patchelf")
    path = compile_elf(tmp_path / "libx.so", source=WIDE)
    subprocess.run(["patchelf", "--set-rpath", "$ORIGIN/" + "long" * 200, path], check=True)
    assert "patchelf" in (reason(path) or "")
    with pytest.raises(KeptError, match=r"\AUPX refuses it: CantPackException"):
        packed(path)


def test_what_upx_would_lose_speaks_against_it(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", source=WIDE)
    (tmp_path / "data").write_bytes(b"modules")
    for name, said in (("pydata", "pydata"), (".gnu_debuglink", None)):
        target = tmp_path / f"with{name}.so"
        subprocess.run(["objcopy", "--add-section", f"{name}={tmp_path / 'data'}", path, target], check=True)
        assert said is None if reason(target) is None else said in (reason(target) or "")
    path.write_bytes(path.read_bytes() + b"payload")
    assert "7 bytes of data are appended" in (reason(path) or "")
    build_elf(tmp_path / "x.o", [Part(".text", b"code", flags=2)], type=1)
    assert "neither" in (reason(tmp_path / "x.o") or "")


def test_too_little_gained_keeps_the_file(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", source=WIDE)
    with pytest.raises(KeptError, match=r"would save \d+ % only"):
        pack(find_upx(), path, tmp_path / "packed", [], 99)
    assert not (tmp_path / "packed").exists()


def test_a_missing_upx_is_told_with_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"upx-ucl.*bookworm-backports"):
        find_upx()
