"""A tar file of a model, and nothing of it but the files that the model has."""

from __future__ import annotations

from collections.abc import Callable
from tarfile import TarError
from typing import IO

from ..tar_files import regular_files
from .descriptor import Model, ModelFile
from .errors import ModelFileError


def read(stream: IO[bytes], model: Model, where: str, take: Callable[[ModelFile, IO[bytes]], bool]) -> None:
    """Hand over each file of a model that lies at `NAME/` in a tar file; `take` says whether its bytes are right.

    Raises ModelFileError where one is missing or has other bytes.
    """
    wanted = {f"{model.name}/{file.path}": file for file in model.files}
    try:
        for path, size, content in regular_files(stream):
            name = path.removeprefix("./")
            if name in wanted and size == wanted[name].size and take(wanted[name], content):
                del wanted[name]
    except (ValueError, TarError) as error:
        raise ModelFileError(f"{where}: is no tar file that can be read ({error}); get it anew") from error
    if wanted:
        raise ModelFileError(f"{where}: lacks {min(wanted)}, or has it with other bytes; get it anew")
