"""A container image as a bundle: the files that a container sees, and where each byte of the image went. Nothing is unpacked to disk."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.binaries.library_pruning import Wanted
from hatch_mlbundle.bundles.artifact import Account, Side, Written
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.contents.removable import EACH, told
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.manifest import ContentsRow
from hatch_mlbundle.model import Bundle, Change, Content, File, Kind, MemoryContent
from hatch_mlbundle.models.external import find_models
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.removable import RemovableRow

from .advice import advice
from .components import components
from .findings import image_findings, layer_rows
from .image import Image, LayerPart, read_image
from .layer import Allowance, Layer, LayerSource, read_layer
from .layer_tree import LayerTree
from .layouts import FolderLayout, Layout, is_layout
from .listings import note_owners, owner_by_place
from .tar_layout import open_tar
from .tree import Effort, Folder, Leaf, Stored, Told, TreeError, lay_over, leaves

_EMPTY = hashlib.sha256(b"").hexdigest()


def open_image(path: Path, pool: Executor, limits: Limits, wanted: Wanted = EACH) -> ImageArtifact | None:
    """Return the image at `path` (an OCI image layout as folder or tar file, or a `docker save` archive), None where there is none.

    `wanted` is the GPU code that its libraries are taken to need.
    Raises ArtifactError where it cannot be read, and for a tar file of anything else: nothing else reads one.
    """
    if path.is_dir():
        return ImageArtifact(layout=FolderLayout(path, pool), limits=limits, wanted=wanted) if is_layout(path) else None
    layout = open_tar(path, pool, limits)
    return ImageArtifact(layout=layout, limits=limits, wanted=wanted) if layout else None


@dataclass(frozen=True, slots=True)
class LayeredContent:
    """The bytes of a file that lies somewhere in a compressed layer: they were read once, and are not kept."""

    layout: Layout

    def chunks(self) -> Iterator[bytes]:
        """Raise ArtifactError: to find the bytes, the layer would have to be unpacked from its start."""
        raise self.layout.fault("does not give the bytes of single files; unpack the image (docs/images.md) and analyze the folder")

    def local_path(self) -> Path | None:
        """Return None: no file on disk holds the bytes."""
        return None


Note: TypeAlias = Callable[[LayerTree], None]
"""Is given each layer, from the lowest on, before it is laid over those below it and its tree becomes part of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An image that was read: what its documents say, the tree that a container sees, and that as an artifact."""

    image: Image
    root: Folder
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageArtifact:
    """A container image open for reading, within `limits`; `wanted` is the GPU code that its libraries are taken to need."""

    layout: Layout
    limits: Limits
    wanted: Wanted = EACH
    kind: ArtifactKind = "image"

    def scan(self) -> Side:
        """Return the files that a container sees, each read once and hashed, and what layers hide; raises ArtifactError."""
        return self.read().side

    def read(self, note: Note | None = None) -> Reading:
        """Return what `scan` does, with the documents and the tree that a container sees; `note` is called as it says."""
        allowance = Allowance(self.limits)
        early = self.layout.read_early(lambda raw, size: self._read_early(raw, size, allowance))
        image = read_image(self.layout)
        failed = {name for name, layer in early.items() if layer is None}
        if failed.intersection(self.layout.target(part.name) for part in image.layers):
            allowance, early = Allowance(self.limits), {}  # read it again: only now it is known what is wrong with which layer
        layers = self._read_layers(image.layers, allowance, early)
        root = self._seen(layers, note)
        found = _found(root, allowance.effort)
        bundle, compressed, seen = _bundle(found, LayeredContent(self.layout))
        size = image.documents + sum(layer.size for layer in layers)
        account = Account(size=size, sha256=image.sha256, structure=size - sum(compressed.values()), compressed=compressed)
        rows = layer_rows(layers, [part.created_by for part in image.layers], seen)
        found_in = _found_in(bundle, found) if allowance.tells_all else {}
        contents = tuple(_contents(found_in))
        models = find_models(bundle)
        stored = {path: leaf.stored for path, leaf in found.items() if leaf.stored}
        side = Side(
            bundle=bundle,
            account=account,
            findings=image_findings(layers, seen),
            layers=rows,
            contents=contents,
            removable=told(_removable(found_in), bundle, contents, self.wanted),
            components=components(bundle, found, compressed, models),
            advice=advice(bundle, stored, layers, rows, models, contents),
        )
        return Reading(image=image, root=root, side=side)

    def refuses(self, change: Change) -> str | None:
        """Refuse any change."""
        return "a container image is read only"

    def on_disk(self, bundle: Bundle) -> None:
        """Return None: nothing is unpacked."""

    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> AbstractContextManager[Written]:
        """Raise ArtifactError: what only looks at an image does not write it (writable.py does)."""
        raise self.layout.fault("was opened to be read only")

    def _read_early(self, raw: Iterator[bytes], size: int, allowance: Allowance) -> Layer | None:
        """Return what is read as a layer before anything is known of it, None where it is none, or too large."""
        source = LayerSource(number=0, size=size, raw=raw, digest=None, diff_id=None, fault=self.layout.fault)
        try:
            return read_layer(source, allowance, self.wanted)
        except ArtifactError:
            return None

    def _read_layers(self, parts: Sequence[LayerPart], allowance: Allowance, early: dict[str, Layer | None]) -> list[Layer]:
        def source(position: int, raw: Iterator[bytes], size: int) -> LayerSource:
            part, number = parts[position], position + 1

            def fault(problem: str) -> ArtifactError:
                return self.layout.fault(f"layer {number} {problem}")

            return LayerSource(number=number, size=size, raw=raw, digest=part.digest, diff_id=part.diff_id, fault=fault)

        layers: dict[int, Layer] = {}
        for position, part in enumerate(parts):
            layer = early.pop(self.layout.target(part.name), None) if _are_of_sha256(part) else None
            if layer:
                layers[position] = layer.checked(source(position, iter(()), layer.size))
        late = [position for position in range(len(parts)) if position not in layers]
        read = self.layout.read_all(
            [parts[position].name for position in late],
            lambda number, raw, size: read_layer(source(late[number], raw, size), allowance, self.wanted),
        )
        layers.update(zip(late, read, strict=True))
        return [layers[position] for position in range(len(parts))]

    def _seen(self, layers: Sequence[Layer], note: Note | None) -> Folder:
        root = Folder()
        for layer in layers:
            try:
                layer.tree.resolve(root)
            except TreeError as error:
                raise self.layout.fault(f"layer {layer.tree.number} has a member {error}") from error
            if note:
                note(layer.tree)
            lay_over(root, layer.tree.take(), layer.tree.number)
        return root


def _are_of_sha256(part: LayerPart) -> bool:
    return part.diff_id.algorithm == "sha256" and (part.digest is None or part.digest.algorithm == "sha256")


def _found(root: Folder, effort: Effort) -> dict[str, Leaf]:
    """Return the files and links in a tree, sorted by path, with who lists them."""
    found = {path: leaf for path, leaf in sorted(leaves(root), key=itemgetter(0)) if leaf.stored or leaf.link is not None}
    note_owners(root, found, effort)
    return found


def _found_in(bundle: Bundle, found: Mapping[str, Leaf]) -> dict[str, Told]:
    """Return what was told of the files in a bundle, sorted by path."""
    stored = {path: found[path].stored for path, file in bundle.items() if file.link is None}
    return {path: each.told for path, each in stored.items() if each and each.told}


def _contents(found_in: Mapping[str, Told]) -> Iterator[ContentsRow]:
    """Yield what files are made of, sorted by path and view."""
    for path, each in found_in.items():
        yield from (ContentsRow(path=path, view=view, parts=parts) for view, parts in sorted(each.parts.items()))


def _removable(found_in: Mapping[str, Told]) -> Iterator[RemovableRow]:
    """Yield what files could lose, under the names that they have now."""
    for path, each in found_in.items():
        if each.removable:
            yield replace(each.removable, path=path)


def _bundle(found: Mapping[str, Leaf], content: LayeredContent) -> tuple[Bundle, dict[str, int], set[int]]:
    """Return the bundle of these files, the stored bytes that each took by path, and the `id`s of all `Stored` that are in it.

    Hard links are one file, under the first of their names; the others are links to it.
    """
    first: dict[int, str] = {}
    files, compressed = list[File](), dict[str, int]()
    for path, leaf in found.items():
        owner = leaf.owner or owner_by_place(path)
        stored, link = leaf.stored, leaf.link
        if stored and first.setdefault(id(stored), path) != path:
            stored, link = None, f"/{first[id(stored)]}"
        files.append(_file(path, leaf.mode, sys.intern(owner), content, stored, link))
        compressed[path] = stored.compressed if stored else 0
    return Bundle(files), compressed, set(first)


def _file(path: str, mode: int, owner: str, content: Content, stored: Stored | None, link: str | None) -> File:
    return File(
        path=path,
        size=stored.size if stored else 0,
        sha256=stored.sha256 if stored else _EMPTY,
        mode=mode,
        kind=stored.kind if stored else Kind.LINK,
        owner=owner,
        content=content if stored else MemoryContent(b""),
        link=link,
    )
