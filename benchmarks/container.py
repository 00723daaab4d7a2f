"""The example image before and after: what is stored, what lies on disk, what a container sees; and whether it says the same.

python benchmarks/container.py [IMAGE]

IMAGE is an OCI layout that `examples/container/build.sh` made; without it, one is built, which takes minutes. As root, with umoci and
bubblewrap. Each image is unpacked by umoci and run by bubblewrap as its configuration says, without a network; what is printed is compared
byte for byte.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import MLBUNDLE, cold, describe_machine, row, run

EXAMPLE = Path(__file__).parents[1] / "examples/container"
LIMIT = 0.5
WIDTHS = (16, 12, 12, 12, 12)
ARGUMENTS = [
    [],
    ["A single sentence."],
    ["short", "a rather longer sentence, with a comma, and more words than the other one"],
    ["Grüße aus Zürich", "こんにちは世界", "Привет, мир"],
    ["word " * 600],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Bytes as stored, of all layers unpacked, and of the files that a container sees; seconds that umoci took; what was printed."""

    stored: int
    on_disk: int
    seen: int
    unpacking: float
    printed: list[bytes]


class Layout:
    """An OCI image layout of one image."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (top,) = json.loads((path / "index.json").read_bytes())["manifests"]
        self.tag: str = top["annotations"]["org.opencontainers.image.ref.name"]
        self.manifest = self._document(top)
        self.config: dict[str, Any] = self._document(self.manifest["config"])["config"]
        self.stored: int = top["size"] + sum(each["size"] for each in (self.manifest["config"], *self.manifest["layers"]))

    def on_disk(self) -> int:
        """Return the bytes of all layers unpacked, as tar files."""
        blobs = [self._blob(each) for each in self.manifest["layers"]]
        return sum(int(run(["sh", "-c", 'gzip -dc "$0" | wc -c', blob]).output) for blob in blobs)

    def _document(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._blob(descriptor).read_bytes())
        return document

    def _blob(self, descriptor: dict[str, Any]) -> Path:
        return self.path / "blobs" / descriptor["digest"].replace(":", "/")


def measured(layout: Layout, work: Path, models: Path | None) -> Measured:
    """Unpack an image, run it, and take it away again."""
    unpacked = work / "unpacked"
    seconds = run(["umoci", "unpack", "--image", f"{layout.path}:{layout.tag}", unpacked]).seconds
    root = unpacked / "rootfs"
    seen = {
        (status.st_ino): status.st_size for path in root.rglob("*") if not path.is_symlink() and path.is_file() for status in [path.lstat()]
    }
    printed = [printed_by(root, layout.config, arguments, models) for arguments in ARGUMENTS]
    shutil.rmtree(unpacked)
    return Measured(stored=layout.stored, on_disk=layout.on_disk(), seen=sum(seen.values()), unpacking=seconds, printed=printed)


def printed_by(root: Path, config: dict[str, Any], arguments: Sequence[str], models: Path | None) -> bytes:
    """Run an image's program in its root, as its configuration says, and return what it prints."""
    variables = dict(each.split("=", 1) for each in config["Env"])
    mounts = ["--ro-bind", str(models), "/models"] if models else []
    settings = [option for name, value in variables.items() for option in ("--setenv", name, value)]
    command = ["bwrap", "--unshare-all", "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *mounts]
    command += ["--clearenv", *settings, "--chdir", config["WorkingDir"], *config["Entrypoint"], *arguments]
    result = subprocess.run(command, capture_output=True, timeout=300, check=False)
    if result.returncode:
        sys.exit(f"{root} does not run:\n{result.stderr.decode()}")
    return result.stdout


def optimized(image: Path, target: Path, project: Path) -> float:
    """Make an image small by a project's settings; return the seconds it took."""
    command = [*MLBUNDLE, "optimize", "--project", project, image, "--output", target]
    return run(command, env=cold(target.parent / "cache")).seconds


def show(name: str, image: Measured) -> None:
    """Print a line of the table."""
    sizes = [f"{size / 1e6:,.0f} MB" for size in (image.stored, image.on_disk, image.seen)]
    print(row(name, *sizes, f"{image.unpacking:.0f} s", widths=WIDTHS), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", nargs="?", type=Path, help="an OCI layout of the example's image (default: it is built)")
    given = parser.parse_args().image
    with tempfile.TemporaryDirectory(prefix="mlbundle-container-") as name:
        work = Path(name)
        image = given or work / "image"
        if not given:
            run([EXAMPLE / "build.sh", image])
        print(describe_machine())
        print(row("image", "stored", "on disk", "seen", "unpacking", widths=WIDTHS), flush=True)
        before = measured(Layout(image), work, None)
        show("as built", before)
        seconds = optimized(image, work / "small", EXAMPLE)
        after = measured(Layout(work / "small"), work, None)
        show("optimized", after)
        optimized(image, work / "outside", EXAMPLE / "outside")
        apart = measured(Layout(work / "outside"), work, work / "outside.models")
        show("model outside", apart)
    same = before.printed == after.printed == apart.printed
    ratio = after.stored / before.stored
    print(f"stored: {ratio:.2f} of the image as built (limit {LIMIT}); on disk {after.on_disk / before.on_disk:.2f}; seen", end=" ")
    print(f"{after.seen / before.seen:.2f}; with the model outside {apart.stored / before.stored:.2f}")
    print(f"optimized in {seconds:.0f} s, verification included; umoci unpacks the image as built in {before.unpacking:.0f} s")
    print(f"what {len(ARGUMENTS)} runs print: {'the same, byte for byte' if same else 'DIFFERENT'}")
    sys.exit(not same or ratio > LIMIT)


if __name__ == "__main__":
    main()
