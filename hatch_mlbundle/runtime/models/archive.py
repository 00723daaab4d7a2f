"""A tar file of a model, and nothing of it but the files that the model has."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import BinaryIO

from .descriptor import Model, ModelFile
from .errors import ModelFileError

Put = Callable[[ModelFile, BinaryIO], bool]
"""Takes a file and a stream of its bytes; says whether they are right."""


def read(stream: BinaryIO, model: Model, where: str, put: Put) -> None:
    """Hand over each file of a model that lies at `NAME/` in a tar file; whatever else is in there, nobody sees.

    Raises ModelFileError where one is missing or has other bytes.
    """
    wanted = {f"{model.name}/{file.path}": file for file in model.files}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            last = -1
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would hold every header, of however many files
                if member.offset <= last:
                    raise ValueError("it leads back to where it was")
                last = member.offset
                file = wanted.get(member.name.removeprefix("./"))
                if file is not None and member.isreg() and member.size == file.size and member.sparse is None:
                    content = archive.extractfile(member)
                    if content is not None and put(file, content):  # type: ignore[arg-type]
                        del wanted[f"{model.name}/{file.path}"]
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise ModelFileError(f"{where}: is no tar file that can be read ({error}); get it anew") from error
    if wanted:
        raise ModelFileError(f"{where}: lacks {min(wanted)}, or has it with other bytes; get it anew")
