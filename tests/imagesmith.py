"""Small container images: layers as tar files, laid out as OCI does it or as `docker save`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from hatch_mlbundle.bundles.archives.zstd_stream import load_zstd

OCI = "application/vnd.oci.image"
Json: TypeAlias = dict[str, Any]
Member: TypeAlias = tuple[str, bytes | tarfile.TarInfo | None]
"""A name with a file's bytes, None for a folder, or a header of another type."""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return name, header


def hard_link(name: str, target: str) -> Member:
    return link(name, target, tarfile.LNKTYPE)


def layer(*members: Member, form: int = tarfile.PAX_FORMAT, mode: int = 0o644) -> bytes:
    """Return a tar file with just these members, in this order; what lies behind a folder's name may be missing.

    `mode` is that of files and folders without a header of their own.
    """
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for name, data in members:
            header = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(data, tarfile.TarInfo):
                header.mode = mode
            if data is None:
                header.type = tarfile.DIRTYPE
            if isinstance(data, bytes):
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
            else:
                tar.addfile(header)
    return sink.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def zstd(data: bytes) -> bytes:
    compressed: bytes = load_zstd().compress(data, 3)
    return compressed


PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {"+gzip": gzipped, "+zstd": zstd, "": bytes}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(root: Path, data: bytes, kind: str, **more: Any) -> Json:
    """Write a blob and return its descriptor."""
    folder = root / "blobs/sha256"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / sha256(data)).write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data), **more}


def put_json(root: Path, document: object, kind: str, **more: Any) -> Json:
    return put(root, json.dumps(document).encode(), kind, **more)


def config_of(layers: Sequence[bytes], **more: Any) -> Json:
    diff_ids = [f"sha256:{sha256(each)}" for each in layers]
    return {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **more}


def put_image(root: Path, layers: Sequence[bytes], packing: str = "+gzip", *, config: Json | None = None, **more: Any) -> Json:
    """Write an image's blobs and return the descriptor of its manifest."""
    packed = [put(root, PACKINGS[packing](each), f"{OCI}.layer.v1.tar{packing}") for each in layers]
    configured = put_json(root, config or config_of(layers), f"{OCI}.config.v1+json")
    return put_json(root, {"schemaVersion": 2, "config": configured, "layers": packed}, f"{OCI}.manifest.v1+json", **more)


def put_index(root: Path, manifests: Sequence[Json]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return root


def oci_layout(root: Path, layers: Sequence[bytes], packing: str = "+gzip", *, config: Json | None = None) -> Path:
    return put_index(root, [put_image(root, layers, packing, config=config)])


def as_tar(folder: Path, path: Path) -> Path:
    """Return a tar file of what is in a folder, without the folder itself."""
    with tarfile.open(path, "w") as tar:
        for each in sorted(folder.rglob("*"), reverse=True):  # index.json behind the blobs, as it comes
            tar.add(each, each.relative_to(folder).as_posix(), recursive=False)
    return path


def docker_archive(path: Path, layers: Sequence[bytes], *, old: bool = False, config: Json | None = None) -> Path:
    """Write what `docker save` does; the `old` form has a folder for each layer, and links for those that it has twice."""
    text = json.dumps(config or config_of(layers)).encode()
    named = f"{sha256(text)}.json" if old else f"blobs/sha256/{sha256(text)}"
    members: list[Member] = [(named, text)]
    names: list[str] = []
    seen: dict[str, str] = {}
    for number, each in enumerate(layers):
        name = f"{number:064x}/layer.tar" if old else f"blobs/sha256/{sha256(each)}"
        first = seen.setdefault(sha256(each), name)
        if first == name and name not in names:
            members.append((name, each))
        elif first != name:
            members.append(link(name, f"../{first}"))
        names.append(name)
    manifest = [{"Config": named, "RepoTags": ["app:latest"], "Layers": names}]
    path.write_bytes(layer(*members, ("manifest.json", json.dumps(manifest).encode())))
    return path
