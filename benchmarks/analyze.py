"""What analysis costs: `mlbundle analyze` of a folder of 20,000 files and 5 GB, in turn with the tools that read or list the same bytes.

python benchmarks/analyze.py                   # the folder is temporary
python benchmarks/analyze.py --keep FOLDER     # it is made there, or taken as it is, and stays
python benchmarks/analyze.py --only-make FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shlex
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from common import MLBUNDLE, Run, cold, describe_machine, run

ROUNDS = 3
FILES, SIZE = 20_000, 5 * 10**9
DISTRIBUTIONS = 80
LARGE = 500 * 10**6
NAMES = (
    *(f"package_{number}/lib/libkernels_{number}.so" for number in range(2)),
    *(f"package_{number}/weights/model-{number}.safetensors" for number in range(2, 4)),
)
"""The files of 500 MB."""
SUFFIXES = {".py": 45, ".pyc": 20, ".pyi": 8, ".so": 4, ".h": 10, ".json": 4, ".txt": 3, ".bin": 2, ".npy": 2, "": 2}
DEPTHS = (1, 1, 1, 2, 2, 2, 3, 3, 4, 5)
MEDIAN, SPREAD, LARGEST = 4000, 2.6, 100 * 10**6
"""Sizes are lognormal, as those in a site-packages are: half of the files are below the median, and a few are most of the bytes."""
HASH_LIMIT, MEMORY_LIMIT, SURVEY_FACTOR, SURVEY_FIXED = 1.2, 150 * 10**6, 3, 0.5

_POOL = 16 << 20


def make_folder(root: Path) -> None:
    """Write the folder: the same names and bytes each time."""
    source = random.Random(0)
    pool = memoryview(source.randbytes(_POOL))
    rows: dict[str, list[str]] = {}
    former: list[tuple[int, int]] = []
    for path, size in _files(source):
        start = source.randrange(_POOL)
        if former and path.endswith((".py", ".h", ".bin")) and source.random() < 0.05:
            size, start = source.choice(former)
        elif path.endswith((".py", ".h", ".bin")):
            former.append((size, start))
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as stream:
            head = _head(path, size)
            stream.write(head)
            for piece in _pieces(pool, start, size - len(head)):
                stream.write(piece)
        rows.setdefault(path.partition("/")[0], []).append(path)
    for name, paths in rows.items():
        info = root / f"{name}-1.0.dist-info"
        info.mkdir()
        listed = [*paths, f"{info.name}/METADATA", f"{info.name}/RECORD"]
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in listed))


def _files(source: random.Random) -> Iterator[tuple[str, int]]:
    """Yield the paths and sizes; RECORD and METADATA, two for each distribution, come besides."""
    paths = [*NAMES, *_paths(source, FILES - len(NAMES) - 2 * DISTRIBUTIONS)]
    sizes = [min(source.lognormvariate(math.log(MEDIAN), SPREAD), LARGEST) for _ in paths[len(NAMES) :]]
    scale = (SIZE - len(NAMES) * LARGE) / sum(sizes)
    yield from zip(paths, [*[LARGE] * len(NAMES), *(round(size * scale) for size in sizes)], strict=True)


def _paths(source: random.Random, count: int) -> Iterator[str]:
    suffixes, weights = list(SUFFIXES), list(SUFFIXES.values())
    for number in range(count):
        folders = [f"package_{number % DISTRIBUTIONS}", *(f"part_{source.randrange(4)}" for _ in range(source.choice(DEPTHS) - 1))]
        yield "/".join([*folders, f"module_{number}{source.choices(suffixes, weights)[0]}"])


def _head(path: str, size: int) -> bytes:
    if path.endswith(".so") and size > 1000:
        return _elf(size)
    if path.endswith(".safetensors"):
        return _safetensors(size)
    return b""


def _elf(size: int) -> bytes:
    """Return the headers of a shared library for x86-64 whose code fills the rest (System V ABI, chapter 4)."""
    names = b"\0.text\0.rodata\0.shstrtab\0"
    start, count = 64 + 4 * 64 + len(names), 4
    code = (size - start) * 2 // 3
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, count, 3)
    sections = (
        (0, 0, 0, 0, 0),
        (1, 1, 6, start, code),
        (7, 1, 2, start + code, size - start - code),
        (15, 3, 0, 64 + 4 * 64, len(names)),
    )
    table = b"".join(struct.pack("<IIQQQQIIQQ", name, kind, flags, 0, at, length, 0, 0, 1, 0) for name, kind, flags, at, length in sections)
    return header + table + names


def _safetensors(size: int) -> bytes:
    """Return the header of a model whose tensors fill the rest."""
    tensors, count = {}, 100
    each = (size - (1 << 14)) // (4 * count)
    for number in range(count):
        offsets = [number * each * 4, (number + 1) * each * 4]
        tensors[f"layers.{number}.weight"] = {"dtype": "F32", "shape": [each], "data_offsets": offsets}
    room = size - 8 - count * each * 4
    return struct.pack("<Q", room) + json.dumps(tensors).encode().ljust(room)


def _pieces(pool: memoryview, start: int, size: int) -> Iterator[memoryview]:
    while size > 0:
        piece = pool[start : start + size]
        yield piece
        size, start = size - len(piece), 0


def shell(command: str) -> Run:
    """Run a line of a shell."""
    return run(["sh", "-c", command])


def measure(folder: Path) -> None:
    """Print what analysis takes beside its peers: medians of runs in turn, all of them warm."""
    where = shlex.quote(str(folder))
    analysis = [*MLBUNDLE, "analyze", folder]
    with tempfile.TemporaryDirectory() as name:

        def ours(*options: str) -> Run:
            return run([*analysis, *options], cwd=Path(name), env=cold(Path(name) / "cache"))

        hashes = f"find {where} -type f -print0 | xargs -0 -P2 sha256sum > /dev/null"
        shell(hashes)
        pairs = [(shell(hashes), ours()) for _ in range(ROUNDS)]
        shell(f"du -sb {where}")
        looks = [(shell(f"du -sb {where}"), ours("--no-hashes")) for _ in range(ROUNDS)]
    peer, hashed = (median(each.seconds for each in column) for column in zip(*pairs, strict=True))
    peak = max(mine.peak for _, mine in pairs)
    du, survey = (median(each.seconds for each in column) for column in zip(*looks, strict=True))
    limit = SURVEY_FACTOR * du + SURVEY_FIXED
    print(f"sha256sum -P2 {peer:.2f} s, analyze {hashed:.2f} s: {hashed / peer:.2f} times, {_verdict(hashed, HASH_LIMIT * peer)} 1.2")
    print(f"peak memory {peak / 1e6:.0f} MB: {_verdict(peak, MEMORY_LIMIT)} 150 MB")
    print(f"du -sb {du:.3f} s, analyze --no-hashes {survey:.3f} s: {_verdict(survey, limit)} 3 times that and 0.5 s, {limit:.3f} s")


def _verdict(actual: float, limit: float) -> str:
    return "within" if actual <= limit else "OVER"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--only-make", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    print(describe_machine(), f"- {FILES:,} files, {SIZE / 1e9:.0f} GB, medians of {ROUNDS}")
    with tempfile.TemporaryDirectory() as name:
        folder = options.only_make or options.keep or Path(name) / "folder"
        if not folder.exists():
            make_folder(folder)
        if not options.only_make:
            measure(folder.resolve())


if __name__ == "__main__":
    main()
