"""Make shared libraries that hold dead ranges between live ones, and compact them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.binaries.edits import EditedReader, Zero
from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_compact import CompactionPlan, plan_compaction
from hatch_mlbundle.binaries.elf_layout import write_outline
from hatch_mlbundle.binaries.elf_strip import Mode
from hatch_mlbundle.binaries.reader import Reader
from tests.elfmemory import same_memory
from tests.elfsmith import compile_elf

DEAD = 0xDD
KIB = 1 << 10
_FLAGS = {".rodata": "a", ".nv_fatbin": "a", ".text": "ax", ".data": "aw"}
_CODE = """
#include <stdlib.h>
__thread int local = 3;
static char filled[300000];
char *zeros(void) { return filled; }
int visible(int x) { return abs(x) * local + 4 * !getenv("A NAME THAT NOTHING HAS"); }
"""


def dead_source(sizes: Sequence[int], section: str = ".rodata", live: int = 100) -> str:
    """Return C in which `live0`, `live1` ... hold their number plus one, `live` times, and are followed each by so many dead bytes."""
    parts = [f'.section {section},"{_FLAGS[section]}",@progbits', ".balign 4096"]
    for number, size in enumerate(sizes):
        name = f"live{number}"
        parts += [f".globl {name}", f".type {name},@object", f".size {name},{live}", f"{name}: .fill {live},1,{number % 200 + 1}"]
        parts.append(f".fill {size},1,{DEAD}")
    lines = "\n".join(json.dumps(f"{part}\n") for part in [*parts, ".text"])
    return f"{_CODE}\n__asm__(\n{lines});\n"


def dead_library(target: Path, sizes: Sequence[int], *flags: str, section: str = ".rodata", live: int = 100, more: str = "") -> Path:
    """Compile such a library with gcc, with more C in it."""
    return compile_elf(target, *flags, source=dead_source(sizes, section, live) + more)


def dead_ranges(path: Path) -> list[Zero]:
    """Return the edits that zero each dead range of a file, found by its bytes."""
    return [Zero(found.start(), len(found[0])) for found in re.finditer(rb"\xdd{64,}", path.read_bytes())]


def read(path: Path) -> Elf:
    """Return the headers of a file."""
    with Reader(path) as reader:
        return read_elf(reader)


def edited(path: Path, edits: Sequence[Zero]) -> bytes:
    """Return the bytes of a file after the edits."""
    with Reader(path) as reader:
        whole = EditedReader(reader, edits)
        return b"".join(whole.chunks(0, whole.size, "file"))


@dataclass(frozen=True)
class Compacted:
    """A library, what it is without its dead ranges, and how that came about."""

    source: Path
    path: Path
    edits: list[Zero]
    plan: CompactionPlan


def plan_of(path: Path, edits: Sequence[Zero], mode: Mode | None = None) -> CompactionPlan | None:
    """Plan to take these ranges out."""
    with Reader(path) as reader:
        return plan_compaction(reader, read_elf(reader), [(edit.target, edit.target + edit.size) for edit in edits], mode)


def compact(path: Path, mode: Mode | None = None, name: str = "compacted") -> Compacted:
    """Take every dead range out of a library, and hold the result against our proof and against a loader's view of it."""
    edits = dead_ranges(path)
    plan = plan_of(path, edits, mode)
    assert plan is not None
    target = path.with_name(f"{name}-{path.name}")
    write_outline(path, target, plan.outline, edits)
    check_same_program(path, target, edits)
    assert same_memory(path, edited(path, edits), target)
    assert target.stat().st_size == path.stat().st_size - plan.saves
    return Compacted(path, target, edits, plan)


def run(*arguments: str | Path, seconds: float = 60) -> str:
    """Run a program that must succeed, and return what it prints."""
    result = subprocess.run(list(map(str, arguments)), check=False, capture_output=True, text=True, timeout=seconds)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr
