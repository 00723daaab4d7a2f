"""Peak memory of optimizing a wheel that has one member of 1 GB: a native library with 1 GB of debug data, and a model."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from common import MLBUNDLE, cold, describe_machine, run

GIGABYTE = 10**9
LIMIT = 200 * 10**6


def library(path: Path) -> None:
    """Compile a library and give it a .debug_info of 1 GB: half of it random, so that it neither vanishes nor stays when deflated."""
    filler = path.with_suffix(".bin")
    with filler.open("wb") as stream:
        for _ in range(GIGABYTE // (2 << 20)):
            stream.write(os.urandom(1 << 20) + bytes(1 << 20))
    source = path.with_suffix(".c")
    source.write_text("int answer(void) { return 42; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True)
    subprocess.run(["objcopy", "--add-section", f".debug_info={filler}", path], check=True)
    filler.unlink()
    source.unlink()


def chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk


def wheel(folder: Path, member: Path, name: str) -> Path:
    """Write a wheel around one large member, as any back end would."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files: dict[str, bytes | Path] = {
        f"{name}/__init__.py": b"",
        f"{name}/{member.name}": member,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for place, content in files.items():
            digest, size = hashlib.sha256(), 0
            with archive.open(place, "w", force_zip64=True) as target:
                for chunk in chunks(content):
                    target.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            rows.append(f"{place},sha256={base64.urlsafe_b64encode(digest.digest()).decode().rstrip('=')},{size}\n")
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    return path


def main() -> None:
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = folder / "libanswer.so"
        library(large)
        plain = folder / "model.safetensors"
        with plain.open("wb") as stream:
            for _ in range(GIGABYTE >> 20):
                stream.write(os.urandom(1 << 19) + bytes(1 << 19))
        for what, member in (("strip a 1 GB library", large), ("pass a 1 GB model by", plain)):
            made = wheel(folder, member, "big")
            result = run([*MLBUNDLE, "optimize", "-q", "-o", folder / "out", made], env=cold(folder / "cache"))
            megabytes, ratio = result.peak / 1e6, result.peak / LIMIT
            print(f"{what}: {megabytes:.0f} MB at most in {result.seconds:.1f} s; {ratio:.2f} of the limit of {LIMIT / 1e6:.0f} MB")
            shutil.rmtree(folder / "cache", ignore_errors=True)
            shutil.rmtree(folder / "out", ignore_errors=True)


if __name__ == "__main__":
    main()
