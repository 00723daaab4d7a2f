"""The descriptors of a bundle: where each lies, what it says, and what it is to say when more models leave."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from posixpath import basename, commonpath, dirname, relpath

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.frozenmodules import FrozenModules
from hatch_mlbundle.model import Bundle, File, Leave
from hatch_mlbundle.models.external import BundledModel, followed
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Mode, Model, ModelFile, parse, text_of
from hatch_mlbundle.runtime.models.errors import ModelFileError
from hatch_mlbundle.runtime.models.places import NEIGHBOUR

LARGEST = 1 << 24
"""Bytes of a descriptor that nothing has."""

_TOP = re.compile(r"((?:[^/]+\.data/(?:purelib|platlib)/)?[^/]+)/")
_METADATA = re.compile(r"[^/]+\.(?:dist-info|data)")


class Descriptors:
    """The descriptors of a bundle, and the folder that belongs to each; `contents` is a frozen application's folder of contents."""

    def __init__(self, bundle: Bundle, kind: ArtifactKind) -> None:
        self._kind = kind
        self._bundle = bundle
        self._roots = {dirname(path) for path, file in bundle.items() if basename(path) == FILE_NAME and file.link is None}
        self.contents = FrozenModules(bundle).contents.rstrip("/") if kind == "frozen" else ""

    def root_of(self, path: str, others: Iterable[str]) -> str | None:
        """Return the folder whose descriptor is to tell of a model at `path`, None where it can have none.

        That is the nearest above it that has one; else the contents folder of a frozen application, the top-level package of a wheel, the
        root of a folder, and in an image what the folders of the models that leave, `others`, have in common.
        """
        above = [root for root in self._roots if not root or path.startswith(f"{root}/")]
        if above:
            return max(above, key=len)
        match self._kind:
            case "wheel":
                top = _TOP.match(path)
                return top[1] if top and not _METADATA.fullmatch(top[1]) else None
            case "frozen":
                return self.contents if path.startswith(f"{self.contents}/") else ""
            case "image":
                return commonpath([f"/{dirname(other)}" for other in others]).strip("/")
        return ""

    def models(self, root: str) -> tuple[Model, ...]:
        """Return what the descriptor of a folder tells of, nothing where there is none; raises ModelError where it cannot be believed."""
        path = _inside(root, FILE_NAME)
        file = self._bundle.get(path)
        if file is None:
            return ()
        if file.size > LARGEST:
            raise ModelError(f"{path}: has {file.size:,} bytes, which no descriptor has")
        try:
            return parse(file.read(), path)
        except ModelFileError as error:
            raise ModelError(str(error)) from error

    def known(self) -> dict[str, str]:
        """Return the names that are taken, by the paths in the bundle of the models that have them."""
        return {_inside(root, model.path): model.name for root, model in self._told_of()}

    def gone(self) -> set[str]:
        """Return the paths in the bundle of the files that left before."""
        paths = ((_inside(root, model.path), file.path, model.is_file) for root, model in self._told_of() for file in model.files)
        return {path if is_file else f"{path}/{file}" for path, file, is_file in paths}

    def _told_of(self) -> Iterator[tuple[str, Model]]:
        """Yield each model that a descriptor tells of, and the descriptor's folder; what cannot be read tells of none."""
        for root in sorted(self._roots):
            with suppress(ModelError):
                yield from ((root, model) for model in self.models(root))


def models_folder(artifact: Path) -> Path:
    """Return the folder of the models that left an artifact: it lies beside it, wherever manifests lie."""
    named = artifact.resolve() if artifact.name in ("", "..") else artifact
    return named.with_name(named.name + NEIGHBOUR)


def _inside(root: str, path: str) -> str:
    return f"{root}/{path}" if root else path


def models_told_of(bundle: Bundle) -> list[Model]:
    """Return what all descriptors of a bundle tell of; those that cannot be read tell of nothing."""
    told: list[Model] = []
    for path, file in bundle.items():
        if basename(path) == FILE_NAME and file.link is None and file.size <= LARGEST:
            with suppress(ModelFileError):
                told += parse(file.read(), path)
    return told


def told_names(bundle: Bundle) -> set[str]:
    """Return the names of the models that left a bundle, now or before."""
    return {model.name for model in models_told_of(bundle)}


def laid_out(models: Iterable[Model], known: Mapping[str, File]) -> dict[str, File]:
    """Return the files of models by where they lie in a folder of models by name; `known` are files by SHA-256. Models go whole or not."""
    laid: dict[str, File] = {}
    for model in models:
        if all(file.sha256 in known for file in model.files):
            places = ((f"{model.name}/{file.path}", known[file.sha256]) for file in model.files)
            laid |= {place: replace(file, path=place) for place, file in places}
    return laid


def entry(model: BundledModel, root: str, *, mode: Mode, sources: Sequence[str], archive: ModelFile | None, mount: str) -> Model:
    """Return what a descriptor in the folder `root` says of a model; in `sources` `{name}` and `{digest}` are filled in.

    Raises ModelError where no descriptor can say it: for names of files that are not the same everywhere.
    """
    top = dirname(model.path) if model.is_file else model.path
    files = [ModelFile(path=relpath(file.path, top or "."), size=file.size, sha256=file.sha256) for file in model.files]
    plain = Model(
        name=model.name,
        path=relpath(model.path, root or "."),
        mode=mode,
        is_file=model.is_file,
        files=tuple(sorted(files, key=lambda file: file.path)),
        archive=archive,
        mount=mount,
    )
    filled = (source.replace("{name}", model.name).replace("{digest}", plain.digest) for source in sources)
    told = replace(plain, sources=tuple(filled))
    try:
        text_of([told])
    except ModelFileError as error:
        raise ModelError(f"no descriptor can tell of it ({error})") from error
    return told


def entry_beside(model: BundledModel) -> Model:
    """Return what the descriptor in a folder of models, each in a folder by its name, says of one."""
    plain = entry(model, dirname(model.path), mode="beside", sources=(), archive=None, mount="")
    return replace(plain, path=f"{model.name}/{plain.files[0].path}" if model.is_file else model.name)


def model_of(leave: Leave) -> BundledModel:
    """Return the model that a change takes out."""
    hidden = tuple(path for path in leave.paths if not _is_in(path, leave))
    return BundledModel(name=leave.name, path=leave.place, is_file=leave.is_file, files=leave.files, hidden=hidden)


def leaving_again(leave: Leave, bundle: Bundle) -> Leave | None:
    """Return how a model leaves a bundle in which its files are others, None where it cannot: nothing is in its place, or a link."""
    paths = [path for path in bundle if _is_in(path, leave)]
    files = tuple(followed(bundle, bundle[path]) for path in sorted(paths))
    if not files or any(file.link is not None for file in files):
        return None
    hidden = [path for path in model_of(leave).hidden if path in bundle]
    main = leave.path if leave.path in paths else max(files, key=lambda file: (file.size, file.path)).path
    return replace(leave, path=main, paths=(*(file.path for file in files), *hidden), files=files)


def _is_in(path: str, leave: Leave) -> bool:
    return path == leave.place if leave.is_file else path.startswith(f"{leave.place}/")


def kept_text(earlier: Sequence[Model], left: Sequence[Model]) -> bytes | None:
    """Return the descriptor that tells of what left before and of those that left now, None where none did."""
    replaced = {each.path for each in left} | {each.name for each in left}
    stay = [each for each in earlier if each.path not in replaced and each.name not in replaced]
    return text_of([*stay, *left]).encode() if left else None
