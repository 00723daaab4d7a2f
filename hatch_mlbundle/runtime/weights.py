"""Read packed weights: a file of tensors in fewer bytes than they are loaded as (its format: container.py).

Everything in the file's header is checked before it is used. Only decoding needs numpy.
"""

from __future__ import annotations

import _thread
import os

from .container import Entry, product, read_header
from .signpost import is_signpost, packed_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

    Path = str | os.PathLike[str]

__all__ = ["PackedFile", "is_signpost", "load_file"]


def load_file(path: Path) -> dict[str, Any]:
    """Return the tensors of a packed file, or of that beside a signpost, as numpy arrays; those of numpy's own lack as bits (`read`).

    Raises ValueError where the file cannot be right, ImportError without numpy, OSError.
    """
    with PackedFile(packed_path(path) if is_signpost(path) else path) as file:
        return {name: file.read(name) for name in file.entries}


class PackedFile:
    """A packed file, open for reading by any number of threads until it is closed or forgotten.

    Raises ValueError where it cannot be right, OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = os.fspath(path)
        self._lock = _thread.allocate_lock()
        self._stream: BinaryIO = open(self.path, "rb", buffering=0)  # noqa: SIM115 - `close` closes it
        try:
            self.size = os.fstat(self._stream.fileno()).st_size
            self._metadata, self._entries = read_header(self.size, self._read)
        except ValueError as error:
            self._stream.close()
            raise ValueError(f"{self.path}: is no packed file to be trusted: {error}") from None
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> PackedFile:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self._stream.close()

    def close(self) -> None:
        """Close the file; what is read afterwards raises ValueError."""
        self._stream.close()

    def keys(self) -> list[str]:
        """Return the names of the tensors, in the order of the file's header."""
        return list(self._entries)

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the file that was packed."""
        return dict(self._metadata)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; raises KeyError where there is none of the name."""
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        """Return the type that a tensor is loaded as, by its name in safetensors; raises KeyError."""
        return self._entries[name].dtype

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What the header says of each tensor, by name."""
        return self._entries

    def read(self, name: str, rows: slice | None = None) -> Any:
        """Return a tensor, or some of its rows (one after the other, by the first dimension), as a new numpy array.

        A type that numpy lacks comes as its bits: BF16 as uint16, those of 8 bits as uint8. Only the rows asked for are decoded.
        Raises KeyError, ImportError without numpy, ValueError, OSError.
        """
        from .decoding import decode, empty

        entry = self._entries[name]
        first, last, step = (rows or slice(None)).indices(entry.rows)
        if step != 1 or (rows is not None and not entry.shape):
            raise ValueError(f"rows {rows} cannot be read of a tensor of shape {entry.shape}")
        shape = (max(last - first, 0), *entry.shape[1:]) if rows is not None else entry.shape
        out = empty(entry.dtype, product(shape))
        if out.size:
            try:
                decode(entry, first, last, self._read_into, out)
            except ValueError as error:
                raise ValueError(f"{self.path}: its tensor {name[:100]!a} cannot be decoded: {error}") from None
        return out.reshape(shape)

    def _read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self._read_into(offset, data)
        return bytes(data)

    def _read_into(self, offset: int, target: Any) -> None:
        """Fill a writable buffer with the bytes from `offset` on; raises ValueError where the file ends before."""
        view = memoryview(target).cast("B")
        while view:
            count = self._read_some(offset, view)
            if not count:
                raise ValueError("the file ends before its time")
            offset += count
            view = view[count:]

    def _read_some(self, offset: int, view: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._stream.fileno(), [view], offset)
        with self._lock:  # where there is no reading at a place, two threads must not move it
            self._stream.seek(offset)
            return self._stream.readinto(view) or 0  # type: ignore[attr-defined]
