from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_strip import Mode
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.binaries.strip_tools import Tool, elf_program, foreign_program, strip_elf
from hatch_mlbundle.errors import MissingProgramError, ProgramError
from hatch_mlbundle.model import Kind
from hatch_mlbundle.programs import Program
from tests.elfsmith import compile_elf, need

PROGRAMS: list[tuple[Tool, str]] = [("binutils", "strip"), ("llvm", "llvm-strip"), ("elfutils", "eu-strip")]


def names(path: Path) -> set[str]:
    with Reader(path) as reader:
        return {section.name for section in read_elf(reader).sections}


@pytest.mark.parametrize(("tool", "program"), PROGRAMS)
@pytest.mark.parametrize("mode", ["all", "debug"])
def test_each_tool_leaves_what_it_must(tmp_path: Path, tool: Tool, program: str, mode: Mode) -> None:
    need(program, "objcopy")
    path = compile_elf(tmp_path / "program", "-pie", source="int main(void) { return 0; }")
    (tmp_path / "payload").write_bytes(b"modules" * 100)
    subprocess.run(["objcopy", "--add-section", f"pydata={tmp_path / 'payload'}", str(path)], check=True)
    path.chmod(0o750)
    before = path.read_bytes()
    strip_elf(elf_program(tool), path, tmp_path / "target", mode)
    check_same_program(path, tmp_path / "target")
    assert path.read_bytes() == before
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o750
    assert ".debug_info" not in names(tmp_path / "target")
    assert (".symtab" in names(tmp_path / "target")) == (mode == "debug")


@pytest.mark.parametrize(("tool", "program"), PROGRAMS)
def test_a_missing_tool_is_named_with_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool, program: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=rf'{program}: .*strip.tool = "{tool}"'):
        elf_program(tool)
    assert foreign_program(Kind.PE) is None
    assert foreign_program(Kind.MACHO) is None


def test_a_result_that_is_no_smaller_is_dropped(tmp_path: Path) -> None:
    need("strip")
    path = compile_elf(tmp_path / "libx.so", "-s")
    subprocess.run(["strip", str(path)], check=True)
    strip_elf(elf_program("binutils"), path, tmp_path / "target", "all")
    assert not (tmp_path / "target").exists()


def test_an_empty_result_is_a_failure(tmp_path: Path) -> None:
    script = tmp_path / "strip"
    script.write_text('#!/bin/sh\n: > "$3"\n')
    script.chmod(0o755)
    path = compile_elf(tmp_path / "libx.so")
    with pytest.raises(ProgramError, match="empty file"):
        strip_elf(Program("strip", script), path, tmp_path / "target", "all")
    assert not (tmp_path / "target").exists()
