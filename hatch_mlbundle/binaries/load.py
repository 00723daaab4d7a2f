"""Tell whether a native library loads on this machine, without risking the process that asks."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

from hatch_mlbundle.errors import UnsoundResultError, without_path
from hatch_mlbundle.identify import identify
from hatch_mlbundle.model import Kind

_SERVER = Path(__file__).with_name("load_server.py")
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
"""What a library may need to find its neighbours; the rest, tokens among it, is no business of its constructors."""
_GRACE = 15.0
_AT_ONCE = 1 << 10
"""More than there are threads that ask."""


class LoadStatus(str, Enum):
    """How an attempt to load a library ended."""

    LOADS = "loads"
    DOES_NOT_LOAD = "does not load"
    CRASHES = "crashes"
    NOT_FOR_THIS_HOST = "not for this host"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome: `detail` is the linker's message, the signal, or empty; `lazily` says that some symbols are missing."""

    status: LoadStatus
    detail: str = ""
    lazily: bool = False


@final
class Loader:
    """Loads libraries in forks of small processes, which it starts as they are needed; a context manager, safe for threads.

    At most `at_once` are loaded at the same time, whoever asks: a library takes memory with all that it needs, torch's half a gigabyte.
    A load that takes more than `seconds` counts as a crash. Where there is no `fork` (Windows), or the file is for another
    kind of machine, the outcome is NOT_FOR_THIS_HOST: it cannot tell.
    """

    def __init__(self, seconds: float = 60.0, *, at_once: int = _AT_ONCE) -> None:
        self._seconds = seconds
        self._room = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._idle: list[_Server] = []
        self._all: list[_Server] = []
        self._finalizer = weakref.finalize(self, _stop, self._all)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; they end by themselves, too, when this one does."""
        with self._lock:
            self._idle.clear()
            _stop(self._all)

    def loads(self, path: Path) -> Loaded:
        """Try to load the library at `path`, with all symbols bound at once or, failing that, lazily."""
        if not _is_for_this_host(path):
            return Loaded(LoadStatus.NOT_FOR_THIS_HOST, "cannot tell on this machine")
        with self._room:
            server = self._take()
            answer = server.ask(path, self._seconds)
            if answer is None:
                self._discard(server)
                return Loaded(LoadStatus.CRASHES, "the process that loaded it was killed")
            with self._lock:
                self._idle.append(server)
            return answer

    def _take(self) -> _Server:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            server = _Server()
            self._all.append(server)
            return server

    def _discard(self, server: _Server) -> None:
        server.stop()
        with self._lock:
            if server in self._all:
                self._all.remove(server)


def check_still_loads(loader: Loader, original: Path, result: Path) -> None:
    """Load a rewritten library; raises UnsoundResultError where that does not go as well as it does with the original."""
    after = loader.loads(result)
    if after.status is LoadStatus.LOADS and not after.lazily:
        return
    before = loader.loads(original)
    if before.status is LoadStatus.LOADS and (after.status, after.lazily) != (before.status, before.lazily):
        detail = without_path(after.detail, result)
        raise UnsoundResultError(f"it no longer loads, as the original does ({after.status.value}): {detail}")


class _Server:
    """One process that answers one request at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SERVER)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
            env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        )

    def ask(self, path: Path, seconds: float) -> Loaded | None:
        """Return the answer, None where the process is gone or does not answer in time."""
        request, reply = self._process.stdin, self._process.stdout
        if request is None or reply is None:
            return None
        try:
            request.write(f"{seconds} {os.fsencode(path.absolute()).hex()}\n".encode())
            if not select.select([reply], [], [], seconds + _GRACE)[0]:
                return None
            word, _, text = reply.readline().decode().strip().partition(" ")
        except (OSError, ValueError):
            return None
        return _outcome(word, bytes.fromhex(text).decode(errors="replace"))

    def stop(self) -> None:
        """End the process, and wait for it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.kill()
        self._process.wait()


def _outcome(word: str, detail: str) -> Loaded | None:
    status = {
        "now": LoadStatus.LOADS,
        "lazy": LoadStatus.LOADS,
        "error": LoadStatus.DOES_NOT_LOAD,
        "crash": LoadStatus.CRASHES,
    }.get(word)
    return None if status is None else Loaded(status, detail, lazily=word == "lazy")


def _stop(servers: list[_Server]) -> None:
    while servers:
        servers.pop().stop()


def _is_for_this_host(path: Path) -> bool:
    if not hasattr(os, "fork"):
        return False
    head = _head(path)
    if sys.platform == "darwin":
        return identify(path.name, head) is Kind.MACHO
    return _machine(head) == _machine(_head(Path(sys.executable)))


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(64)


def _machine(head: bytes) -> tuple[bytes, bytes] | None:
    """Return word size with byte order, and e_machine, of an ELF file."""
    return (head[:6], head[18:20]) if head.startswith(b"\x7fELF") else None
