"""Analyze a container image, and read it with the system's own tools: an OCI image layout with layers of gzip, as a folder.

    skopeo copy docker://IMAGE oci:DIR; python benchmarks/image.py DIR

The peer unpacks each layer twice, as it takes to hash its bytes and to list its files: `sha256sum` of the blobs, `gzip -dc | sha256sum`
and `gzip -dc | tar -t` of the layers. It hashes no file by itself and knows nothing of what hides what.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from common import MLBUNDLE, run

_GZIP = b"\x1f\x8b"


def main() -> None:
    root = Path(sys.argv[1])
    blobs = sorted((root / "blobs/sha256").iterdir())
    layers = [blob for blob in blobs if blob.open("rb").read(2) == _GZIP]
    read = "\n".join(f"gzip -dc {layer} | tar -t > /dev/null; gzip -dc {layer} | sha256sum > /dev/null" for layer in layers)
    for number in range(1, 4):
        ours = run([*MLBUNDLE, "analyze", root, "--json", "--no-cache"])
        peer = run(["sh", "-c", f"sha256sum {' '.join(map(str, blobs))} > /dev/null\n{read}"])
        after = json.loads(ours.output)["artifact"]["after"]
        if number == 1:
            print(f"{after['files']:,} files, {after['installed'] / 1e6:.0f} MB installed, {after['size'] / 1e6:.0f} MB stored")
        print(f"mlbundle {ours.seconds:.1f} s, {ours.peak / 1e6:.0f} MB; sha256sum, gzip and tar {peer.seconds:.1f} s")


if __name__ == "__main__":
    main()
