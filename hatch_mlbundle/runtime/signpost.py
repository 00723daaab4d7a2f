"""What stays under the name of a file whose weights were packed, and where the packed file is."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MAGIC = b"MLBUNDLE"
SIGN = MAGIC + b"\n"
"""What a signpost begins with; what it stands for has a number after the magic, not a line's end."""
PACKED = ".mlbundle"
"""Added to the name: tensors in fewer bytes (container.py)."""
COMPRESSED = ".mlpack"
"""Added to the name: a safetensors file without loss (unpack.py)."""


def is_signpost(path: Path) -> bool:
    """Say whether a file is what stays under the name of one whose weights were packed; False where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as stream:
            return stream.read(len(SIGN)) == SIGN
    except OSError:
        return False


def packed_path(path: Path) -> str:
    """Return the path of the packed file beside a signpost, of either sort; raises FileNotFoundError where there is none."""
    name = os.fsdecode(path)
    for suffix in (PACKED, COMPRESSED):
        if os.path.exists(name + suffix):
            return name + suffix
    raise FileNotFoundError(errno.ENOENT, f"{name} says that its weights are packed in a file beside it, which is missing", name + PACKED)
