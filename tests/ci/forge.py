"""A small server on this machine that stands for a forge's REST API: it keeps comments, gives pages of them, and records requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Forge:
    """What the server knows: whose token it is given, comments, files by path, the status to refuse a method with, addresses elsewhere."""

    url: str = ""
    login: str = "github-actions[bot]"
    user: int = 8
    comments: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    refusal: dict[str, str] = field(default_factory=dict)
    """Headers of an answer that refuses, and its `message`."""
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)

    def methods(self) -> list[str]:
        return [method for method, *_ in self.requests]


class _Handler(BaseHTTPRequestHandler):
    forge: Forge

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        forge, method = self.forge, self.command
        forge.requests.append((method, self.path, dict(self.headers.items()), body))
        if method in forge.refused:
            message = forge.refusal.get("message", "refused")
            self._send(forge.refused[method], json.dumps({"message": message}).encode(), **forge.refusal)
        elif self.path == "/graphql":
            self._send(200, json.dumps({"data": {"viewer": {"login": forge.login}}}).encode())
        elif self.path.endswith("/user"):
            self._send(200, json.dumps({"id": forge.user}).encode())
        elif method != "GET":
            self._write(method, json.loads(body)["body"])
        elif self.path in forge.elsewhere:
            self._send(302, b"", Location=forge.elsewhere[self.path])
        elif self.path in forge.files:
            self._send(200, forge.files[self.path])
        elif "/comments" in self.path or "/notes" in self.path:
            query = {name: int(value[0]) for name, value in parse_qs(urlsplit(self.path).query).items()}
            start = (query.get("page", 1) - 1) * query.get("per_page", 30)
            self._send(200, json.dumps(forge.comments[start : start + query.get("per_page", 30)]).encode())
        else:
            self._send(404, b'{"message": "Not Found"}')

    do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815

    def _write(self, method: str, text: str) -> None:
        if method == "POST":
            number = 1_000 + len(self.forge.comments)
            self.forge.comments.append({"id": number, "body": text, "user": {"login": self.forge.login}, "author": {"id": self.forge.user}})
            self._send(201, b"{}")
            return
        (former,) = (each for each in self.forge.comments if str(each["id"]) == self.path.rpartition("/")[2])
        former["body"] = text
        self._send(200, b"{}")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Forge]:
    """Give a forge that answers at its `url` until the body ends."""
    forge = Forge()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"forge": forge}))
    forge.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
