from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.binaries.upx_tool import is_packed
from hatch_mlbundle.errors import KeptError, UnsoundResultError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Bundle, Change, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import Task
from hatch_mlbundle.optimizers.deduplicate import Deduplicate, DeduplicateOptions
from hatch_mlbundle.optimizers.strip import Strip, StripOptions
from hatch_mlbundle.optimizers.upx import Upx, UpxOptions
from hatch_mlbundle.plugins import load_registry
from tests.elfsmith import WIDE, compile_elf, need
from tests.fakes import FakeContext, bundle_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="UPX packs shared libraries of Linux only")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    need("upx")
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def compiled(root: Path, name: str, *flags: str, source: str = "") -> Path:
    path = compile_elf(root / name, *flags, source=source + WIDE)
    path.with_name(f"{name}.c").unlink()
    return path


def plan(root: Path, bundle: Bundle | None = None, **options: object) -> tuple[dict[str, Change], FakeContext, Upx]:
    upx, context = Upx(UpxOptions(**options)), FakeContext(root)  # type: ignore[arg-type]
    return {change.path: change for change in upx.plan(bundle or bundle_of(root), context)}, context, upx


def carry_out(root: Path, path: str, **options: object) -> tuple[Task, FakeContext, Upx]:
    changes, context, upx = plan(root, **options)
    assert isinstance(changes[path], Rewrite)
    task = context.task(bundle_of(root)[path], root.parent / "companions")
    upx.rewrite(task, context)
    return task, context, upx


def settings(tmp_path: Path, *optimizers: str) -> Manifest:
    registry = load_registry()
    config = project_config(tmp_path, registry, {"optimizers": list(optimizers), "cache": {"enabled": False}, "upx": {"min-size": 4096}})
    return optimize(prepare(config, registry, project=tmp_path), tmp_path / "bundle", tmp_path / "bundle").manifest


def test_libraries_and_programs_are_packed_and_proved(root: Path) -> None:
    compiled(root, "libx.so")
    compiled(root, "prog", "-pie", source='#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n')
    for name in ("libx.so", "prog"):
        task, context, upx = carry_out(root, name)
        upx.check(task, context)
        assert task.target.stat().st_size < task.file.size
    assert subprocess.run([task.target], capture_output=True, check=True).stdout == b"ran\n"
    assert sorted(path.name for path in root.iterdir()) == [".libx.so.new", ".prog.new", "libx.so", "prog"]


def test_what_has_been_packed_is_left_alone_by_every_step(root: Path) -> None:
    path = compiled(root, "libx.so")
    carry_out(root, "libx.so")[0].target.replace(path)
    changes, _, _ = plan(root, min_size=0)
    assert isinstance(changes["libx.so"], Keep)
    assert "already" in changes["libx.so"].reason
    context = FakeContext(root)
    assert list(Strip(StripOptions()).plan(bundle_of(root), context)) == []
    assert context.codes == []
    shutil.copy(path, root / "copy.so")
    kept = list(Deduplicate(DeduplicateOptions()).plan(bundle_of(root), context))
    assert {type(change) for change in kept} == {Keep}


def test_frozen_executables_and_small_files_are_never_packed(root: Path) -> None:
    compiled(root, "app", "-pie", source="int main(void) { return 0; }\n")
    bundle = bundle_of(root)
    assert plan(root, bundle, min_size=1 << 30)[0] == {}
    bundle = bundle.replacing([replace(bundle["app"], kind=Kind.FROZEN)])
    change = plan(root, bundle)[0]["app"]
    assert isinstance(change, Keep)
    assert "holds its modules" in change.reason


def test_data_that_a_program_of_the_bundle_copies_keeps_its_library(root: Path) -> None:
    library = compiled(root, "libx.so", "-Wl,-soname,libx.so", source="const int table[4] = {1, 2, 3, 4};\n")
    (root.parent / "p.c").write_text("extern const int table[4];\nint main(void) { return table[0]; }\n")
    subprocess.run(["gcc", "-no-pie", "-o", root / "prog", root.parent / "p.c", library, "-Wl,-rpath,$ORIGIN"], check=True)
    change = plan(root)[0]["libx.so"]
    assert isinstance(change, Keep)
    assert "may copy table" in change.reason


def test_a_library_that_does_not_load_here_stays_since_nothing_could_prove_it(root: Path) -> None:
    compiled(root, "libx.so", "-Wl,-z,now", source="int missing(void);\nint use(void) { return missing(); }\n")
    with pytest.raises(KeptError, match="cannot be loaded by itself"):
        carry_out(root, "libx.so")


def test_a_result_that_upx_itself_cannot_unpack_is_unsound(root: Path) -> None:
    compiled(root, "libx.so")
    task, context, upx = carry_out(root, "libx.so")
    data = bytearray(task.target.read_bytes())
    compressed = data.index(b"UPX!") + 1000
    data[compressed : compressed + 64] = bytes(64)
    task.target.write_bytes(data)
    with pytest.raises(UnsoundResultError, match="upx: failed") as told:
        upx.check(task, context)
    assert str(root) not in str(told.value)


