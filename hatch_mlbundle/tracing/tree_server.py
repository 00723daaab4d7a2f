"""Run by frozen.py as a process of its own: make a tree of links and copies, and remove it once standard input ends.

So the tree is made and removed while mlbundle does something else, and it goes even when mlbundle is killed. Standard input holds one
line, the request; the answer is one line on standard output, `{}` or what went wrong. Both are JSON. It imports the standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def main() -> None:
    """Serve the one request there is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end of standard input tells
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        answer: dict[str, Any] = {}
        try:
            _fill(request["source"], request["target"], re.compile(request["shared"]).fullmatch, request["but"])
        except OSError as error:
            answer = {"errno": error.errno, "problem": error.strerror, "path": error.filename}
        with suppress(BrokenPipeError):
            os.write(1, json.dumps(answer).encode() + b"\n")
        sys.stdin.read()
    finally:
        shutil.rmtree(request["place"], ignore_errors=True)


def _fill(source: str, target: str, is_shared: Callable[[str], object], but: str = "") -> None:
    """Fill a new folder with what is in another one but for one name; files whose names are shared become hard links."""
    os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            new = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), new)
            elif entry.is_dir():
                _fill(entry.path, new, is_shared)
            elif entry.name != but and not (is_shared(entry.path) and _link(entry.path, new)):
                _copy(entry.path, new)


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _copy(source: str, target: str) -> None:
    """Copy a file with its mode and times; in the kernel, which shares the bytes where the file system can."""
    with open(source, "rb", buffering=0) as read, open(target, "xb", buffering=0) as written:
        status = os.fstat(read.fileno())
        left = status.st_size
        with suppress(OSError, AttributeError):
            while left > 0 and (done := os.copy_file_range(read.fileno(), written.fileno(), left)):
                left -= done
        if left > 0:
            shutil.copyfileobj(read, written)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


if __name__ == "__main__":
    main()
