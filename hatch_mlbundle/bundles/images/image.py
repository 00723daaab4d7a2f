"""What an image's documents say of it: which layers it is made of, in what order, and what made them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .documents import Document, check_digest, digest_of, documents, parse, parse_object
from .layer import Digest
from .layouts import Layout
from .platforms import Choice, Platform, choose, images

INDEXES = frozenset({"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"})
MANIFESTS = frozenset({"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"})
_CONFIGS = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})
_LAYER = re.compile(
    r"application/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?"
)
"""Media types (image-spec, media-types.md; distribution, "Image Manifest V 2, Schema 2"). How a layer is packed its first bytes tell."""
_DEEPEST_INDEX = 4
_MOST_MANIFESTS = 1000
_MOST_LAYERS = 1000
_HEX = re.compile(r"(?:.*[/:])?([0-9a-f]{64})(?:\.json)?")
"""The name of a configuration by its digest: `HEX.json`, `blobs/sha256/HEX` or `sha256:HEX`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPart:
    """A layer by the name of its part; `digest` is that of its stored bytes where it is known, `diff_id` that of the unpacked ones."""

    name: str
    digest: Digest | None
    diff_id: Digest
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: the bytes of its documents, the SHA-256 that tells it from others, and its layers from the lowest on.

    `config` is the name of the part that is its configuration, `manifest` the digest of its manifest, which what `docker save` writes
    has none of. `others` is the number of images that its layout holds besides.
    """

    documents: int
    sha256: str
    config: str
    manifest: Digest | None
    layers: tuple[LayerPart, ...]
    others: int = 0


def read_image(layout: Layout) -> Image:
    """Return the image in a layout, the one of this machine's platform where there are several; raises ArtifactError."""
    return _oci_image(layout) if layout.has("index.json") else _docker_image(layout)


def _oci_image(layout: Layout) -> Image:
    """Follow index.json to a manifest (OCI image specification, image-layout.md, image-index.md, manifest.md)."""
    index = parse_object(layout, "index.json", layout.document("index.json"))
    choices: dict[str, Choice] = {}
    _collect(layout, index, choices, _DEEPEST_INDEX)
    chosen = choose(layout, list(choices.values()), lambda choice: _platform_in_config(layout, choice))
    manifest, size, sha256 = _manifest(layout, chosen.digest)
    config_digest = manifest.child("config").digest("digest")
    data = _blob(layout, "its configuration", config_digest)
    config = parse_object(layout, "its configuration", data)
    descriptors = manifest.children("layers")
    for each in descriptors:
        kind = each.get("mediaType", str, "")
        if not _LAYER.fullmatch(kind):
            raise layout.fault(f"has {each.what} of the media type {kind[:100]!a}, which no container image has")
    digests = [each.digest("digest") for each in descriptors]
    for each, digest in zip(descriptors, digests, strict=True):
        _check_size(layout, each, part_name(digest))
    layers = _layers(layout, config, [(part_name(digest), digest) for digest in digests])
    return Image(
        documents=size + len(data),
        sha256=sha256,
        config=part_name(config_digest),
        manifest=chosen.digest,
        layers=layers,
        others=len(images(choices.values())) - 1,
    )


def _collect(layout: Layout, index: Document, choices: dict[str, Choice], depth: int) -> None:
    """Note the manifests that an index leads to; what it does not know, an index may hold all the same."""
    if not depth:
        raise layout.fault("has an index within an index, deeper than any image")
    for each in index.children("manifests"):
        kind = each.get("mediaType", str, "")
        if kind in INDEXES:
            digest = each.digest("digest")
            data = _blob(layout, "an index", digest)
            _collect(layout, parse_object(layout, f"index {digest}", data), choices, depth - 1)
        elif kind in MANIFESTS:
            digest = each.digest("digest")
            platform = Platform.of(each.child("platform"))
            name = each.child("annotations").get("org.opencontainers.image.ref.name", str, "")
            choices.setdefault(str(digest), Choice(digest=digest, platform=platform, name=name))
        if len(choices) > _MOST_MANIFESTS:
            raise layout.fault(f"has more than {_MOST_MANIFESTS:,} images")


