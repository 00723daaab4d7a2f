"""Local web servers in threads: a good one, which a test may make a bad one of; certificates; a proxy."""

from __future__ import annotations

import contextlib
import hashlib
import re
import select
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

Handler: TypeAlias = BaseHTTPRequestHandler
Answer: TypeAlias = Callable[[Handler], None]


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that runs: its URL without a `/` at the end, and what it was asked for."""

    url: str
    asked: list[tuple[str, Message]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def headers(self) -> list[Message]:
        return [headers for _, headers in self.asked]


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients leave as they please."""


@contextlib.contextmanager
def serving(answer: Answer, certificate: Path | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """Run a server, whose every answer is made by `answer`; over TLS with a certificate and its key in one file."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers))
            answer(self)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    listener = _Threads((host, 0), Answering)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server = Server(url=f"{'https' if certificate else 'http'}://{'localhost' if certificate else host}:{listener.server_port}")
    with _running(listener):
        yield server


@contextlib.contextmanager
def _running(listener: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def reply(handler: Handler, status: int, headers: Mapping[str, object] | None = None, body: bytes = b"") -> None:
    """Send an answer; its length is said unless `headers` say something of their own (None: nothing)."""
    handler.send_response(status)
    for name, value in {"Content-Length": len(body), **(headers or {})}.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)


def files(contents: Mapping[str, bytes]) -> Answer:
    """Answer as a good server does: with ranges, on condition where it is asked so, and a strong validator."""

    def answer(handler: Handler) -> None:
        body = contents.get(handler.path)
        if body is None:
            return reply(handler, 404)
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        if wanted is None or handler.headers["If-Range"] not in (None, tag):
            return reply(handler, 200, {"ETag": tag}, body)
        start = int(wanted[1])
        if start >= len(body):
            return reply(handler, 416, {"Content-Range": f"bytes */{len(body)}"})
        return reply(handler, 206, {"ETag": tag, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}, body[start:])

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Answer each request by the next of these, and all later ones by the last."""
    waiting = list(answers)

    def answer(handler: Handler) -> None:
        (waiting.pop(0) if len(waiting) > 1 else waiting[0])(handler)

    return answer


def authority(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Make a certificate for a host that vouches for itself: with its key in one file, and alone in another."""
    key, certificate, both = folder / f"{name}.key", folder / f"{name}.crt", folder / f"{name}.pem"
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command = ["openssl", "req", *made, "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both, certificate


@contextlib.contextmanager
def proxying(refuse: bool = False) -> Iterator[Server]:
    """Run a proxy for http (GET with a whole URL) and https (CONNECT), which writes down what it was asked for."""

    class Proxy(BaseHTTPRequestHandler):
        timeout = 10

        def do_CONNECT(self) -> None:
            server.asked.append((self.path, self.headers))
            if refuse:
                return self.send_error(407)
            host, _, port = self.path.partition(":")
            with socket.create_connection((host, int(port)), 10) as there:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _carry(self.connection, there)
            return None

        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers))
            host, _, rest = self.path.removeprefix("http://").partition("/")
            name, _, port = host.partition(":")
            lines = [f"GET /{rest} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]
            with socket.create_connection((name, int(port)), 10) as there:
                there.sendall("\r\n".join(lines).encode())
                _carry(self.connection, there)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    listener = _Threads(("127.0.0.1", 0), Proxy)
    server = Server(url=f"http://127.0.0.1:{listener.server_port}")
    with _running(listener):
        yield server


def _carry(here: socket.socket, there: socket.socket) -> None:
    """Pass bytes both ways until either ends."""
    other = {here: there, there: here}
    while ready := select.select([here, there], [], [], 10)[0]:
        for each in ready:
            data = each.recv(1 << 16)
            if not data:
                return
            other[each].sendall(data)
