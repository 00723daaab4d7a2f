"""Write an image anew: layers streamed from the old ones, with what is edited left out or in, and documents that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from hatch_mlbundle.bundles.deflate import BlockPool
from hatch_mlbundle.config import available_cores
from hatch_mlbundle.image_settings import ImageSettings
from hatch_mlbundle.model import Content, MemoryContent
from hatch_mlbundle.storage import storage_errors

from .edits import ImageEdit
from .image import part_name, read_image
from .image_documents import LayerEntry, NewDocuments, new_documents, read_documents
from .image_layers import CheckedExtent, ImageLayers
from .image_target import packing_of, writing_image
from .layer_packing import BlobFolder, LayerPacker
from .layouts import Layout

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def write_image(
    layout: Layout,
    edit: ImageEdit,
    settings: ImageSettings,
    target: Path,
    pool: Executor,
    *,
    scratch: Path,
    workers: int | None = None,
    told: Path | None = None,
) -> None:
    """Write the image in `layout`, edited, to the file or folder `target`, which is free; the same input gives the same bytes.

    A folder is written where the name ends in none of `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`: an OCI image layout. A tar file is both an
    OCI archive and what `docker load` takes (manifest.json). Packed layers go through `scratch`, an empty folder, several at once on
    `pool` (which the layout reads with), packed by `workers` threads, one a core where that is None.

    Layers without an edit keep their stored bytes; with `recompress`, those with an edit that changes nothing are packed anew. One of which
    nothing is left goes, and its entry of the history is marked as that of an empty layer. The configuration keeps all that it says, with
    the new diff_ids, the history (an entry for each new layer, the comment at each changed one) and the labels. Of an index for several
    platforms only the image that was read is written, without attestations. Raises ArtifactError where the image is damaged or no longer
    the one that was read, StorageError (about `told`, the name that the target is to get), MissingLibraryError; nothing is then left of the
    target.
    """
    workers, told = workers or available_cores(), told or target
    image = read_image(layout)
    old = read_documents(layout, image)
    if len(edit.layers) != len(image.layers):
        raise layout.fault(f"has {len(image.layers)} layers, not {len(edit.layers)} as when it was read")
    with storage_errors(told), writing_image(target, scratch, workers) as output, BlockPool(workers) as blocks:
        blobs = BlobFolder(output.blobs, told if packing_of(target) is None else scratch)
        packer = LayerPacker(settings, blobs, workers, blocks)
        entries = ImageLayers(layout, image, edit, packer, blobs, pool, recompress=settings.recompress).all()
        documents = new_documents(old, edit, entries)
        output.write(_parts(layout, documents, entries, output.blobs, is_archive=packing_of(target) is not None))


def _parts(
    layout: Layout, documents: NewDocuments, entries: Sequence[LayerEntry], made: Path, *, is_archive: bool
) -> dict[str, tuple[Content, int]]:
    """Return all parts of the new image, the documents before the layers, so that they are found without reading these."""
    texts = {"oci-layout": _LAYOUT, "index.json": documents.index}
    if is_archive:
        texts["manifest.json"] = documents.docker_manifest
    texts |= documents.blobs
    parts: dict[str, tuple[Content, int]] = {name: (MemoryContent(data), len(data)) for name, data in texts.items()}
    for each in entries:
        name, extent = part_name(each.packed.digest), each.packed.extent
        if name not in parts:
            content = extent if extent.path.parent == made else CheckedExtent(extent, each.packed.digest, layout.fault)
            parts[name] = content, extent.size
        elif extent.path.parent == made:
            extent.path.unlink()  # the same layer twice
    return parts
