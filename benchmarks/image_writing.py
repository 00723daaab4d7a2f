"""Write a container image anew without some of its files, and edit its largest layer with the system's own tools, turn by turn.

    skopeo copy docker://IMAGE oci:DIR; python benchmarks/image_writing.py DIR

Every tenth file of that layer goes. The peer is `gzip -dc | tar --delete | gzip -6 | sha256sum` of the layer alone, packed with pigz where
it is installed; it writes no documents and knows nothing of hard links to what goes. A second pair leaves all as it is and packs the layer
anew. Ratios are ours to the peer's; the peak is that of the largest process.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from common import Run, describe_machine, row, run

OURS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.images.edits import ImageEdit, LayerEdit
from hatch_mlbundle.bundles.images.image_writer import write_image
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.config import available_cores
from hatch_mlbundle.image_settings import ImageSettings

root, target, scratch, number, count, names = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:7]
gone = frozenset(name.removeprefix("./") for name in Path(names).read_text().splitlines())
edits = tuple(LayerEdit(drop=gone) if each == int(number) else None for each in range(int(count)))
with ThreadPoolExecutor(available_cores()) as pool:
    image = open_image(root, pool, Limits())
    write_image(image.layout, ImageEdit(layers=edits), ImageSettings(recompress=True), target, pool, scratch=scratch)
"""
PEER = "gzip -dc {layer} | {edit} {packer} -6n | tee {target} | sha256sum"
WIDTHS = (40, 10, 8, 10, 12)


def manifest(root: Path) -> dict[str, list[dict[str, str]]]:
    index = json.loads((root / "index.json").read_text())
    found: dict[str, list[dict[str, str]]] = json.loads(blob(root, index["manifests"][0]["digest"]).read_text())
    return found


def blob(root: Path, digest: str) -> Path:
    return root / "blobs" / digest.replace(":", "/")


def main(root: Path) -> None:
    print(describe_machine())
    layers = [blob(root, each["digest"]) for each in manifest(root)["layers"]]
    largest = max(layers, key=lambda path: path.stat().st_size)
    names = run(["sh", "-c", f"gzip -dc {largest} | tar -t"]).output.splitlines()
    some = [name for name in names if not name.endswith("/")][::10]
    print(f"a layer of {largest.stat().st_size / 1e6:.0f} MB with {len(names):,} members, {len(some):,} of which go")
    print(row("command", "MB", "s", "MB peak", "time ratio", widths=WIDTHS))
    packer = "pigz" if shutil.which("pigz") else "gzip"
    for what, gone, edit in (("without a tenth", some, "tar --delete -T {names} |"), ("packed anew", [], "")):
        with tempfile.TemporaryDirectory() as place:
            compare(root, layers, largest, what, gone, edit, packer, Path(place))


def compare(root: Path, layers: list[Path], largest: Path, what: str, gone: list[str], edit: str, packer: str, place: Path) -> None:
    listed, target = place / "names", place / "made"
    listed.write_text("".join(f"{name}\n" for name in gone))
    command = PEER.format(layer=largest, edit=edit.format(names=listed), packer=packer, target=place / "peer")
    for _ in range(3):
        shutil.rmtree(target, ignore_errors=True)
        number = str(layers.index(largest))
        ours = run([sys.executable, "-c", OURS, root, target, place, number, str(len(layers)), listed])
        peer = run(["bash", "-c", f"set -o pipefail; {command}"])
        made = int(manifest(target)["layers"][int(number)]["size"])
        show(f"mlbundle {what}", made, ours, ours.seconds / peer.seconds)
        show(f"gzip -dc, {packer} -6 {what}", (place / "peer").stat().st_size, peer, 1)


def show(what: str, size: int, made: Run, ratio: float) -> None:
    cells = (f"{size / 1e6:.0f}", f"{made.seconds:.1f}", f"{made.peak / 1e6:.0f}", f"{ratio:.2f}")
    print(row(what, *cells, widths=WIDTHS), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
