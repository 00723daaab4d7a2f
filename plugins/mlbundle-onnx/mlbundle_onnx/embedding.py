"""Write a model as one file, for tools that hold it in memory anyhow, and do not like links or external data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hatch_mlbundle.errors import KeptError

from .external import is_external, location_of, range_of, set_external
from .modelfile import read_model, tensors
from .wire import ORIGINAL, put_back, write_pieces

_LARGEST = (1 << 31) - (1 << 20)
"""Bytes that a serialized message may have, and some to spare (https://protobuf.dev/programming-guides/proto-limits/)."""


def embed(path: Path, files: Mapping[str, Path], target: Path) -> None:
    """Write the model to `target` with its external data in it; raises KeptError where it is too large for that, ModelError, OSError."""
    if path.stat().st_size + sum(file.stat().st_size for file in files.values()) > _LARGEST:
        raise KeptError("with its external data it has more than 2 GB, which one file of this format cannot hold")
    model = read_model(path, files)
    for tensor in tensors(model):
        if is_external(tensor) and (location := location_of(tensor)) != ORIGINAL:
            data = range_of(tensor, files)
            set_external(tensor, _marker(location), data.start, data.length)
    places = {ORIGINAL: path, **{_marker(location): file for location, file in files.items()}}
    write_pieces(put_back(model.proto.SerializeToString(deterministic=True), places), target)


def _marker(location: str) -> str:
    """Return what stands for a file until its data is put in: no location begins with a slash, so that none is taken for ORIGINAL."""
    return f"\0/{location}"
