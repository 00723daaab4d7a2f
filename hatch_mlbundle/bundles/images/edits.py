"""What is to become of an image's layers: the writer (image_writer.py) carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hatch_mlbundle.model import File


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEdit:
    """What becomes of a layer's members, by their paths in it, plain (`tree.plain`); what is not named stays, header and all.

    `drop` also takes folders (their member alone, not what is in them) and whiteouts. `replace` gives a member other bytes and another
    mode, or makes it a symbolic link (`File.link`); owner and time stay, and of what becomes no link the extended attributes that its own
    header has. Of a file with several names (hard links), an edit is about the names that it has: where the name with the data goes, the
    next one takes them over, unchanged. Names of one file that are replaced with the same bytes stay one file. Of a name that is in the
    layer twice, the last counts.
    """

    drop: frozenset[str] = frozenset()
    replace: Mapping[str, File] = field(default_factory=dict)

    def changes(self, path: str) -> bool:
        """Say whether the member at a path goes, or becomes another."""
        return path in self.drop or path in self.replace


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLayer:
    """A layer to be put on top: files, with the folders above them, and what the history says made it.

    Owners, and modes of folders, are what they are in the image where a layer has such a member; else all is root's, and folders have
    0o755. Times are those of SOURCE_DATE_EPOCH (epoch.py): the same files give the same layer whatever the rest of the image is.
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
