"""Make shared libraries with GPU code: real ones, by gcc, around fat binaries of payloads that are none."""

from __future__ import annotations

import random
from pathlib import Path

from tests.elfsmith import Code, compile_elf, fatbin

ARCHITECTURES = (70, 75, 80, 86, 90)
PAYLOAD = 40_000
"""Bytes: several pages, on systems with pages of 4 and of 16 KiB."""

_SOURCE = """
#include <stddef.h>
#include <string.h>
__asm__(".section .nv_fatbin,\\"a\\",@progbits\\n.balign 8\\n.globl fatbins\\n.hidden fatbins\\nfatbins:\\n.incbin \\"%s\\"\\n"
        ".globl fatbins_end\\n.hidden fatbins_end\\nfatbins_end:\\n.previous\\n");
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
    fatbins = target.with_name(f"{target.name}.fatbin")
    fatbins.write_bytes(containers(*ARCHITECTURES) if data is None else data)
    compile_elf(target, "-O1", *flags, source=_SOURCE % fatbins)
    fatbins.unlink()
    target.with_name(f"{target.name}.c").unlink()
    return target
