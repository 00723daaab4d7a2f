"""A model as an image of its own: to be mounted (Kubernetes image volumes), copied from (COPY --from), or fetched blob by blob."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from hatch_mlbundle.bundles.archives.tar_stream import tar_chunks
from hatch_mlbundle.bundles.archives.tree import MemberType
from hatch_mlbundle.canonical import canonical_json
from hatch_mlbundle.epoch import HATCHLING_EPOCH
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import File, Kind, MemoryContent
from hatch_mlbundle.models.external import BundledModel
from hatch_mlbundle.models.left_models import entry_beside
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, ModelFile, text_of
from hatch_mlbundle.storage import storage_errors

ModelForm: TypeAlias = Literal["folder", "tar", "image", "artifact"]
"""How a model lies beside an artifact: a folder; a tar file; an OCI layout of an image that has the model at `/NAME/`, in a layer of its
own, and at its root the descriptor that tells which version it is; an OCI layout with a blob for each file, titled by
`org.opencontainers.image.title`, as `oras push` lays them out.
"""

MTIME = HATCHLING_EPOCH
"""When everything in a model was changed last, whatever SOURCE_DATE_EPOCH says: a model that stays the same keeps its bytes."""

ARTIFACT_TYPE = "application/vnd.mlbundle.model.v1"
"""What an artifact is, of which no program knows more (image-spec 1.1, manifest.md, "Guidelines for Artifact Usage")."""

_OCI = "application/vnd.oci"
_TITLE = "org.opencontainers.image.title"
_ARCHITECTURES = ("amd64", "arm64")
"""What a container engine wants to find in an index; the layers are the same."""

Json: TypeAlias = dict[str, Any]


def write_model(model: BundledModel, form: ModelForm, target: Path, pool: Executor | None = None) -> None:
    """Write a model to `target`, which is free, in any of the forms; the same model gives the same bytes.

    `pool` copies several files at a time. Raises ArtifactError where a file is a link or its bytes are not those it was read with,
    StorageError; what was written until then stays.
    """
    files = model_files(model)
    with storage_errors(target):
        if form == "folder":
            _write_folder(files, target, pool)
        elif form == "tar":
            with target.open("xb") as stream:
                for chunk in _tar(model.name, files):
                    stream.write(chunk)
        elif form == "image":
            _write_image(model, files, target)
        else:
            _write_artifact(model.name, files, target, pool)


def model_archive(model: BundledModel) -> ModelFile:
    """Return what the form `tar` is, without writing it, for the model's descriptor; the first layer of the form `image` is the same file.

    Raises ArtifactError.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _tar(model.name, model_files(model)):
        digest.update(chunk)
        size += len(chunk)
    return ModelFile(path=f"{model.name}.tar", size=size, sha256=digest.hexdigest())


