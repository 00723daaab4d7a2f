"""How many of an image's layers are those of the image that it is built on."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.errors import ConfigurationError

from .artifact import open_image
from .image import Image, read_image

_KEY = "tool.mlbundle.image.base"


def base_layers(base: str, image: Image, project: Path, pool: Executor, limits: Limits) -> int:
    """Return the number of the lowest layers that stay: `base` is as in ImageSettings. Raises ConfigurationError, ArtifactError."""
    if not base:
        return 0
    if base.isdecimal():
        number = int(base)
        if number > len(image.layers):
            raise ConfigurationError([f"{_KEY}: is {number:,}, but the image has {len(image.layers):,} layers"])
        return number
    path = project / Path(base).expanduser()
    if not path.exists():
        raise ConfigurationError([f"{_KEY}: {path} is not there; name an archive or layout of the image, or a number of layers"])
    below = open_image(path, pool, limits)
    if below is None:
        raise ConfigurationError([f"{_KEY}: {path} is no container image; name an archive or layout of one, or a number of layers"])
    wanted = [part.diff_id for part in read_image(below.layout).layers]
    for number, (expected, part) in enumerate(zip(wanted, image.layers, strict=False), 1):
        if part.diff_id != expected:
            raise ConfigurationError([f"{_KEY}: the image is not built on {path}: layer {number} is another; copy the base of this build"])
    if len(wanted) > len(image.layers):
        raise ConfigurationError([f"{_KEY}: the image is not built on {path}, which has more layers: {len(wanted):,}"])
    return len(wanted)