def _manifest(layout: Layout, digest: Digest) -> tuple[Document, int, str]:
    data = _blob(layout, "its manifest", digest)
    manifest = parse_object(layout, "its manifest", data)
    kind = manifest.child("config").get("mediaType", str, "")
    if kind not in _CONFIGS:
        raise layout.fault(f"is no container image: its configuration has the media type {kind[:100]!a}")
    return manifest, len(data), hashlib.sha256(data).hexdigest()


def _platform_in_config(layout: Layout, choice: Choice) -> Platform | None:
    manifest, _, _ = _manifest(layout, choice.digest)
    config = manifest.child("config").digest("digest")
    return Platform.of(parse_object(layout, "its configuration", _blob(layout, "its configuration", config)))


def _docker_image(layout: Layout) -> Image:
    """Read manifest.json, of which `docker save` writes (moby, image/spec, v1.2, "Combined Image JSON + Filesystem Changeset Format")."""
    data = layout.document("manifest.json")
    listed = parse(layout, "manifest.json", data)
    images = documents(layout, "manifest.json", listed if isinstance(listed, list) else [listed])
    if len(images) != 1:
        tags = ", ".join(str(tag)[:100] for image in images[:5] for tag in image.get("RepoTags", list, []))
        raise layout.fault(f"holds {len(images)} images ({tags!a}); save the one that is meant by itself")
    name = images[0].get("Config", str, "")
    config_data = layout.document(name)
    digits = _HEX.fullmatch(name)
    if digits:
        check_digest(layout, "its configuration", config_data, Digest(algorithm="sha256", hex=digits[1]))
    names = images[0].get("Layers", list, [])
    if not all(isinstance(each, str) for each in names):
        raise layout.fault("has manifest.json whose Layers are not strings")
    config = parse_object(layout, "its configuration", config_data)
    return Image(
        documents=len(data) + len(config_data),
        sha256=hashlib.sha256(config_data).hexdigest(),
        config=name,
        manifest=None,
        layers=_layers(layout, config, [(each, None) for each in names]),
    )


def _layers(layout: Layout, config: Document, parts: Sequence[tuple[str, Digest | None]]) -> tuple[LayerPart, ...]:
    """Return the layers with what the configuration says of them (OCI image specification, config.md)."""
    platform = Platform.of(config)
    if platform and platform.os == "windows":
        raise layout.fault("is an image for Windows, whose layers hold registries and links of its own; only those for Linux can be read")
    diff_ids = config.child("rootfs").get("diff_ids", list, [])
    if len(diff_ids) != len(parts):
        raise layout.fault(f"has {len(parts):,} layers, but a configuration for {len(diff_ids):,}; it is damaged: save or copy it again")
    if len(parts) > _MOST_LAYERS:
        raise layout.fault(f"has {len(parts):,} layers, more than the {_MOST_LAYERS:,} that any image has")
    told = [each.get("created_by", str, "") for each in config.children("history") if not each.get("empty_layer", bool, default=False)]
    if len(told) != len(parts):  # history is optional, and some tools leave layers out of it
        told = [""] * len(parts)
    return tuple(
        LayerPart(name=name, digest=digest, diff_id=digest_of(layout, "its rootfs", str(diff_id)), created_by=created_by)
        for (name, digest), diff_id, created_by in zip(parts, diff_ids, told, strict=True)
    )


def _blob(layout: Layout, what: str, digest: Digest) -> bytes:
    data = layout.document(part_name(digest))
    check_digest(layout, what, data, digest)
    return data


def _check_size(layout: Layout, descriptor: Document, name: str) -> None:
    size, stated = layout.size(name), descriptor.get("size", int, -1)
    if size != stated:
        raise layout.fault(f"has {descriptor.what} of {size:,} bytes, not the {stated:,} it names; it is damaged: save or copy it again")


def part_name(digest: Digest) -> str:
    """Return the name of a blob in a layout (image-layout.md, "Blobs")."""
    return f"blobs/{digest.algorithm}/{digest.hex}"
