"""Tell what a file is: by its first bytes for binaries and archives, by its name for the rest."""

from __future__ import annotations

import struct

from .model import Kind
from .runtime.machine.statements import is_statement

HEAD = 512
"""Bytes from a file's start that `identify` wants to see."""

_MACHO_MAGICS = frozenset({b"\xfe\xed\xfa\xce", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbf"})
_MAGICS = (
    (b"\x7fELF", Kind.ELF),
    (b"!<arch>\n", Kind.STATIC_LIBRARY),
    (b"!<thin>\n", Kind.STATIC_LIBRARY),
    (b"GGUF", Kind.MODEL),
    (b"\x89HDF\r\n\x1a\n", Kind.DATA),
    (b"\x89PNG\r\n\x1a\n", Kind.IMAGE),
    (b"\xff\xd8\xff", Kind.IMAGE),
    (b"\x1f\x8b", Kind.ARCHIVE),
    (b"BZh", Kind.ARCHIVE),
    (b"\xfd7zXZ\x00", Kind.ARCHIVE),
    (b"\x28\xb5\x2f\xfd", Kind.ARCHIVE),
)
_NAMES = {
    Kind.PYTHON: ".py .pyw",
    Kind.BYTECODE: ".pyc .pyo",
    Kind.TYPE_STUB: ".pyi",
    Kind.SOURCE: ".c .cc .cpp .cxx .pyx .pxd .pxi .f .f90 .for .rs .go .cu .s .asm .m .mm",
    Kind.HEADER: ".h .hh .hpp .hxx .cuh .inc .ipp .tcc .mod",
    Kind.BUILD: ".cmake .pc .in .build .la",
    Kind.MODEL: ".safetensors .onnx .pt .pth .gguf .ggml .tflite .keras .ckpt .joblib .torchscript .mlmodel",
    Kind.ARCHIVE: ".zip .gz .bz2 .xz .zst .tar .tgz .whl .egg .jar",
    Kind.STATIC_LIBRARY: ".a .lib",
    Kind.IMAGE: ".png .jpg .jpeg .gif .svg .ico .webp",
    Kind.TEXT: ".md .rst .txt .html .css .js",
    Kind.DATA: ".json .yaml .yml .toml .xml .csv .npy .npz .pkl .dat .bin .h5 .mat .parquet .sql",
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _NAMES.items() for suffix in suffixes.split()}
_ANYTHING = frozenset({".bin", ".dat"})
"""Suffixes of files that may as well be models, archives or programs."""


def identify(path: str, head: bytes) -> Kind:
    """Return the kind of the file at `path` (relative, with `/`) that begins with `head` (`HEAD` bytes, or all it has)."""
    return _by_magic(head) or _by_name(path) or Kind.OTHER


def identify_by_name(path: str) -> Kind | None:
    """Return the kind that a file's name tells, None where only its bytes do: it has no suffix, an unknown one, or one for anything."""
    kind = _by_name(path)
    return None if kind is Kind.DATA and _suffix(path) in _ANYTHING else kind


def _by_name(path: str) -> Kind | None:
    if ".dist-info/" in path or ".egg-info/" in path or is_statement(path):
        return Kind.METADATA
    return _BY_SUFFIX.get(_suffix(path))


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    place = name.rfind(".")
    return name[place:].lower() if 0 < place < len(name) - 1 else ""


def _by_magic(head: bytes) -> Kind | None:
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if head[:4] in _MACHO_MAGICS or _is_universal_macho(head):
        return Kind.MACHO
    if _is_pe(head):
        return Kind.PE
    return None


def _is_universal_macho(head: bytes) -> bool:
    """Java class files share the magic CAFEBABE; where they have a version (45 and up), Mach-O has a count of architectures."""
    return head[:4] == b"\xca\xfe\xba\xbe" and len(head) >= 8 and 0 < int.from_bytes(head[4:8], "big") < 40


def _is_pe(head: bytes) -> bool:
    if head[:2] != b"MZ" or len(head) < 64:
        return False
    (offset,) = struct.unpack_from("<I", head, 60)
    return bool(head[offset : offset + 4] == b"PE\0\0")
