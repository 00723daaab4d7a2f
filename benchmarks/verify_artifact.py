"""What a proof costs: `mlbundle verify` of a folder and of a wheel, in turn with the tools that read and hash the same bytes.

python benchmarks/verify_artifact.py                   # what is read is temporary
python benchmarks/verify_artifact.py --keep FOLDER     # it is made there, or taken as it is, and stays

The folder is that of analyze.py: 20,000 files and 5 GB. The wheel has 1.1 GB, and unpacks to about 2 GB in 200 files: as `mlbundle
verify` does, its peer hashes the wheel itself, and what it unpacks to.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import shlex
import tempfile
import zipfile
from pathlib import Path
from statistics import median

from analyze import make_folder, shell
from common import MLBUNDLE, Run, describe_machine, run

ROUNDS = 3
LIMIT, MEMORY_LIMIT = 1.3, 200 * 10**6
NAME = "demo-1.0-py3-none-any.whl"
MEMBERS, MEMBER_SIZE = 200, 10**7


def make_wheel(path: Path) -> None:
    """Write a wheel whose members deflate to about half, as libraries do: the same bytes each time."""
    source = random.Random(0)
    noise = source.randbytes(1 << 13)
    info = "demo-1.0.dist-info"
    members = {f"{info}/WHEEL": b"Wheel-Version: 1.0\n", f"{info}/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"}
    rows: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(MEMBERS):
            pieces = (
                source.randbytes(2048) + noise[at : at + 2048] for at in (source.randrange(6 << 10) for _ in range(MEMBER_SIZE // 4096))
            )
            members[f"demo/lib{number}.so"] = b"".join(pieces)
            for name in list(members):
                data = members.pop(name)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                rows.append(f"{name},sha256={digest},{len(data)}\n")
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(rows) + f"{info}/RECORD,,\n")


def measure(what: str, artifact: Path, peer: str) -> None:
    """Print what a proof takes beside its peer: medians of runs in turn, all of them warm."""
    manifest = artifact.with_name(artifact.name + ".mlbundle.json")
    manifest.write_text(run([*MLBUNDLE, "analyze", "--json", artifact], cwd=artifact.parent).output)
    command = [*MLBUNDLE, "verify", "-q", artifact]
    shell(peer)
    pairs: list[tuple[Run, Run]] = [(shell(peer), run(command, cwd=artifact.parent)) for _ in range(ROUNDS)]
    theirs, ours = (median(each.seconds for each in column) for column in zip(*pairs, strict=True))
    peak = max(mine.peak for _, mine in pairs)
    times = f"sha256sum {theirs:.2f} s, mlbundle verify {ours:.2f} s: {ours / theirs:.2f} times, {_verdict(ours / theirs, LIMIT)} {LIMIT}"
    print(f"{what}: {times}; peak memory {peak / 1e6:.0f} MB: {_verdict(peak, MEMORY_LIMIT)} {MEMORY_LIMIT / 1e6:.0f} MB")


def _verdict(actual: float, limit: float) -> str:
    return "within" if actual <= limit else "OVER"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    print(describe_machine(), f"- medians of {ROUNDS}")
    with tempfile.TemporaryDirectory() as name:
        home = (options.keep or Path(name)).resolve()
        folder, wheel = home / "folder", home / NAME
        home.mkdir(exist_ok=True)
        if not folder.exists():
            make_folder(folder)
        if not wheel.exists():
            make_wheel(wheel)
        where = shlex.quote(str(wheel))
        measure("folder", folder, f"find {shlex.quote(str(folder))} -type f -print0 | xargs -0 -P2 sha256sum > /dev/null")
        measure("wheel", wheel, f"sha256sum {where} > /dev/null & unzip -p {where} | sha256sum > /dev/null; wait")


if __name__ == "__main__":
    main()