def model_files(model: BundledModel) -> dict[str, File]:
    """Return the files by their paths in the model, sorted; raises ArtifactError where one is a link, which leads out of the bundle."""
    top = PurePosixPath(model.path).parent if model.is_file else PurePosixPath(model.path)
    for file in model.files:
        if file.link is not None:
            raise ArtifactError(file.path, f"is a link to {file.link!a}, where no file of its model is; put the file in its place")
    files = {PurePosixPath(file.path).relative_to(top).as_posix(): file for file in model.files}
    return dict(sorted(files.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A file of a model or a folder above one (`archives.tar_stream.TarMember`)."""

    name: str
    file: File | None
    target: str = ""

    @property
    def type(self) -> MemberType:
        return MemberType.FOLDER if self.file is None else MemberType.FILE

    @property
    def size(self) -> int:
        return self.file.size if self.file else 0

    @property
    def mode(self) -> int:
        return _mode(self.file) if self.file else 0o755

    def chunks(self) -> Iterator[bytes]:
        return _checked(self.file) if self.file else iter(())


def _mode(file: File) -> int:
    return 0o755 if file.mode & 0o111 else 0o644


def _checked(file: File) -> Iterator[bytes]:
    """Yield a file's bytes; raises ArtifactError at the end where they are others than were planned with."""
    digest = hashlib.sha256()
    for chunk in file.content.chunks():
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != file.sha256:
        raise ArtifactError(file.path, "changed while it was being copied; build again when nothing writes there")


def _tar(name: str, files: dict[str, File]) -> Iterator[bytes]:
    folders = {f"{name}/{parent}" for path in files for parent in PurePosixPath(path).parents}
    members = [_Member(name=PurePosixPath(folder).as_posix(), file=None) for folder in folders]
    members += [_Member(name=f"{name}/{path}", file=file) for path, file in files.items()]
    return tar_chunks(sorted(members, key=lambda member: member.name), MTIME)


def _write_folder(files: dict[str, File], target: Path, pool: Executor | None) -> None:
    target.mkdir()
    folders = {target / parent for path in files for parent in PurePosixPath(path).parents}
    for folder in sorted(folders - {target}):
        folder.mkdir()
    _copy([(file, target / path) for path, file in files.items()], pool)
    for folder in folders:
        folder.chmod(0o755)
        os.utime(folder, (MTIME, MTIME))


def _copy(copies: list[tuple[File, Path]], pool: Executor | None) -> None:
    """Copy files to where nothing is yet."""
    for _ in (pool.map if pool else map)(_copy_one, *zip(*copies, strict=True)):
        pass


def _copy_one(file: File, place: Path) -> None:
    with place.open("xb") as stream:
        for chunk in _checked(file):
            stream.write(chunk)
    place.chmod(_mode(file))
    os.utime(place, (MTIME, MTIME))


def _write_image(model: BundledModel, files: dict[str, File], target: Path) -> None:
    """Write an index of images for Linux that differ in the processor they are for alone (image-spec, image-index.md)."""
    _make_layout(target)
    layers = [_put_layer(target, _tar(model.name, files)), _put_layer(target, _descriptor_tar(model))]
    images = [_put_image(target, model.name, architecture, layers) for architecture in _ARCHITECTURES]
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.image.index.v1+json", "manifests": images, "annotations": {_TITLE: model.name}}
    _finish_layout(target, _put_json(target, index, f"{_OCI}.image.index.v1+json"))


def _descriptor_tar(model: BundledModel) -> Iterator[bytes]:
    """Return a layer with what tells the runtime which version of the model this is, where the image is mounted."""
    data = text_of([entry_beside(model)]).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    file = File(path=FILE_NAME, size=len(data), sha256=sha256, mode=0o644, kind=Kind.DATA, owner="", content=MemoryContent(data))
    return tar_chunks([_Member(name=FILE_NAME, file=file)], MTIME)


def _put_image(target: Path, name: str, architecture: str, layers: list[Json]) -> Json:
    created = datetime.fromtimestamp(MTIME, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": [{"created": created, "created_by": f"mlbundle: {what}"} for what in (f"model {name}", FILE_NAME)],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.image.manifest.v1+json",
        "config": _put_json(target, config, f"{_OCI}.image.config.v1+json"),
        "layers": layers,
        "annotations": {_TITLE: name},
    }
    return {**_put_json(target, manifest, f"{_OCI}.image.manifest.v1+json"), "platform": {"architecture": architecture, "os": "linux"}}


def _write_artifact(name: str, files: dict[str, File], target: Path, pool: Executor | None) -> None:
    _make_layout(target)
    blobs = {file.sha256: file for file in files.values()}
    _copy([(file, _blob(target, sha256)) for sha256, file in blobs.items()], pool)
    layers = [
        {**_descriptor("application/octet-stream", file.sha256, file.size), "annotations": {_TITLE: path}} for path, file in files.items()
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.image.manifest.v1+json",
        "artifactType": ARTIFACT_TYPE,
        "config": {**_put_json(target, {}, f"{_OCI}.empty.v1+json"), "data": "e30="},
        "layers": layers,
        "annotations": {_TITLE: name},
    }
    _finish_layout(target, {**_put_json(target, manifest, f"{_OCI}.image.manifest.v1+json"), "artifactType": ARTIFACT_TYPE})


def _make_layout(target: Path) -> None:
    """Begin an OCI image layout (image-layout.md)."""
    (target / "blobs/sha256").mkdir(parents=True)
    (target / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')


def _finish_layout(target: Path, manifest: Json) -> None:
    tagged = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.image.index.v1+json", "manifests": [tagged]}
    (target / "index.json").write_bytes(canonical_json(index))


def _put_layer(target: Path, chunks: Iterator[bytes]) -> Json:
    digest, partial = hashlib.sha256(), target / "blobs/sha256/partial"
    with partial.open("xb") as stream:
        for chunk in chunks:
            digest.update(chunk)
            stream.write(chunk)
        size = stream.tell()
    partial.rename(_blob(target, digest.hexdigest()))
    return _descriptor(f"{_OCI}.image.layer.v1.tar", digest.hexdigest(), size)


def _put_json(target: Path, document: Json, kind: str) -> Json:
    data = canonical_json(document)
    sha256 = hashlib.sha256(data).hexdigest()
    _blob(target, sha256).write_bytes(data)
    return _descriptor(kind, sha256, len(data))


def _blob(target: Path, sha256: str) -> Path:
    return target / "blobs/sha256" / sha256


def _descriptor(kind: str, sha256: str, size: int) -> Json:
    return {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}
