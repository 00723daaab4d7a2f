"""What glibc makes of a library in memory, told anew from its source (elf/dl-map-segments.h): what our proof says is held against this."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
MOST = 64 << 20


@dataclass(frozen=True)
class Memory:
    """Bytes from the first page on, and for each page what may be done with it (1 execute, 2 write, 4 read; None: not mapped)."""

    data: bytes
    pages: tuple[int | None, ...]


def load(path: Path, page: int = PAGE, content: bytes | None = None) -> Memory:
    """Map the PT_LOADs of a file, or of other content under its headers, as glibc does; raises ValueError where it would not."""
    file = path.read_bytes()
    content = file if content is None else content
    loads = [each for each in program_headers(file) if each[0] == 1]
    for _, _, offset, address, _, _, align in loads:
        if align % page or (address - offset) % align:
            raise ValueError("not page-aligned")
    first = loads[0][3] // page * page
    size = -(-max(address + memsz for _, _, _, address, _, memsz, _ in loads) // page) * page - first
    if not 0 < size <= MOST:
        raise ValueError("too large")
    data, pages = bytearray(size), [None] * (size // page)
    for _, flags, offset, address, filesz, memsz, _ in loads:
        start, end = address // page * page, -(-(address + filesz) // page) * page
        at, file_at = start - first, offset // page * page
        if end > start:
            piece = content[file_at : file_at + end - start]
            data[at : at + end - start] = piece + bytes(end - start - len(piece))
            pages[at // page : (end - first) // page] = [flags] * ((end - start) // page)
        if memsz > filesz:
            zero, zero_end = address + filesz - first, address + memsz - first
            data[zero:zero_end] = bytes(zero_end - zero)
            zero_page, last = -(-zero // page), -(-zero_end // page)
            pages[zero_page:last] = [flags] * (last - zero_page)
    return Memory(bytes(data), tuple(pages))


def program_headers(file: bytes) -> list[tuple[int, ...]]:
    """Return type, flags, offset, address, size in the file and in memory, and alignment of each."""
    order = "<" if file[5] == 1 else ">"
    wide = file[4] == 2
    at = struct.unpack_from(order + ("Q" if wide else "I"), file, 32 if wide else 28)[0]
    count = struct.unpack_from(order + "H", file, 56 if wide else 44)[0]
    record = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
    found = []
    for number in range(count):
        fields = record.unpack_from(file, at + number * record.size)
        if wide:
            kind, flags, offset, address, _, filesz, memsz, align = fields
        else:
            kind, offset, address, _, filesz, memsz, flags, align = fields
        found.append((kind, flags, offset, address, filesz, memsz, align))
    return found


def same_memory(original: Path, edited: bytes, result: Path, page: int = PAGE) -> bool:
    """Say whether the result is in memory what the edited original is; but for file header, program headers, and less to execute."""
    before, after = load(original, page, edited), load(result, page)
    file = original.read_bytes()
    loads = [each for each in program_headers(file) if each[0] == 1]
    first = loads[0][3] // page * page
    table = _table(file)
    for _, _, offset, address, filesz, memsz, _ in loads:
        if (offset, offset + filesz) == table:
            continue
        start, end = address - first, address - first + memsz
        old, new = bytearray(before.data[start:end]), bytearray(after.data[start:end])
        for low, high in ((0, 64), table):
            for at in range(max(low - offset, 0), min(high - offset, filesz)):
                old[at] = new[at] = 0
        if old != new:
            return False
        for number in range(start // page, -(-end // page)):
            one, other = before.pages[number], after.pages[number]
            if one is None or other is None or one | 1 != other | 1:
                return False
    return True


def _table(file: bytes) -> tuple[int, int]:
    order, wide = "<" if file[5] == 1 else ">", file[4] == 2
    start = struct.unpack_from(order + ("Q" if wide else "I"), file, 32 if wide else 28)[0]
    return start, start + len(program_headers(file)) * (56 if wide else 32)
