from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.errors import MissingProgramError, UnsoundResultError
from hatch_mlbundle.model import Change, File, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import Task
from hatch_mlbundle.optimizers.strip import Strip, StripOptions
from tests.elfsmith import SOURCE, WIDE, Part, build_elf, compile_elf, need, patched_parts
from tests.fakes import FakeContext, bundle_of

MINGW = "x86_64-w64-mingw32-gcc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bundle" / "pkg").mkdir(parents=True)
    return tmp_path / "bundle"


def library(root: Path, *flags: str, name: str = "libx.so") -> Path:
    path = compile_elf(root / "pkg" / name, *flags, source=SOURCE + WIDE)
    path.with_name(f"{name}.c").unlink()
    return path


def plan(root: Path, **options: object) -> tuple[list[Change], FakeContext, Strip]:
    strip, context = Strip(StripOptions(**options)), FakeContext(root)  # type: ignore[arg-type]
    return list(strip.plan(bundle_of(root), context)), context, strip


def carry_out(root: Path, change: Change, context: FakeContext, strip: Strip) -> Task:
    task = context.task(bundle_of(root)[change.path], root.parent / "companions")
    strip.rewrite(task, context)
    return task


def dll(root: Path) -> Path:
    need(MINGW)
    text = root.parent / "x.c"
    text.write_text("__declspec(dllexport) int visible(int x) { return x; }\n")
    path = root / "pkg" / "x.dll"
    subprocess.run([MINGW, "-shared", "-g", "-o", path, text], check=True)
    return path


def test_what_goes_and_what_it_saves_is_planned_exactly(root: Path) -> None:
    path = library(root)
    (change,), context, strip = plan(root)
    assert isinstance(change, Rewrite)
    assert change.path == "pkg/libx.so"
    assert "debug data " in change.reason
    assert "symbol table " in change.reason
    task = carry_out(root, change, context, strip)
    strip.check(task, context)
    assert task.target.stat().st_size == path.stat().st_size - (change.saves or 0)
    assert context.codes == []
    assert list(task.companions.iterdir()) == []


def test_symbols_may_stay(root: Path) -> None:
    library(root)
    (change,), context, strip = plan(root, keep="symbols")
    assert "symbol table" not in change.reason
    task = carry_out(root, change, context, strip)
    strip.check(task, context)
    assert b"helper\0" in task.target.read_bytes()


@pytest.mark.parametrize(("tool", "program"), [("binutils", "strip"), ("llvm", "llvm-strip"), ("elfutils", "eu-strip")])
def test_other_tools_are_run_and_their_version_is_known(root: Path, tool: str, program: str) -> None:
    need(program)
    path = library(root)
    (change,), context, strip = plan(root, tool=tool)
    assert isinstance(change, Rewrite)
    assert change.saves is None
    assert any(character.isdigit() for character in strip.programs()[program])
    task = carry_out(root, change, context, strip)
    strip.check(task, context)
    assert task.target.stat().st_size < path.stat().st_size


def test_a_tool_that_is_missing_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Strip(StripOptions()).programs() == {}
    with pytest.raises(MissingProgramError, match="eu-strip"):
        Strip(StripOptions(tool="elfutils")).programs()


def test_debug_files_go_beside_the_artifact(root: Path) -> None:
    library(root, "-Wl,--build-id=0xabcdef0123")
    (change,), context, strip = plan(root, debug_files=True)
    task = carry_out(root, change, context, strip)
    assert [path.relative_to(task.companions).as_posix() for path in task.companions.rglob("*.debug")] == [".build-id/ab/cdef0123.debug"]
    assert context.codes == []


def test_debug_data_that_would_be_lost_is_a_finding(root: Path) -> None:
    library(root, "-Wl,--build-id=none")
    (change,), context, strip = plan(root, debug_files=True)
    assert context.codes == ["MB203"]
    assert "build-id" in context.findings[0].message
    assert context.findings[0].path == "pkg/libx.so"
    assert list(carry_out(root, change, context, strip).companions.iterdir()) == []
    assert plan(root)[1].codes == []


def test_files_are_known_by_their_bytes(root: Path) -> None:
    library(root).rename(root / "pkg" / "model.bin")
    (root / "pkg" / "liby.so").write_text("INPUT(libx.so)")
    assert [change.path for change in plan(root)[0]] == ["pkg/model.bin"]


def test_broken_headers_are_a_finding_and_the_file_stays(root: Path) -> None:
    path = library(root)
    path.write_bytes(path.read_bytes()[:200])
    changes, context, _ = plan(root)
    assert changes == []
    assert context.codes == ["MB201"]
    assert context.findings[0].path == "pkg/libx.so"
    assert str(root) not in context.findings[0].message


def test_objects_and_appended_data_are_kept_with_a_reason(root: Path) -> None:
    build_elf(root / "pkg" / "module.ko", patched_parts(), type=fmt.ET_REL)
    path = library(root, name="app")
    path.write_bytes(path.read_bytes() + b"squashfs")
    changes, context, _ = plan(root)
    assert [(type(change), change.path) for change in changes] == [(Keep, "pkg/app"), (Keep, "pkg/module.ko")]
    assert "8 bytes of data are appended" in changes[0].reason
    assert "relocatable object" in changes[1].reason
    assert context.codes == []


