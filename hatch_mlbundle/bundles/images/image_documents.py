"""The documents of an image that is written anew: they say all that they said before, and what was done (OCI image specification)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .documents import Document, documents, parse, parse_object
from .edits import ImageEdit
from .image import INDEXES, MANIFESTS, Image, part_name
from .layer_packing import Packed
from .layouts import Layout
from .platforms import Platform

Json: TypeAlias = dict[str, Any]

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_NAME, _FULL_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
"""Annotations of an index: the name that an image has in it, and the whole one by which containerd and Docker load it."""
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._:/-]*/[a-z0-9._/-]+:[\w][\w.-]{0,127}|[a-z0-9][a-z0-9._-]*:[\w][\w.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldDocuments:
    """What an image's documents say: its configuration (and the bytes of it), its manifest and its entries in the index; its tags."""

    config: Json
    config_data: bytes
    manifest: Json
    index: Json
    entries: tuple[Json, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocuments:
    """Documents to be written; `blobs` by their names in a layout."""

    blobs: Mapping[str, bytes]
    index: bytes
    docker_manifest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEntry:
    """A layer of the new image: `old` is its number from 0 among the old ones, None for a new one, that `created_by` made.

    `is_changed` tells whether it unpacks to other bytes than before.
    """

    packed: Packed
    old: int | None = None
    is_kept: bool = False
    is_changed: bool = True
    created_by: str = ""


def read_documents(layout: Layout, image: Image) -> OldDocuments:
    """Return an image's documents; raises ArtifactError where they are not what they must be."""
    data = layout.document(image.config)
    config = _checked(parse_object(layout, "its configuration", data))
    docker = _docker_entry(layout, image)
    tags = tuple(str(tag) for tag in docker.get("RepoTags", list, [])) if docker else ()
    if image.manifest is None:
        entries = tuple({"annotations": {_FULL_NAME: _full(tag), _NAME: tag.rpartition(":")[2]}} for tag in tags) or ({},)
        return OldDocuments(config=config, config_data=data, manifest={}, index={}, entries=entries, tags=tags)
    manifest = parse_object(layout, "its manifest", layout.document(part_name(image.manifest))).values
    index = parse_object(layout, "index.json", layout.document("index.json"))
    entries = tuple(_entries(layout, index, str(image.manifest), {})) or ({},)
    tags = tags or tuple(dict.fromkeys(tag for each in entries if (tag := _tag(each))))
    return OldDocuments(config=config, config_data=data, manifest=manifest, index=index.values, entries=entries, tags=tags)


def _checked(config: Document) -> Json:
    """Return what a configuration says; raises ArtifactError where what is added to is of another type."""
    config.get("created", str, "")
    config.child("config").child("Labels")
    for each in config.children("history"):
        each.get("comment", str, "")
    return config.values


def left_out(layout: Layout, image: Image) -> tuple[str, ...]:
    """Return what else the index of an image holds, which is not written with it: platforms, or types of what belongs to images."""
    if image.manifest is None:
        return ()
    index = parse_object(layout, "index.json", layout.document("index.json"))
    return tuple(dict.fromkeys(_others(layout, index, str(image.manifest))))


def _others(layout: Layout, index: Document, digest: str) -> Iterator[str]:
    for each in index.children("manifests"):
        kind = each.get("mediaType", str, "")
        if kind in INDEXES:
            yield from _others(layout, parse_object(layout, "an index", layout.document(part_name(each.digest("digest")))), digest)
        elif str(each.digest("digest")) != digest:
            belongs = each.child("annotations").get("vnd.docker.reference.type", str, "")
            yield belongs or each.get("artifactType", str, "") or str(Platform.of(each.child("platform")) or kind)


def new_documents(old: OldDocuments, edit: ImageEdit, layers: Sequence[LayerEntry]) -> NewDocuments:
    """Return the documents of the image of these layers: old ones, as far as something is left of them, and new ones."""
    config = _config(old, edit, layers)
    config_entry = _described(CONFIG, config, old.manifest.get("config", {}))
    listed = old.manifest.get("layers", [])
    descriptors = [_layer(each, listed[each.old] if each.is_kept and each.old is not None and listed else {}) for each in layers]
    manifest = _json({**old.manifest, "schemaVersion": 2, "mediaType": MANIFEST, "config": config_entry, "layers": descriptors})
    entries = [_described(MANIFEST, manifest, each) for each in old.entries]
    index = {**old.index, "schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    config_name = _blob_name(config)
    docker = [{"Config": config_name, "RepoTags": list(old.tags), "Layers": [part_name(each.packed.digest) for each in layers]}]
    return NewDocuments(
        blobs={config_name: config, _blob_name(manifest): manifest}, index=_json(index), docker_manifest=json.dumps(docker).encode()
    )


def _config(old: OldDocuments, edit: ImageEdit, layers: Sequence[LayerEntry]) -> bytes:
    """Return the configuration (config.md), the very bytes that it had where there is nothing else to say."""
    config = dict(old.config)
    config["rootfs"] = {**config.get("rootfs", {}), "type": "layers", "diff_ids": [str(each.packed.diff_id) for each in layers]}
    if edit.labels:
        inner = dict(config.get("config") or {})
        inner["Labels"] = {**(inner.get("Labels") or {}), **edit.labels}
        config["config"] = inner
    gone = set(range(len(edit.layers))) - {each.old for each in layers}
    changed = gone | {each.old for each in layers if each.is_changed and each.old is not None}
    history = _history(config, edit, changed, gone, [each.created_by for each in layers if each.old is None])
    if history:
        config["history"] = history
    return old.config_data if config == old.config else _json(config)


def _history(config: Json, edit: ImageEdit, changed: set[int], gone: set[int], made: Sequence[str]) -> list[Json] | None:
    """Return the history, None where there is none, or one that is not about the old layers: some tools leave layers out of it."""
    history = [dict(each) for each in config.get("history") or []]
    about = [each for each in history if not each.get("empty_layer")]
    if len(about) != len(edit.layers):
        return None
    for number, each in enumerate(about):
        told = each.get("comment") or ""
        if number in changed and edit.comment and not told.endswith(edit.comment):
            each["comment"] = f"{told}; {edit.comment}" if told else edit.comment
        if number in gone:
            each["empty_layer"] = True
    created = {"created": config["created"]} if config.get("created") else {}
    comment = {"comment": edit.comment} if edit.comment else {}
    return history + [{**created, "created_by": each, **comment} for each in made]


def _layer(entry: LayerEntry, former: Json) -> Json:
    kind = str(former.get("mediaType", ""))
    media = _FOREIGN_LAYER if "nondistributable" in kind or "foreign" in kind else _LAYER
    kept = {key: value for key, value in former.items() if key in ("annotations", "urls")}
    return {"mediaType": media + entry.packed.suffix, "digest": str(entry.packed.digest), "size": entry.packed.extent.size, **kept}


def _described(kind: str, data: bytes, former: Json) -> Json:
    """Return the descriptor of a document; what the former one says beside that stays, but for bytes and places of the former document."""
    kept = {key: value for key, value in former.items() if key not in ("mediaType", "digest", "size", "data", "urls")}
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data), **kept}


