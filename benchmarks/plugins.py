"""Real wheels before and after the steps of mlbundle-minify and mlbundle-images: bytes installed and compressed, and the time it took.

    python benchmarks/plugins.py [STEP ...]

Each row is one step over one wheel, without a cache. The peer does what one would do without us, on the same files in the same run, and
proves nothing; the ratio is what we save to what it saves, compressed bytes both. For Python it is the limit: what is left when every
comment and docstring goes, whether something reads it or not.
"""

from __future__ import annotations

import ast
import io
import json
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from common import describe_machine, download, row
from mlbundle_images.hooks import MinifySvg, RecompressJpeg, RecompressPng
from mlbundle_minify.hooks import MinifyJson, MinifyPython, MinifyWeb
from mlbundle_minify.python_text import docstrings, without_texts

from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.testing import optimize

Peer = Callable[[str, bytes], bytes]
WIDTHS = (18, 14, 11, 11, 11, 11, 7, 8)


def all_texts(_: str, data: bytes) -> bytes:
    return without_texts(data, [each.line for each in docstrings(ast.parse(data), data)])


def dumped(_: str, data: bytes) -> bytes:
    return json.dumps(json.loads(data), separators=(",", ":")).encode()


def minified(path: str, data: bytes) -> bytes:
    import rcssmin
    import rjsmin

    made: str = (rcssmin.cssmin if path.endswith(".css") else rjsmin.jsmin)(data.decode())
    return made.encode()


def saved_by_pillow(path: str, data: bytes) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    image = Image.open(io.BytesIO(data))
    image.save(made, image.format, **({"optimize": True} if path.endswith(".png") else {"quality": "keep", "optimize": True}))
    return made.getvalue()


def scoured(_: str, data: bytes) -> bytes:
    from scour import scour

    return str(scour.scourString(data, scour.parse_args(["--quiet"]))).encode()


STEPS: dict[type, tuple[tuple[str, ...], tuple[str, ...], Peer]] = {
    MinifyPython: (("django", "networkx", "scikit-learn"), (".py",), all_texts),
    MinifyJson: (("bokeh", "jupyterlab", "transformers"), (".json",), dumped),
    MinifyWeb: (("bokeh", "django", "matplotlib"), (".js", ".css"), minified),
    RecompressPng: (("matplotlib", "scikit-image", "bokeh"), (".png",), saved_by_pillow),
    RecompressJpeg: (("scikit-image", "scikit-learn"), (".jpg",), saved_by_pillow),
    MinifySvg: (("matplotlib", "django"), (".svg",), scoured),
}
"""By step: the wheels, how the names of the files end that a peer would change, and the peer."""


def sizes(wheel: Path) -> tuple[int, int]:
    with zipfile.ZipFile(wheel) as archive:
        return sum(info.file_size for info in archive.infolist()), sum(info.compress_size for info in archive.infolist())


def peer_saves(wheel: Path, suffixes: tuple[str, ...], peer: Peer) -> int:
    """Return the compressed bytes that the peer saves; what it fails on, or makes larger, stays."""
    saved = 0
    with zipfile.ZipFile(wheel) as archive:
        for path in archive.namelist():
            if path.endswith(suffixes) and ".dist-info/" not in path:
                data = archive.read(path)
                try:
                    made = peer(path, data)
                except (MlbundleError, OSError, ValueError, SyntaxError, RecursionError, KeyError):
                    continue
                saved += max(0, len(zlib.compress(data)) - len(zlib.compress(made)))
    return saved


def main(names: list[str]) -> None:
    print(describe_machine())
    print(row("step", "wheel", "MB before", "MB after", "zip before", "zip after", "s", "ratio", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as folder:
        for step, (wheels, suffixes, peer) in STEPS.items():
            if names and step.name not in names:  # type: ignore[attr-defined]
                continue
            for wheel in download(*wheels):
                small = Path(folder) / wheel.name
                shutil.copyfile(wheel, small)
                before = sizes(wheel)
                start = time.perf_counter()
                optimize(step, small)
                seconds = time.perf_counter() - start
                after, theirs = sizes(small), peer_saves(wheel, suffixes, peer)
                ratio = f"{(before[1] - after[1]) / theirs:.2f}" if theirs else "-"
                numbers = [f"{each / 1e6:.2f}" for each in (before[0], after[0], before[1], after[1])]
                print(row(step.name, wheel.name.split("-")[0], *numbers, f"{seconds:.1f}", ratio, widths=WIDTHS), flush=True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1:])
