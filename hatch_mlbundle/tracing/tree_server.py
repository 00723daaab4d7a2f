"""Run by frozen.py as a process of its own: make a tree of links and copies, and remove it once standard input ends.

So the tree is made and removed while mlbundle does something else, and it goes even when mlbundle is killed. Standard input holds one
line, the request; the answer is one line on standard output, `{}` or what went wrong. Both are JSON. It imports the standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
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
            _fill(request["source"], request["target"], request)
        except OSError as error:
            answer = {"errno": error.errno, "problem": error.strerror, "path": error.filename}
        with suppress(BrokenPipeError):
            os.write(1, json.dumps(answer).encode() + b"\n")
        sys.stdin.read()
    finally:
        shutil.rmtree(request["place"], ignore_errors=True)


def _fill(source: str, target: str, request: dict[str, Any]) -> None:
    os.mkdir(target)
    for path in request["folders"]:
        os.mkdir(f"{target}/{path}")
    for path in request["links"]:
        os.symlink(os.readlink(f"{source}/{path}"), f"{target}/{path}")
    for path in request["shared"]:
        if not _link(f"{source}/{path}", f"{target}/{path}"):
            _copy(f"{source}/{path}", f"{target}/{path}")
    for path in request["copied"]:
        _copy(f"{source}/{path}", f"{target}/{path}")


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
