"""Run by frozen.py as a process of its own: make a tree of links and copies, and remove it once standard input ends.

So the tree is made and removed while mlbundle does something else, and it goes even when mlbundle is killed. Standard input holds one
line, the request; the answer is one line on standard output, `{}` or what went wrong. Both are JSON. It imports the standard library only.
"""

from __future__ import annotations

import json
import os
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
            _fill(request["source"], request["target"], tuple(request["shared"]), request["but"])
        except OSError as error:
            answer = {"errno": error.errno, "problem": error.strerror, "path": error.filename}
        with suppress(BrokenPipeError):
            os.write(1, json.dumps(answer).encode() + b"\n")
        sys.stdin.read()
    finally:
        _remove(request["place"])


def _fill(source: str, target: str, shared: tuple[str, ...], but: str = "") -> None:
    """Fill a new folder with what is in another one but for one name; files whose names end in one of `shared` become hard links."""
    os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            new = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), new)
            elif entry.is_dir():
                _fill(entry.path, new, shared)
            elif entry.name != but and not (_is_shared(entry.path, shared) and _link(entry.path, new)):
                _copy(entry.path, new)


def _is_shared(path: str, shared: tuple[str, ...]) -> bool:
    return path.rstrip("0123456789.").endswith(shared) or ".dist-info/" in path


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
        while left > 0 and (piece := read.read(1 << 20)):
            written.write(piece)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove(folder: str) -> None:
    """Remove a folder that is ours with all that is in it, as far as that can be done: whoever asked for it looks after the rest."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(folder)


if __name__ == "__main__":
    main()
