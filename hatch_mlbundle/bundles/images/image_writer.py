"""Write an image anew: layers streamed from the old ones, with what is edited left out or in, and documents that fit them."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from hatch_mlbundle.image_settings import ImageSettings

from .edits import ImageEdit
from .layouts import Layout


def write_image(layout: Layout, edit: ImageEdit, settings: ImageSettings, target: Path, pool: Executor, *, scratch: Path) -> None:
    """Write the image in `layout`, edited, to the file or folder `target`, which is free; the same input gives the same bytes.

    A folder is written where the name ends in none of `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`: an OCI image layout. A tar file is both an
    OCI archive and what `docker load` takes (manifest.json). Packed layers go through `scratch`, an empty folder, several at once.
    Layers without an edit keep their stored bytes. The configuration keeps all that it says, with the new
    diff_ids, the history (an entry for each new layer, the comment at each changed one) and the labels. Raises ArtifactError, StorageError.
    """
    raise NotImplementedError
