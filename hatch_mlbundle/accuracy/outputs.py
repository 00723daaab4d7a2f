"""Outputs of a model on disk: a zip archive of numpy arrays, `NUMBER/NAME.npy` each, the names quoted as in a URL.

They are written and read sample by sample: of a language model they may be gigabytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from .evaluator import Array, Outputs


def write_outputs(path: Path, outputs: Iterable[Outputs], count: int) -> None:
    """Write the outputs of `count` samples; raises ValueError for more or fewer, or what is no array of numbers."""
    import numpy as np

    written = 0
    with zipfile.ZipFile(path, "w") as archive:
        for sample in outputs:
            if written == count:
                raise ValueError(f"the evaluator gave outputs for more than the {count} samples")
            for name, value in sample.items():
                with archive.open(f"{written}/{quote(name, safe='')}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, _array(name, value), allow_pickle=False)
            written += 1
    if written != count:
        raise ValueError(f"the evaluator gave outputs for {written} of {count} samples")


def read_outputs(path: Path, count: int) -> Iterator[dict[str, Array]]:
    """Yield the outputs of each of `count` samples."""
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        names: list[list[str]] = [[] for _ in range(count)]
        for member in archive.namelist():
            number, _, name = member.partition("/")
            names[int(number)].append(name)
        for position, listed in enumerate(names):
            sample = {}
            for name in listed:
                with archive.open(f"{position}/{name}") as stream:
                    sample[unquote(name.removesuffix(".npy"))] = np.lib.format.read_array(stream, allow_pickle=False)
            yield sample


def _array(name: str, value: Array) -> Array:
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"output {name!r} holds {array.dtype}, no numbers")
    return array