def _entries(layout: Layout, index: Document, digest: str, annotations: Json) -> Iterator[Json]:
    """Yield the entries of an index, and of those in it, for a manifest; they get what is annotated to the index that they stand in."""
    for each in index.children("manifests"):
        kind, inner = each.get("mediaType", str, ""), {**annotations, **each.child("annotations").values}
        if kind in MANIFESTS and str(each.digest("digest")) == digest:
            yield {**each.values, **({"annotations": inner} if inner else {})}
        elif kind in INDEXES:
            data = layout.document(part_name(each.digest("digest")))
            yield from _entries(layout, parse_object(layout, "an index", data), digest, inner)


def _docker_entry(layout: Layout, image: Image) -> Document | None:
    """Return what manifest.json says of the image, None where it does not."""
    if not layout.has("manifest.json"):
        return None
    listed = parse(layout, "manifest.json", layout.document("manifest.json"))
    found = documents(layout, "manifest.json", listed if isinstance(listed, list) else [listed])
    return next((each for each in found if each.get("Config", str, "") == image.config), None)


def _tag(entry: Json) -> str | None:
    """Return the name by which Docker knows an image of an index."""
    annotations = entry.get("annotations", {})
    name = annotations.get(_FULL_NAME) or annotations.get(_NAME)
    if not (isinstance(name, str) and _REFERENCE.fullmatch(name)):
        return None
    return name.removeprefix("docker.io/library/").removeprefix("docker.io/")


def _full(tag: str) -> str:
    """Return an image's name with the registry that Docker takes where there is none."""
    first, *rest = tag.split("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return tag
    return f"docker.io/{tag}" if rest else f"docker.io/library/{tag}"


def _blob_name(data: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def _json(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
