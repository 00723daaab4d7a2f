"""Analyze a container image of gigabytes, and read the same archive with the system's own tools: time as a ratio, and memory.

    python benchmarks/image.py [--gigabytes 8] [--scratch FOLDER] [FOLDER ...]

The image is made of the files in these folders (without any, of this Python's site-packages), as `docker save` writes it: all of them in a
first layer, then large ones again and again, each with other bytes at its end, until the layers have so many gigabytes. It is analyzed as
it is, beside `cat F | sha256sum`, and compressed as a whole, beside `gzip -dc F | sha256sum`. Where sha256sum does not use the processor's
instructions for SHA-256, `openssl dgst` is told as well, which does. `dive` runs where it is on PATH. The scratch folder needs one and a
half times the image's size; the files are deleted at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from common import MLBUNDLE, Run, describe_machine, row, run

MOST_TIME = 1.3
"""Times what it takes to read and hash the archive."""
MOST_MEMORY = 200_000_000

_LARGE = 1 << 20
_LAYERS = 6
_WIDTHS = (34, 10, 9, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(sysconfig.get_path("purelib"))])
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        archive = Path(folder, "image.tar")
        make_image(archive, arguments.folders, int(arguments.gigabytes * 1e9))
        fits = compare(archive, "cat", arguments.runs)
        subprocess.run(["gzip", "-1", archive], check=True)
        fits &= compare(archive.with_name("image.tar.gz"), "gzip -dc", arguments.runs)
    sys.exit(not fits)


def compare(archive: Path, reader: str, count: int) -> bool:
    """Print medians for an archive; return whether they are within the limits."""
    commands = {
        "mlbundle analyze": [*MLBUNDLE, "analyze", str(archive), "--no-cache"],
        f"{reader} | sha256sum": ["sh", "-c", f"{reader} {archive} | sha256sum"],
    }
    if shutil.which("openssl"):
        commands[f"{reader} | openssl dgst -sha256"] = ["sh", "-c", f"{reader} {archive} | openssl dgst -sha256"]
    if shutil.which("dive") and archive.suffix == ".tar":
        commands["dive --ci"] = ["dive", "--ci", f"docker-archive://{archive}"]
    run(["sh", "-c", f"cat {archive} > /dev/null"])  # as much of it as fits is in memory, whoever comes first
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(count):
        for name, command in commands.items():
            runs[name].append(run(command))
    ours, peer, *_ = (statistics.median(each.seconds for each in found) for found in runs.values())
    print(f"\n{archive.name}, {archive.stat().st_size / 1e9:.2f} GB")
    print(row("", "seconds", "ratio", "memory", widths=_WIDTHS))
    for name, found in runs.items():
        seconds, most = statistics.median(each.seconds for each in found), max(each.peak for each in found)
        print(row(name, f"{seconds:.1f}", f"{seconds / peer:.2f}", f"{most / 1e6:.0f} MB", widths=_WIDTHS))
    peak = max(each.peak for each in runs["mlbundle analyze"])
    return bool(ours <= MOST_TIME * peer and peak <= MOST_MEMORY)


def make_image(archive: Path, folders: Sequence[Path], size: int) -> None:
    """Write an image of some `size` bytes as `docker save` does."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    large = [path for path in files if path.stat().st_size >= _LARGE]
    diff_ids, names, left, count = [], [], size, 0
    with archive.open("w+b") as sink:
        for number in range(_LAYERS):
            share = max(left // (_LAYERS - number), 1)
            chosen = iter(files) if number == 0 else _again(large)
            name = f"{number:064x}/layer.tar"
            diff_id, written, members = _write_layer(sink, name, chosen, number, left if number == 0 else share)
            diff_ids.append(f"sha256:{diff_id}")
            names.append(name)
            left, count = left - written, count + members
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for name, document in (
                ("config.json", config),
                ("manifest.json", [{"Config": "config.json", "RepoTags": None, "Layers": names}]),
            ):
                data = json.dumps(document).encode()
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    print(f"{count:,} files, {(size - left) / 1e9:.2f} GB in {_LAYERS} layers")


def _again(files: Sequence[Path]) -> Iterator[Path]:
    while files:
        yield from files


def _write_layer(sink: BinaryIO, name: str, files: Iterator[Path], number: int, size: int) -> tuple[str, int, int]:
    """Write a layer of at most some `size` bytes as a member; return its SHA-256, its size and the number of files."""
    place = sink.tell()
    sink.write(bytes(tarfile.BLOCKSIZE))
    hashing = _Hashing(sink)
    members = 0
    with tarfile.open(fileobj=hashing, mode="w|", bufsize=1 << 20) as tar:
        for members, path in enumerate(files, start=1):
            if hashing.size >= size:
                break
            data = path.read_bytes() + f"# layer {number}, file {members}".encode()
            header = tarfile.TarInfo(f"opt/app/{number}/{members // 5000}/{str(path)[1:]}")
            header.size, header.mode = len(data), 0o755
            tar.addfile(header, io.BytesIO(data))
    header = tarfile.TarInfo(name)
    header.size = hashing.size
    sink.write(bytes(-hashing.size % tarfile.BLOCKSIZE))
    end = sink.tell()
    sink.seek(place)
    sink.write(header.tobuf(tarfile.GNU_FORMAT))
    sink.seek(end)
    return hashing.digest.hexdigest(), hashing.size, members


class _Hashing(io.RawIOBase):
    """Passes bytes on, hashes and counts them."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        self.size += len(data)
        return self._sink.write(data)


if __name__ == "__main__":
    main()
