"""The fat binaries of an ELF file: what its sections hold."""

from __future__ import annotations

from hatch_mlbundle.errors import BinaryError

from .elf import Elf
from .fatbin import MOST_ENTRIES, SECTIONS, Container, read_containers
from .reader import RangeReader


def elf_containers(reader: RangeReader, elf: Elf) -> list[Container]:
    """Return the containers of all sections of fat binaries in their order, of a compacted file's pieces, too; none where it has none.

    Raises BinaryError where anything but containers and zero bytes lies in one of the sections.
    """
    found: list[Container] = []
    for section in elf.sections:
        if section.name in SECTIONS and section.filesz:
            found += read_containers(reader, section.offset, section.end)
        if sum(1 + len(each.entries) for each in found) > MOST_ENTRIES:
            raise BinaryError(f"{reader.path}: its GPU code has more than {MOST_ENTRIES} entries")
    return found
