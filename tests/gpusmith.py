"""Make shared libraries with GPU code: real ones, by gcc, around fat binaries of payloads that are none."""

from __future__ import annotations

import random
from pathlib import Path

from tests.elfsmith import Code, compile_elf, fatbin
from tests.fatbinsmith import wrapper_assembly

ARCHITECTURES = (70, 75, 80, 86, 90)
PAYLOAD = 40_000
"""Bytes: several pages, on systems with pages of 4 and of 16 KiB."""

_ASSEMBLY = """.section .nv_fatbin,"a",@progbits
.balign 8
.globl fatbins, fatbins_end
.hidden fatbins, fatbins_end
fatbins:
.incbin "%s"
fatbins_end:
.previous
"""
_SOURCE = """
#include <stddef.h>
#include <string.h>
__asm__(".include \\"%s\\"");
extern const unsigned char fatbins[], fatbins_end[];
static int counted = 7;
size_t nonzero(void) {
    size_t sum = 0;
    for (const unsigned char *at = fatbins; at < fatbins_end; at++) sum += *at != 0;
    return sum;
}
int answer(const char *text) { return counted * (int)strlen(text); }
"""


def payload(seed: int, size: int = PAYLOAD) -> bytes:
    """Return bytes that nothing compresses, none of them zero."""
    return bytes(random.Random(seed).choices(range(1, 256), k=size))


def containers(*architectures: int, count: int = 2, size: int = PAYLOAD, kind: int = 2) -> bytes:
    """Return fat binaries with an entry for each of the architectures."""
    return b"".join(
        fatbin(*(Code(each, payload(1000 * number + each, size), kind=kind) for each in architectures)) for number in range(count)
    )


def gpu_library(target: Path, data: bytes | None = None, *flags: str) -> Path:
    """Compile a library for glibc that holds these fat binaries, by default with code for five architectures."""
    data = containers(*ARCHITECTURES) if data is None else data
    fatbins, assembly, source = (target.with_name(f"{target.name}{suffix}") for suffix in (".fatbin", ".s", ".c"))
    fatbins.write_bytes(data)
    symbols = "".join(f".set a_symbol_with_quite_a_long_name_{number}, fatbins\n" for number in range(200))
    assembly.write_text(_ASSEMBLY % fatbins + wrapper_assembly(data) + symbols)
    compile_elf(target, "-O1", *flags, source=_SOURCE % assembly)
    for path in (fatbins, assembly, source):
        path.unlink()
    return target
