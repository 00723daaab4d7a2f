"""What is to become of an image's layers: the writer (image_writer.py) carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hatch_mlbundle.model import File


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEdit:
    """What becomes of a layer's members, by their paths as `tree.plain` writes them; what is not named stays, header and all.

    `drop` also takes folders and whiteouts. `replace` gives a member other bytes, or makes it a symbolic link (`File.link`); owner, time
    and extended attributes stay. Of a file with several names (hard links), an edit is about the names that it has: where the first goes,
    the next takes the data over.
    """

    drop: frozenset[str] = frozenset()
    replace: Mapping[str, File] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLayer:
    """A layer to be put on top: files, with the folders above them as they are in the image, and what the history says made it.

    Owner and group are root, times those of the image's configuration. The same files give the same layer, whatever else the image holds.
    """

    files: tuple[File, ...]
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEdit:
    """What becomes of an image: an edit for each layer (None: its stored bytes stay), new ones on top, labels, the history's comment."""

    layers: tuple[LayerEdit | None, ...]
    new: tuple[NewLayer, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    comment: str = ""