def test_a_result_that_upx_calls_sound_and_that_crashes_is_unsound(root: Path) -> None:
    """lzma: `upx -t` has nothing to say against it."""
    compiled(root, "libx.so")
    task, context, upx = carry_out(root, "libx.so", method="lzma")
    subprocess.run(["upx", "-q", "-t", task.target], check=True, capture_output=True)
    with pytest.raises(UnsoundResultError, match=r"no longer loads .crashes.: signal"):
        upx.check(task, context)


def test_windows_and_macos_are_left_alone_and_told_once(root: Path) -> None:
    (root / "a.dylib").write_bytes(b"\xcf\xfa\xed\xfe" + bytes(70000))
    (root / "b.dll").write_bytes(b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(70000))
    (root / "c.dll").write_bytes(b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(80000))
    changes, context, _ = plan(root)
    assert changes == {}
    assert context.codes == ["MB411", "MB411"]
    assert "a.dylib" in context.findings[0].message


def test_damaged_headers_keep_the_file(root: Path) -> None:
    path = compiled(root, "libx.so")
    path.write_bytes(path.read_bytes()[:70000])
    assert plan(root)[0]["libx.so"] == Keep(path="libx.so", reason="its headers cannot be believed")


def test_upx_and_its_version_are_known_beforehand(root: Path) -> None:
    assert any(character.isdigit() for character in Upx(UpxOptions()).programs()["upx"])


def test_the_whole_way(root: Path, tmp_path: Path) -> None:
    """Stripped, then packed; what UPX breaks stays without a finding; the program runs as before, with the packed library."""
    library = compiled(root, "libx.so", "-Wl,-soname,libx.so")
    compiled(root, "libold.so", "-Wl,-z,noseparate-code")
    (tmp_path / "p.c").write_text(
        "#include <stdio.h>\nint a_function_with_quite_a_long_name_7(int);\n"
        'int main(void) { printf("%d", a_function_with_quite_a_long_name_7(2)); return 0; }\n' + WIDE.replace("int a_f", "static int f")
    )
    subprocess.run(["gcc", "-w", "-o", root / "prog", tmp_path / "p.c", library, "-Wl,-rpath,$ORIGIN"], check=True)
    manifest = settings(tmp_path, "strip", "upx")
    assert manifest.findings == ()
    with Reader(root / "libx.so") as packed, Reader(root / "libold.so") as old:
        assert (is_packed(packed), is_packed(old)) == (True, False)
    assert subprocess.run([root / "prog"], capture_output=True, check=True).stdout == b"9"
    again = settings(tmp_path, "strip", "upx")
    assert again.findings == ()
    assert [row for row in again.files if any(change.action == "rewrite" for change in row.changes)] == []


APPLICATION = """
import ctypes, decimal, hashlib, lzma, sqlite3, ssl, zlib
data = bytes(range(256)) * 99
print(hashlib.sha256(data).hexdigest(), len(lzma.compress(data)), zlib.crc32(data), decimal.Decimal(2).sqrt())
print(sqlite3.connect(":memory:").execute("select sum(value) from json_each('[1, 2, 3]')").fetchone())
print(ssl.create_default_context().verify_mode, ctypes.sizeof(ctypes.c_long))
try:
    decimal.Decimal("x")
except decimal.InvalidOperation:
    print("raised")
"""


@pytest.mark.slow
def test_a_real_frozen_application_runs_as_before(root: Path, tmp_path: Path) -> None:
    """Python's own libraries, OpenSSL and SQLite among them: stripped, without duplicates and unused ones, and packed."""
    pytest.importorskip("PyInstaller")
    (tmp_path / "app.py").write_text(APPLICATION)
    command = [
        sys.executable,
        "-m",
        "PyInstaller",
        "-y",
        "--log-level=ERROR",
        "--distpath",
        tmp_path / "dist",
        "--workpath",
        tmp_path / "w",
    ]
    subprocess.run([*command, "--specpath", tmp_path, tmp_path / "app.py"], check=True, capture_output=True)
    root.rmdir()
    (tmp_path / "dist" / "app").rename(root)
    before = subprocess.run([root / "app"], capture_output=True, check=True).stdout
    (tmp_path / "pyproject.toml").write_text("[tool.mlbundle.unused_libraries]\nremove = true\n")
    manifest = settings(tmp_path, "strip", "unused_libraries", "deduplicate", "upx")
    assert [finding for finding in manifest.findings if finding.code.startswith("MB1")] == []
    packed = [row.path for row in manifest.files if any(change.action == "rewrite" and change.step == 3 for change in row.changes)]
    assert len(packed) > 5
    assert subprocess.run([root / "app"], capture_output=True, check=True).stdout == before
    assert before.endswith(b"raised\n")
