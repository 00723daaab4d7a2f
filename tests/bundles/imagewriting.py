"""Write images as the command does, and tell what is in them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.images.edits import ImageEdit, LayerEdit, NewLayer
from hatch_mlbundle.bundles.images.image_writer import write_image
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.image_settings import ImageSettings
from hatch_mlbundle.model import File, Kind, MemoryContent
from tests.imagesmith import Json, sha256


def new_file(path: str, data: bytes = b"", *, mode: int = 0o644, link: str | None = None) -> File:
    content = MemoryContent(data)
    return File(path=path, size=len(data), sha256=sha256(data), mode=mode, kind=Kind.OTHER, owner="", content=content, link=link)


def edit_of(
    *layers: LayerEdit | None, new: Sequence[NewLayer] = (), comment: str = "", labels: Mapping[str, str] | None = None
) -> ImageEdit:
    return ImageEdit(layers=layers, new=tuple(new), comment=comment, labels=labels or {})


def dropping(*paths: str) -> LayerEdit:
    return LayerEdit(drop=frozenset(paths))


def replacing(*files: File) -> LayerEdit:
    return LayerEdit(replace={file.path: file for file in files})


def write(source: Path, target: Path, edit: ImageEdit, *, workers: int = 2, **settings: Any) -> Path:
    with ThreadPoolExecutor(workers) as pool, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        image = open_image(source, pool, Limits())
        assert image is not None
        write_image(image.layout, edit, ImageSettings(**settings), target, pool, scratch=Path(scratch), workers=workers)
    return target


def scan(path: Path) -> Side:
    with ThreadPoolExecutor(2) as pool:
        image = open_image(path, pool, Limits())
        assert image is not None
        return image.scan()


def contents(path: Path) -> dict[str, tuple[str, int, str | None]]:
    return {name: (file.sha256, file.mode, file.link) for name, file in scan(path).bundle.items()}


def blob(root: Path, descriptor: Json) -> bytes:
    return (root / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()


def documents(root: Path) -> tuple[Json, Json, Json]:
    """Return the index, the manifest and the configuration of an OCI layout in a folder."""
    index = json.loads((root / "index.json").read_text())
    manifest = json.loads(blob(root, index["manifests"][0]))
    return index, manifest, json.loads(blob(root, manifest["config"]))


def layers(root: Path) -> list[bytes]:
    """Return the tar files of the layers of an OCI layout in a folder."""
    _, manifest, _ = documents(root)
    packed = [blob(root, each) for each in manifest["layers"]]
    return [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in packed]


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}
