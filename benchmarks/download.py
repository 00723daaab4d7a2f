"""Fetch a file of some GB from a local nginx, and let curl do it: medians of five, in turn, each to the same disk.

    python benchmarks/download.py [GB] [FOLDER]

needs nginx (`apt-get install nginx-light`) and curl. A fetch hashes what it receives and brings it to the disk before it returns. curl does
neither, so each of its times is shown by itself, too: as it is; with `sync` of the file; and through `tee` to sha256sum, with `sync`. What
is compared is the fetch with curl and `sync`; the ratio to plain curl, which leaves the file in memory, is printed as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import Run, describe_machine, row, run

ROUNDS = 5
WIDTHS = (44, 10, 12, 12)
LEAST = 0.9
MOST_MEMORY = 30_000_000
ROOT = Path(__file__).parents[1]
FETCH = """
import os, sys
from hatch_mlbundle.runtime.models.descriptor import ModelFile
from hatch_mlbundle.runtime.models.fetch import fetch
url, size, sha256, target = sys.argv[1:]
fetch(ModelFile(path="file", size=int(size), sha256=sha256), [url], os.open(target, os.O_RDWR | os.O_CREAT, 0o600), lambda count: None)
"""
SETTINGS = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t;
  scgi_temp_path {folder}/t;
  server {{ listen 127.0.0.1:{port}; root {folder}/served; }}
}}
"""


def main() -> int:
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 2) * 1e9)
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name, serving(Path(name), size) as (url, sha256):
        target = Path(name) / "target"
        commands = {
            "curl": f"curl -sfo {target} {url}",
            "curl, then sync": f"curl -sfo {target} {url} && sync {target}",
            "curl | tee | sha256sum, then sync": f"curl -sf {url} | tee {target} | sha256sum && sync {target}",
        }
        runs: dict[str, list[Run]] = {what: [] for what in [*commands, "fetch"]}
        for _ in range(ROUNDS):
            for what, command in commands.items():
                runs[what].append(timed(["sh", "-c", command], target))
            runs["fetch"].append(timed([sys.executable, "-c", FETCH, url, str(size), sha256, str(target)], target))
    return show(runs, size)


def timed(command: list[str], target: Path) -> Run:
    """Run a command with nothing left to write to the disk from before."""
    target.unlink(missing_ok=True)
    os.sync()
    return run(command, env={"PYTHONPATH": str(ROOT), "no_proxy": "*"})


def show(runs: dict[str, list[Run]], size: int) -> int:
    print(f"{describe_machine()}; {size / 1e9:.1f} GB from nginx on the same machine, medians of {ROUNDS}")
    print(row("", "s", "MB/s", "memory, MB", widths=WIDTHS))
    medians = {what: statistics.median(each.seconds for each in those) for what, those in runs.items()}
    for what, seconds in medians.items():
        peak = max(each.peak for each in runs[what])
        print(row(what, f"{seconds:.2f}", f"{size / seconds / 1e6:.0f}", f"{peak / 1e6:.1f}", widths=WIDTHS))
    ratios = {what: seconds / medians["fetch"] for what, seconds in medians.items() if what != "fetch"}
    print("fetch's speed: " + ", ".join(f"{100 * ratio:.0f} % of {what}" for what, ratio in ratios.items()))
    peak = max(each.peak for each in runs["fetch"])
    print(f"limits: {100 * LEAST:.0f} % of curl, then sync; {MOST_MEMORY / 1e6:.0f} MB")
    return int(ratios["curl, then sync"] < LEAST or peak > MOST_MEMORY)


@contextlib.contextmanager
def serving(folder: Path, size: int) -> Iterator[tuple[str, str]]:
    """Serve a random file, and give its URL and its SHA-256."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx:
        sys.exit("nginx is missing: apt-get install nginx-light")
    (folder / "served").mkdir()
    folder.chmod(0o755)
    digest = hashlib.sha256()
    with (folder / "served/file").open("wb") as file:
        for start in range(0, size, 1 << 20):
            block = os.urandom(min(1 << 20, size - start))
            digest.update(block)
            file.write(block)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (folder / "nginx.conf").write_text(SETTINGS.format(folder=folder, port=port))
    with subprocess.Popen([nginx, "-p", folder, "-c", folder / "nginx.conf"]) as server:
        try:
            time.sleep(1)
            yield f"http://127.0.0.1:{port}/file", digest.hexdigest()
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
