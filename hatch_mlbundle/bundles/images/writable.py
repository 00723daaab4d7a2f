"""A container image as a bundle that can be changed: what is left out goes from its layer, and layers that nothing changes stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import basename

from hatch_mlbundle import __version__
from hatch_mlbundle.bundles.artifact import Side, Written
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.image_settings import ImageSettings
from hatch_mlbundle.model import Add, Bundle, Change, Content, File, Finding, Keep, Link
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME
from hatch_mlbundle.units import format_size

from .artifact import ImageArtifact, Reading, open_image
from .base import base_layers
from .editing import Editor, Layered, carry_over, new_layer, settled
from .edits import ImageEdit, NewLayer
from .image_writer import write_image
from .layer_files import layer_contents
from .members import Members, folder_places, members_of
from .model_layers import model_layers
from .replacing import check_image_target, replacing_image
from .running import Running, running_of
from .scope import Scope, changeable
from .started import started_files
from .tree import Leaf, leaves

_LABEL = "io.github.hatch-mlbundle"
"""Begins the labels that say what was done (OCI image specification, annotations.md, "Rules")."""
_WORTH_TELLING = 10**5
"""Bytes that an image may grow by without a word: labels and history take some."""
_SMALL = 1 << 20
"""Bytes of the largest file that is read as a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWork:
    """What it takes to change an image: the settings, relative to `project`; threads; new empty folders; the names of the steps."""

    settings: ImageSettings
    project: Path
    pool: Executor
    workers: int
    new_folder: Callable[[], Path]
    steps: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scanned:
    """An image that was read, the files with their bytes, and which of them may be changed."""

    reading: Reading
    layered: Layered
    bundle: Bundle
    folders: frozenset[str]
    free: frozenset[str]


