"""Have code unmarshalled in processes of its own: ten times as fast as reading it here, and a crash there harms nobody.

`marshal.loads` may crash on hostile data; nothing that it makes is ever run. Only code of this very Python can be read so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeAlias

from .optimizer import Json

RELEASE = 100 * sys.version_info[0] + sys.version_info[1]
"""This Python's release, as executables that PyInstaller made give theirs: 3.11 is 311."""

_Server: TypeAlias = "subprocess.Popen[bytes]"


class Unmarshaller:
    """Servers (unmarshal_server.py), one for each thread that asks at the same time."""

    def __init__(self) -> None:
        self._idle: SimpleQueue[_Server] = SimpleQueue()

    def needs(self, data: bytes) -> Json:
        """Return what `opcodes.needs_of` says of marshalled code, None where the server could not read it, or died."""
        try:
            server = self._idle.get_nowait()
        except Empty:
            server = _start()
        try:
            said = _ask(server, data)
        except OSError:
            _stop(server)
            return None
        self._idle.put(server)
        return json.loads(said)

    def close(self) -> None:
        """Stop the servers."""
        with suppress(Empty):
            while True:
                _stop(self._idle.get_nowait())


@contextmanager
def unmarshaller(release: int | None) -> Iterator[Unmarshaller | None]:
    """Give an Unmarshaller where code of a release of Python can be unmarshalled here, else None."""
    if release != RELEASE:
        yield None
        return
    made = Unmarshaller()
    try:
        yield made
    finally:
        made.close()


def _start() -> _Server:
    script = Path(__file__).with_name("unmarshal_server.py")
    return subprocess.Popen([sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _ask(server: _Server, data: bytes) -> bytes:
    """Return a server's answer; raises OSError where there is none."""
    if server.stdin is None or server.stdout is None:
        raise BrokenPipeError("no pipes")
    server.stdin.write(len(data).to_bytes(4, "little") + data)
    server.stdin.flush()
    head = server.stdout.read(4)
    said = server.stdout.read(int.from_bytes(head, "little"))
    if len(head) < 4 or len(said) < int.from_bytes(head, "little"):
        raise BrokenPipeError("the server died")
    return said


def _stop(server: _Server) -> None:
    server.kill()
    with suppress(OSError):
        server.communicate()
