"""The layers of an image that is written anew: several at once, each in as many passes as it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from hatch_mlbundle.errors import ArtifactError

from .edits import ImageEdit, LayerEdit
from .extent import Extent
from .image import Image
from .image_documents import LayerEntry
from .layer import Digest
from .layer_packing import BlobFolder, LayerPacker, Packed, suffix_of
from .layer_plan import LayerPlan, plan_layer
from .layer_stream import LayerStream, Watch
from .layer_writer import END, LayerWriter, UnplannedError
from .layouts import Layout
from .new_layer import AttributeNotes, Attributes, new_layer, paths_of
from .together import read_together


@dataclass(frozen=True, slots=True)
class _Next:
    """What must be done with a layer that has to be read once more."""

    step: _Step


_Outcome: TypeAlias = LayerEntry | _Next | None
"""A layer that is written, one that needs another pass, or one of which nothing is left."""
_Step: TypeAlias = Callable[[int, Iterator[bytes]], _Outcome]
"""Is given a layer's number from 0 and its stored bytes."""


@dataclass(frozen=True, slots=True)
class CheckedExtent:
    """The bytes of an extent, if they have this digest."""

    extent: Extent
    digest: Digest
    fault: Callable[[str], ArtifactError]

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; raises ArtifactError where they are others."""
        digest = hashlib.new(self.digest.algorithm)
        for chunk in self.extent.chunks():
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != self.digest.hex:
            raise self.fault(f"has a layer that should have the digest {self.digest}, but has another; it is damaged or was changed")

    def local_path(self) -> Path | None:
        """Return None: nobody has checked the bytes there."""
        return None


class ImageLayers:
    """Makes the layers of an image as `edit` says; `recompress` packs those anew that have an edit which changes nothing."""

    def __init__(
        self,
        layout: Layout,
        image: Image,
        edit: ImageEdit,
        packer: LayerPacker,
        blobs: BlobFolder,
        pool: Executor,
        *,
        recompress: bool,
    ) -> None:
        self._layout = layout
        self._pool = pool
        self._parts = image.layers
        self._edit = edit
        self._packer = packer
        self._blobs = blobs
        self._recompress = recompress
        self._new_paths = paths_of(edit.new)
        self._notes: dict[int, AttributeNotes] = {}

    def all(self) -> list[LayerEntry]:
        """Return the layers, from the lowest on, without those of which nothing is left; raises ArtifactError, StorageError."""
        outcomes: list[_Outcome] = [self._first(number) for number in range(len(self._parts))]
        while waiting := [number for number, each in enumerate(outcomes) if isinstance(each, _Next)]:
            for number, outcome in zip(waiting, self._pass(waiting, outcomes), strict=True):
                outcomes[number] = outcome
        entries = [each for each in outcomes if isinstance(each, LayerEntry)] + self._new()
        if not entries:  # an image without layers is one that hardly any program takes
            entries = [LayerEntry(packed=self._packer.pack([END]), old=len(self._parts) - 1)]
        return entries

    def _pass(self, waiting: Sequence[int], outcomes: Sequence[_Outcome]) -> list[_Outcome]:
        def read(position: int, raw: Iterator[bytes], _size: int) -> _Outcome:
            outcome = outcomes[waiting[position]]
            assert isinstance(outcome, _Next)  # noqa: S101 - it waits
            return outcome.step(waiting[position], raw)

        return read_together(self._layout, [self._parts[number].name for number in waiting], read)

    def _first(self, number: int) -> _Outcome:
        edit = self._edit.layers[number]
        if edit and (edit.drop or edit.replace):
            return _Next(partial(self._rewrite, edit=edit, plan=None))
        return _Next(self._repack) if edit and self._recompress else self._kept(number)

    def _kept(self, number: int) -> _Outcome:
        """Return the layer as it lies in the image, or what copies it out of a packed one or finds out its digest."""
        part = self._parts[number]
        extent = self._layout.extent(part.name)
        if extent is None or part.digest is None:
            return _Next(self._copy)
        packed = Packed(digest=part.digest, diff_id=part.diff_id, extent=extent, suffix=suffix_of(extent.head(4)))
        return LayerEntry(packed=packed, old=number, is_kept=True, is_changed=False)

    def _copy(self, number: int, raw: Iterator[bytes]) -> LayerEntry:
        part = self._parts[number]
        extent = self._layout.extent(part.name)
        if extent:
            stream = self._stream(number, raw)
            digest = stream.finish()
        else:
            with self._blobs.new() as file:
                stream = self._stream(number, _copied(raw, file))
                digest = stream.finish()
            extent = Extent(path=Path(file.name), size=stream.size)
        packed = Packed(digest=digest, diff_id=part.diff_id, extent=extent, suffix=suffix_of(stream.head))
        return LayerEntry(packed=packed, old=number, is_kept=True, is_changed=False)

    def _repack(self, number: int, raw: Iterator[bytes]) -> LayerEntry:
        stream = self._stream(number, raw)
        packed = self._packer.pack(stream.chunks())
        stream.finish()
        return LayerEntry(packed=packed, old=number, is_changed=packed.diff_id != self._parts[number].diff_id)

    def _rewrite(self, number: int, raw: Iterator[bytes], *, edit: LayerEdit, plan: LayerPlan | None) -> _Outcome:
        writer = LayerWriter(self._watched(number, raw), number + 1, edit, plan)
        try:
            packed = self._packer.pack(writer.chunks())
        except UnplannedError:
            return _Next(partial(self._plan, edit=edit))
        if writer.is_changed and writer.members:
            return LayerEntry(packed=packed, old=number)
        if not writer.is_changed and self._recompress and packed.diff_id == self._parts[number].diff_id:
            return LayerEntry(packed=packed, old=number, is_changed=False)
        packed.extent.path.unlink()
        if writer.is_changed:
            return None
        return _Next(self._repack) if self._recompress else self._kept(number)

    def _plan(self, number: int, raw: Iterator[bytes], *, edit: LayerEdit) -> _Next:
        plan = plan_layer(self._stream(number, raw), number + 1, edit)
        return _Next(partial(self._rewrite, edit=edit, plan=plan))

    def _new(self) -> list[LayerEntry]:
        """Return the new layers, packed several at once."""
        layers = [each for each in self._edit.new if each.files]
        known = self._attributes()
        futures = [self._pool.submit(self._packer.pack, new_layer(each.files, known)) for each in layers]
        wait(futures)
        return [LayerEntry(packed=each.result(), created_by=made.created_by) for each, made in zip(futures, layers, strict=True)]

    def _attributes(self) -> dict[str, Attributes]:
        """Return what the topmost layer that has a member of a new path says of it; layers are read whose members nobody saw yet."""
        if not self._new_paths:
            return {}
        unread = [number for number in range(len(self._parts)) if number not in self._notes]

        def read(position: int, raw: Iterator[bytes], _size: int) -> None:
            stream = self._watched(unread[position], raw)
            for _ in stream.members():
                pass
            stream.finish()

        read_together(self._layout, [self._parts[number].name for number in unread], read)
        known: dict[str, Attributes] = {}
        for number in range(len(self._parts)):
            known |= self._notes[number].found
        return known

    def _watched(self, number: int, raw: Iterator[bytes]) -> LayerStream:
        """Return a layer of which all members are about to be read."""
        notes = self._notes[number] = AttributeNotes(self._new_paths)
        return self._stream(number, raw, notes.note)

    def _stream(self, number: int, raw: Iterator[bytes], watch: Watch | None = None) -> LayerStream:
        return LayerStream(self._layout, number + 1, self._parts[number], raw, watch)


def _copied(raw: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    for piece in raw:
        file.write(piece)
        yield piece
