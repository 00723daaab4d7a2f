"""Archives of a folder beside what the system's own tools make of it: size, time and peak memory, turn by turn in the same run.

The ratios are ours to theirs; the peak is that of the largest process.

Usage: python benchmarks/archives.py FOLDER, for instance a frozen bundle. A tool that is missing is left out.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from common import Run, describe_machine, row, run

from hatch_mlbundle.config import PackingSettings

OURS = """
import sys
from pathlib import Path
from hatch_mlbundle.bundles.archives.pack import pack
from hatch_mlbundle.config import PackingSettings, available_cores
pack(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], PackingSettings(), workers=available_cores())
"""
LEVELS = PackingSettings()
PEERS = {
    "tar.zst": (f"tar -c {{}} | zstd -q -T0 -{LEVELS.zstd_level} >", "tar -c {} | zstd -q -T0 -19 >", "tar -c {} | zstd -q -T0 -9 >"),
    "tar.gz": ("tar -c {} | pigz -9n >", "tar -c {} | gzip -9n >", "tar -c {} | gzip -6n >"),
    "zip": ("zip -qry9 - {} >", "zip -qry6 - {} >"),
}
"""By format the commands to compare with; `{}` is the folder's name. What writes the archive is the last program of each."""

WIDTHS = (36, 10, 8, 10, 12, 12)


def programs(command: str) -> list[str]:
    return [part.split()[0] for part in command.split("|")]


def show(what: str, made: Run, size: int, ours: tuple[Run, int]) -> None:
    ratios = (f"{ours[1] / size:.3f}", f"{ours[0].seconds / made.seconds:.2f}")
    print(row(what, f"{size / 1e6:.1f}", f"{made.seconds:.1f}", f"{made.peak / 1e6:.0f}", *ratios, widths=WIDTHS), flush=True)


def main(folder: Path) -> None:
    print(describe_machine())
    print(row("command", "MB", "s", "MB peak", "size ratio", "time ratio", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "archive"
        for archive_format, commands in PEERS.items():
            made = run([sys.executable, "-c", OURS, folder, target, archive_format])
            ours = made, target.stat().st_size
            show(f"mlbundle {archive_format}", *ours, ours)
            for command in commands:
                if not all(map(shutil.which, programs(command))):
                    continue
                script = f"set -o pipefail; {command.format(shlex.quote(folder.name))} {shlex.quote(str(target))}"
                peer = run(["bash", "-c", script], cwd=folder.parent)
                show(command.format("FOLDER").removesuffix(" >"), peer, target.stat().st_size, ours)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