def test_a_gain_of_a_few_bytes_is_none(root: Path) -> None:
    build_elf(root / "pkg" / "x", [Part(".text", bytes(300000), flags=2), Part(".comment", b"c" * 2000)])
    build_elf(root / "pkg" / "y", [Part(".text", bytes(30000), flags=2), Part(".comment", b"c" * 2000)])
    assert [change.path for change in plan(root)[0]] == ["pkg/y"]


def test_what_the_step_may_not_change_is_not_even_looked_at(root: Path) -> None:
    library(root)
    context = FakeContext(root, excluded=["pkg/libx.so"])
    assert list(Strip(StripOptions()).plan(bundle_of(root), context)) == []
    assert context.examined == []


def test_a_second_strip_has_nothing_to_do(root: Path) -> None:
    path = library(root)
    (change,), context, strip = plan(root)
    carry_out(root, change, context, strip).target.replace(path)
    assert plan(root)[0] == []


@pytest.mark.skipif(sys.platform != "linux", reason="loads ELF libraries")
def test_a_result_that_no_longer_loads_is_unsound(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library looks for itself under its old name, so that only loading it tells."""
    source = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdlib.h>\n#include <string.h>\n"
    source += "__attribute__((constructor)) static void start(void) {\n"
    source += '  Dl_info me; if (dladdr((void *)start, &me) && strstr(me.dli_fname, ".new")) abort();\n}\n'
    compile_elf(root / "pkg" / "libx.so", source=source + WIDE).with_name("libx.so.c").unlink()
    (change,), context, strip = plan(root)
    task = carry_out(root, change, context, strip)
    with pytest.raises(UnsoundResultError, match=r"no longer loads, as the original does .crashes.: signal 6"):
        strip.check(task, context)
    Strip(StripOptions(load_check=False)).check(task, context)


def test_a_changed_image_is_unsound_and_told_without_a_path(root: Path) -> None:
    library(root)
    (change,), context, strip = plan(root)
    task = carry_out(root, change, context, strip)
    data = bytearray(task.target.read_bytes())
    data[0x400] ^= 1
    task.target.write_bytes(data)
    with pytest.raises(UnsoundResultError, match=r"\Athe content of segment 0 differs"):
        strip.check(task, context)


def test_an_original_that_does_not_load_here_needs_no_load(root: Path) -> None:
    library(root, "-Wl,-z,now", "-Wl,--no-as-needed", "-Wl,--defsym=one=0", name="libdep.so")
    path = compile_elf(
        root / "pkg" / "libx.so", f"-L{root / 'pkg'}", "-Wl,--no-as-needed", "-l:libdep.so", source="int a(void) { return 1; }" + WIDE
    )
    path.with_name("libx.so.c").unlink()
    (root / "pkg" / "libdep.so").unlink()
    (change,), context, strip = plan(root)
    strip.check(carry_out(root, change, context, strip), context)


def test_windows_libraries_are_stripped_by_a_program(root: Path) -> None:
    need("llvm-strip")
    path = dll(root)
    (change,), context, strip = plan(root)
    assert isinstance(change, Rewrite)
    assert change.key.startswith("llvm-strip ")
    assert any(character.isdigit() for character in change.key)
    assert bundle_of(root)[change.path].kind is Kind.PE
    task = carry_out(root, change, context, strip)
    strip.check(task, context)
    assert task.target.stat().st_size < path.stat().st_size


def test_without_such_a_program_one_finding_tells(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(dll(root), root / "pkg" / "y.dll")
    monkeypatch.setenv("PATH", str(tmp_path))
    changes, context, _ = plan(root)
    assert changes == []
    assert context.codes == ["MB202"]
    assert "2 Windows binaries" in context.findings[0].message


def test_every_option_has_its_sentence() -> None:
    assert all(each.metadata["doc"].endswith(".") for each in fields(StripOptions))


def test_files_of_other_kinds_are_none_of_its_business(root: Path) -> None:
    (root / "pkg" / "x.py").write_text("pass")
    assert plan(root)[0] == []
    assert isinstance(bundle_of(root)["pkg/x.py"], File)


@pytest.mark.slow
def test_real_macos_wheels(root: Path, tmp_path: Path) -> None:
    """psutil's macOS wheel, from the registry: its libraries have local symbols, and are signed ad hoc or not at all."""
    need("llvm-strip")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", tmp_path / "w"]
    result = subprocess.run([*command, "--platform", "macosx_11_0_arm64", "psutil==7.2.2"], check=False, capture_output=True)
    if result.returncode:
        pytest.skip("the registry cannot be reached")
    (wheel,) = (tmp_path / "w").glob("*.whl")
    shutil.unpack_archive(wheel, root, "zip")
    changes, context, strip = plan(root)
    assert changes
    for change in changes:
        strip.check(carry_out(root, change, context, strip), context)
