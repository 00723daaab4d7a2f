"""Where a source of a model's files leads: https, file, the Hugging Face hub, S3, and blobs of an OCI registry."""

from __future__ import annotations

from .descriptor import Model, ModelFile


def url_of(source: str, model: Model, file: ModelFile) -> str:
    """Return the URL of a file below a source; raises ModelFileError for a source that nothing can be fetched from.

    `https://HOST/FOLDER/`, `file:///FOLDER/`: the file's path below it. `hf://OWNER/REPO@REVISION/FOLDER`: as the hub lays them out.
    `s3://BUCKET/PREFIX/`. `oci://REGISTRY/REPOSITORY`: the blob with the file's SHA-256. What ends with `.tar` is the model's archive.
    """
    raise NotImplementedError
