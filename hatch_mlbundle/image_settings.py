"""`[tool.mlbundle.image]`: how a container image is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .optimizer import option
from .schema import Glob, Size

LayerCompression: TypeAlias = Literal["gzip", "zstd", "none"]
"""How layers are packed; every engine reads gzip, Docker 23 and containerd 1.5 and later zstd."""


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What may be changed in a container image, and how it is written."""

    base: str = option(
        "The image that this one is built on, relative to the project (an archive or layout, or a number of layers): its layers stay as "
        "they are, so that they are shared.",
        default="",
    )
    paths: tuple[Glob, ...] = option(
        "Globs of the files that steps may change, beside those of Python packages outside the system's; files that belong to a package "
        "of the distribution are never changed.",
        default=("/app/", "/opt/", "/srv/", "/home/", "/root/", "/workspace/", "/usr/local/"),
    )
    compression: LayerCompression = option("How changed and new layers are packed: `gzip`, `zstd` or `none`.", default="gzip")
    level: int = option("Level of the compression: 1 to 9 for gzip, 1 to 22 for zstd; 0 means 6 and 19.", default=0)
    recompress: bool = option("Whether layers that did not change are packed anew, too; those of `base` never are.", default=False)
    model_layers: bool = option(
        "Whether each model moves into a layer of its own, which stays the same while the application changes.", default=False
    )
    model_size: Size = option("Bytes from which on a model gets a layer of its own.", default=10 * 10**6)