class WritableImage:
    """A container image open to be changed; its files lie in a folder of their own from `scan` on."""

    kind: ArtifactKind = "image"

    def __init__(self, path: Path, image: ImageArtifact, work: ImageWork) -> None:
        self._path = path
        self._image = image
        self._work = work
        self._scope = Scope(work.settings)
        self._target: Path | None = None
        self._state: _Scanned | None = None

    @property
    def _scanned(self) -> _Scanned:
        assert self._state is not None  # noqa: S101 - an artifact is scanned before anything else
        return self._state

    def scan(self) -> Side:
        """Return the files that a container sees, with their bytes; raises ArtifactError, ConfigurationError, StorageError."""
        members: list[Members] = []
        reading = self._image.read(note=lambda tree: members.append(members_of(tree)))
        if reading.image.others and self._target and self._target.resolve() == self._path.resolve():
            others = f"{reading.image.others:,} more images"
            raise self._image.layout.fault(f"holds {others}, which would be lost; put the result elsewhere with --output")
        settings = self._work.settings
        base = base_layers(settings.base, reading.image, self._work.project, self._work.pool, self._image.limits)
        visible = dict(leaves(reading.root))
        layered = Layered(visible=visible, layers=members, base=base)
        stored = {id(leaf.stored): leaf.stored for leaf in visible.values() if leaf.stored}
        contents = layer_contents(self._image.layout, stored, self._work.new_folder())
        bundle = Bundle(_with_bytes(file, visible[file.path], contents) for file in reading.side.bundle.values())
        started = started_files(running_of(self._image.layout, reading.image), bundle)
        free = changeable(self._scope, visible, members, base) - started
        folders = frozenset(folder_places(reading.root))
        self._state = _Scanned(reading=reading, layered=layered, bundle=bundle, folders=folders, free=free)
        return replace(reading.side, bundle=bundle)

    def selects(self, path: str) -> bool:
        """Say whether steps may change a file: in an image, most files are the system's."""
        state = self._scanned
        return path in state.free if path in state.bundle else self._scope.contains(path)

    def is_of_base(self, path: str) -> bool:
        """Say whether a file lies in a layer of the base image, which stays as it is."""
        leaf = self._scanned.layered.visible.get(path)
        return leaf is not None and leaf.layer <= self._scanned.layered.base

    def refuses(self, change: Change) -> str | None:
        """Return why an image cannot have a change, or None."""
        if isinstance(change, Keep) or basename(change.path) == FILE_NAME:  # what tells of models that left may lie anywhere
            return None
        if not self.selects(change.path):
            what = "a new file there" if isinstance(change, Add) else "it"
            return f"{what} is not among what may be changed in an image (docs/images.md, [tool.mlbundle.image] paths)"
        if isinstance(change, Link) and change.path in self._scanned.layered.names:
            return "it has other names (hard links)"
        return None

    def on_disk(self, bundle: Bundle) -> Bundle:
        """Return the files as they lie in an unpacked root: each name of a file with its bytes, and nobody's rights but the owner's."""
        names, files = self._scanned.layered.names, self._settled(bundle)
        return Bundle(_laid(file, files, names) for file in files.values())

    @property
    def folders(self) -> frozenset[str]:
        """The folders that a container sees: a program may want also those that hold no file."""
        return self._scanned.folders

    def text(self, path: str) -> str:
        """Return the text of a small file of the image as it is, "" where there is none."""
        file = self._scanned.bundle.get(path)
        return file.read().decode("utf-8", "replace") if file and file.size <= _SMALL else ""

    @property
    def running(self) -> Running:
        """What the image's configuration says of how a container is started; raises ArtifactError."""
        return running_of(self._image.layout, self._scanned.reading.image)

    def check_target(self, target: Path) -> None:
        """See, before the scan, whether the result may go to `target`; raises ArtifactError."""
        check_image_target(self._path, target)
        self._target = target

    @property
    def is_to_be_written(self) -> bool:
        """Whether there is something to do even where no step changes a file: hidden bytes, models, layers to be packed anew."""
        edit, _ = self._edit(self._scanned.bundle)
        return bool(edit.new) or any(layer is not None for layer in edit.layers)

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> Iterator[Written]:
        """Write the image with these files beside `target`, and read it back; it takes its place when the body ends without an error.

        Raises ArtifactError, StorageError, and UnsoundResultError where a container would see other files than these.
        """
        work, after = self._work, self._settled(bundle)
        edit, findings = self._edit(after)
        with replacing_image(target) as place:
            scratch = work.new_folder()
            write_image(self._image.layout, edit, work.settings, place, work.pool, scratch=scratch, workers=work.workers, told=target)
            written = open_image(place, work.pool, self._image.limits, self._image.wanted)
            if written is None:
                raise UnsoundResultError(f"{target}: was written as something that is no image; report this")
            side = written.scan()
            _check_same(target, after, side.bundle)
            yield Written(side=side, path=place, findings=(*self._told(side), *findings))

    def _settled(self, bundle: Bundle) -> Bundle:
        return settled(bundle, self._scanned.bundle, self._scanned.layered.names)

    def _edit(self, after: Bundle) -> tuple[ImageEdit, tuple[Finding, ...]]:
        """Return what becomes of the image so that a container sees these files, and what there is to say of it."""
        state, settings = self._scanned, self._work.settings
        new: list[NewLayer] = []
        findings: tuple[Finding, ...] = ()
        editor, left = Editor(image=state.layered), after
        if settings.model_layers:
            models = model_layers(after, state.layered, self.selects, settings.model_size)
            new, findings = list(models.layers), models.findings
            left = after.without(file.path for file in models.moved)
        added = carry_over(editor, state.bundle, left)
        if added:
            new.append(new_layer(added, f"mlbundle: new files of {', '.join(self._work.steps)}"))
        layers = editor.edits(recompress=settings.recompress)
        if not new and not any(layers):
            return ImageEdit(layers=layers), findings
        return ImageEdit(layers=layers, new=tuple(new), labels=self._labels(), comment=f"mlbundle {__version__}"), findings

    def _labels(self) -> Mapping[str, str]:
        told = {"version": __version__, "steps": ",".join(self._work.steps), "source": f"sha256:{self._scanned.reading.image.sha256}"}
        return {f"{_LABEL}.{key}": value for key, value in sorted(told.items())}

    def _told(self, written: Side) -> Iterator[Finding]:
        """Yield what there is to say of an image that was written."""
        image, scope = self._scanned.reading.image, self._scope
        if image.others:
            yield Finding(code="MB911", message=f"the {image.others:,} other images that lie with this one are not in the result")
        visible = self._scanned.layered.visible
        bound = {
            id(leaf.stored): leaf.stored.size for path, leaf in visible.items() if leaf.is_shared and leaf.stored and scope.contains(path)
        }
        if bound:
            files = f"{len(bound):,} files ({format_size(sum(bound.values()))})"
            yield Finding(code="MB912", message=f"{files} stay as they are: hard links of one layer lead to files of another")
        before, after = self._scanned.reading.side.account.size, written.account.size
        if after > before + _WORTH_TELLING:
            message = (
                f"the result takes {format_size(after)} as stored, more than the image's {format_size(before)}: its changed layers are "
            )
            yield Finding(code="MB913", message=f"{message}packed as {self._work.settings.compression}, and were better packed before")


def _with_bytes(file: File, leaf: Leaf, contents: Mapping[int, Content]) -> File:
    if file.link is not None:
        return file
    return replace(file, content=contents[id(leaf.stored)], rights=leaf.rights, modified=leaf.modified)


def _laid(file: File, bundle: Bundle, names: Mapping[str, Sequence[str]]) -> File:
    """Return a file as it lies on disk: a name of one that has several is no link there."""
    if file.link is not None and file.path in names:
        return replace(bundle[file.link.lstrip("/")], path=file.path)
    return file if file.link is not None else replace(file, mode=file.mode & 0o777)


def _check_same(target: Path, expected: Bundle, found: Bundle) -> None:
    """Raise UnsoundResultError where a container would see other files than it should."""
    wrong = sorted(path for path in {*expected, *found} if _seen(expected.get(path)) != _seen(found.get(path)))
    if wrong:
        raise UnsoundResultError(f"{target}: {len(wrong):,} files were not written as they should be ({wrong[0]!a}); report this")


def _seen(file: File | None) -> tuple[str, int, str | None] | None:
    """Return what a container sees of a file; the mode of a link is nobody's concern."""
    return None if file is None else (file.sha256, file.mode if file.link is None else 0, file.link)
