from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.trace import trace
from tests.elfsmith import compile_elf, need

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
PROGRAM = '#include <stdio.h>\nint main(void) { fopen("%s", "w"); return 0; }\n'


def test_a_program_is_traced_without_being_run(tmp_path: Path) -> None:
    program = compile_elf(tmp_path / "p", "-pie", source=PROGRAM % (tmp_path / "ran"))
    lines = trace(program)
    assert lines is not None
    assert any(line.startswith("libc.so.6 => /") for line in lines)
    assert not any("0x" in line for line in lines)
    assert not (tmp_path / "ran").exists()
    subprocess.run([program], check=True)
    assert (tmp_path / "ran").exists()


def test_a_program_that_upx_packed_is_traced_without_being_run(tmp_path: Path) -> None:
    need("upx")
    program = compile_elf(tmp_path / "p", "-pie", source=PROGRAM % (tmp_path / "ran") + "const char big[] = {[90000] = 1};\n")
    subprocess.run(["upx", "-q", "-o", tmp_path / "packed", program], check=True, capture_output=True)
    assert trace(tmp_path / "packed") == trace(program)
    assert not (tmp_path / "ran").exists()


def test_what_does_not_start_is_none(tmp_path: Path) -> None:
    program = compile_elf(tmp_path / "p", "-pie", source=PROGRAM % "x")
    data = bytearray(program.read_bytes())
    data[18:20] = b"\xff\xff"
    (tmp_path / "foreign").write_bytes(data)
    (tmp_path / "foreign").chmod(0o755)
    assert trace(tmp_path / "foreign") is None
    assert trace(tmp_path / "missing") is None
