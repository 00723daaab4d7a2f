"""The dynamic loader and the C library of this machine: what every application may take for granted."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError

from .mounts import Mount

_GLIBC = re.compile(
    r"(?:libc|libm|libmvec|libdl|libpthread|librt|libresolv|libutil|libanl|libBrokenLocale|libthread_db"
    r"|libnss_(?:files|dns|compat|hesiod|db))\.so\.\d+|libnsl\.so\.1"
)
"""What glibc itself installs for programs to run (its manual, "Installation", and Makefiles); libnss_systemd and others are not its own."""

_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib64/ld64.so.2", "/lib/ld-linux-armhf.so.3", "/lib/ld64.so.1")
"""Where programs expect the loader (the processors' ABI supplements), should this Python not tell."""

FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
"""Where glibc's loader looks by default (ld.so(8))."""

_LOCALES = tuple(f"{folder}/locale/C.{name}" for folder in ("/usr/lib", "/usr/lib64") for name in ("utf8", "UTF-8"))


def is_of_c_library(name: str) -> bool:
    """Say whether a library, by the name that others need it by, is the loader or of the C library."""
    return _GLIBC.fullmatch(name) is not None or name.startswith(("ld-linux", "ld64.so", "ld-musl-", "libc.musl-"))


@lru_cache
def c_library_folder() -> Path:
    """Return the folder that the C library is in, which the loader searches without being told."""
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            path = line.rpartition(" ")[2]
            if re.fullmatch(r"(?:libc\.so\.6|libc-2\.\d+\.so|ld-musl-.*)", os.path.basename(path)):  # noqa: PTH119  # of text, no path yet
                return Path(path).parent
    return next((Path(folder) for folder in FOLDERS if Path(folder, "libc.so.6").exists()), Path("/lib"))


def c_library_mounts() -> list[Mount]:
    """Return the loader, the C library's own libraries, and the one locale that every system has."""
    found = [Path(loader) for loader in _loaders()]
    folder = c_library_folder()
    found += sorted(path for path in folder.iterdir() if is_of_c_library(path.name))
    found += [Path(locale) for locale in _LOCALES]
    return [Mount(source=path.resolve(), target=path) for path in dict.fromkeys(found) if path.exists()]


def _loaders() -> Iterator[str]:
    """Yield where programs of this machine's kind expect the loader."""
    with suppress(OSError, BinaryError), Reader(Path(sys.executable).resolve()) as reader:
        for segment in read_elf(reader).segments:
            if segment.type == fmt.PT_INTERP:
                yield reader.read(segment.offset, segment.filesz, "interpreter").rstrip(b"\0").decode()
    yield from _LOADERS
