"""Arrays to work in that a thread uses again and again: to get a megabyte from the system anew each time costs as much as to fill it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

_LOCAL = threading.local()


def scratch(name: str, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
    """Return an array of `count` elements that holds anything, until the thread asks for one of this name again."""
    arrays: dict[str, npt.NDArray[np.uint8]] = _LOCAL.__dict__
    size = np.dtype(dtype).itemsize * count
    if name not in arrays or arrays[name].size < size:
        arrays[name] = np.empty(size, np.uint8)
    return arrays[name][:size].view(dtype)
