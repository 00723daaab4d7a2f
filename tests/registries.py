"""A registry of container images (docker-registry, of the distribution project) that runs as long as a test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_registry = pytest.mark.skipif(not shutil.which("docker-registry"), reason="needs docker-registry")


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Serve an empty registry from a folder; the value is its `HOST:PORT`, without TLS."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "registry.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\nhttp: {{addr: '{host}'}}\n")
    with (folder / "registry.log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        _wait_for(f"http://{host}/v2/", server)
        yield host
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            assert server.poll() is None, "the registry ended"
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")
