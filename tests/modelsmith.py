"""Models outside applications: their files, descriptors, a server that has them and counts, and a look at every byte of a store."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Model, ModelFile, text_of

FILES = {"config.json": b"{}", "weights/model.bin": random.Random(1).randbytes(300_000), "vocab.txt": b"a\nb\n"}


def model_of(files: Mapping[str, bytes] = FILES, name: str = "blip", **values: object) -> Model:
    """Return what a descriptor tells of a model with these files."""
    rows = tuple(ModelFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for path, data in files.items())
    settings: dict[str, object] = {"path": f"models/{name}", "mode": "download", "is_file": False, **values}
    return Model(name=name, files=rows, **settings)  # type: ignore[arg-type]


def write_model(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """Write a model's files."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def write_descriptor(folder: Path, *models: Model) -> Path:
    """Write a descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(text_of(models), encoding="utf-8")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wrong_files(store: Path, *models: Model) -> list[str]:
    """Read every byte of what has a name in a store, by what the models should be, and return what is wrong."""
    wrong = [path.name for path in (store / "blobs").glob("*") if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
    known = {model.digest: {file.path: file.sha256 for file in model.files} for model in models}
    for folder in [*(store / "ready").glob("*/*"), *(store / "partial").glob("*.files")]:
        digest = folder.stem if folder.parent.name == "partial" else folder.parent.name
        found = {path: hashlib.sha256(data).hexdigest() for path, data in files_of(folder).items()}
        is_whole = folder.parent.name != "partial"
        if not found.items() <= known[digest].items() or (is_whole and found != known[digest]):
            wrong.append(str(folder))
    return wrong


@dataclass
class Server:
    """A local server: files by path, how often each was asked for, seconds before each 64 kB of an answer."""

    address: str
    files: dict[str, bytes]
    delay: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    """Requests by path."""
    whole: Counter[str] = field(default_factory=Counter)
    """Answers by path that were sent to their end."""


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Server]:
    """Serve files over HTTP, with ranges, while the body runs."""
    served = Server("", dict(files))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            with lock:
                served.asked[path] += 1
            data = served.files.get(path)
            if data is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - first))
            self.end_headers()
            try:
                for at in range(first, len(data), 65536):
                    if served.delay:
                        stopped.wait(served.delay)
                    self.wfile.write(data[at : at + 65536])
            except OSError:
                return
            with lock:
                served.whole[path] += 1

        def log_message(self, *_: object) -> None:
            pass

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.address = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
