"""Makes files as torch.save does, without torch: pickle's own pickler, with names instead of classes, in a zip archive."""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES = {
    "float32": ("FloatStorage", "f"),
    "float64": ("DoubleStorage", "d"),
    "float16": ("HalfStorage", "e"),
    "bfloat16": ("BFloat16Storage", "H"),
    "int64": ("LongStorage", "q"),
    "int8": ("CharStorage", "b"),
    "complex64": ("ComplexFloatStorage", "Q"),
}


@dataclass(frozen=True)
class Global:
    """Pickled as a name alone."""

    module: str
    name: str


@dataclass(eq=False)
class Made:
    """Pickled as a call of `function`, and given `state` where there is one."""

    function: Global
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(eq=False)
class Storage:
    """Pickled as a reference to the file's `data/KEY`."""

    data: bytes
    dtype: str = "float32"
    key: str = ""
    location: str = "cpu"
    declared: int | None = None
    untyped: bool = False

    @property
    def item(self) -> int:
        return 1 if self.untyped else struct.calcsize(CLASSES[self.dtype][1])

    @property
    def reference(self) -> tuple[Any, ...]:
        kind = Global("torch.storage", "UntypedStorage") if self.untyped else Global("torch", CLASSES[self.dtype][0])
        count = len(self.data) // self.item if self.declared is None else self.declared
        return ("storage", kind, self.key, self.location, count)


ORDERED = Global("collections", "OrderedDict")


def ordered(items: Mapping[Any, Any], **attributes: Any) -> Made:
    made = Made(ORDERED, (), attributes or None)
    made.items = list(items.items())  # type: ignore[attr-defined]
    return made


def numbers(count: int, start: int = 0) -> bytes:
    return struct.pack(f"<{count}f", *range(start, start + count))


def view(
    storage: Storage,
    shape: Sequence[int],
    stride: Sequence[int] | None = None,
    offset: int = 0,
    *,
    metadata: Mapping[str, bool] | None = None,
    dtype: str | None = None,
) -> Made:
    """Return a tensor over a storage; row-major where `stride` is None."""
    if stride is None:
        stride = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    arguments = (storage, offset, tuple(shape), tuple(stride), False, Made(ORDERED, ()))
    if dtype:
        arguments = (*arguments, Global("torch", dtype))
    name = "_rebuild_tensor_v3" if dtype else "_rebuild_tensor_v2"
    return Made(Global("torch._utils", name), arguments if metadata is None else (*arguments, dict(metadata)))


def tensor(*shape: int, start: int = 0) -> Made:
    """Return a float32 tensor of consecutive numbers, over a storage of its own."""
    return view(Storage(numbers(math.prod(shape), start)), shape)


def parameter(data: Made) -> Made:
    return Made(Global("torch._utils", "_rebuild_parameter"), (data, True, Made(ORDERED, ())))


class _Pickler(pickle._Pickler):  # type: ignore[misc,name-defined]
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=2)
        self.storages: list[Storage] = []

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            value.key = value.key or str(len(self.storages))
            self.storages.append(value)
        return value.reference

    def save(self, value: Any, *rest: Any, **more: Any) -> None:
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Made) and id(value) not in self.memo:
            self._save_made(value)
        elif isinstance(value, Made):
            self.write(self.get(self.memo[id(value)][0]))
        else:
            super().save(value, *rest, **more)

    def _save_made(self, value: Made) -> None:
        self.save(value.function)
        self.save(value.arguments)
        self.write(b"R")
        self.memoize(value)
        for key, each in getattr(value, "items", []):
            self.save(key)
            self.save(each)
            self.write(b"s")
        if value.state is not None:
            self.save(value.state)
            self.write(b"b")


def pickled(value: Any) -> tuple[bytes, dict[str, bytes]]:
    """Return the pickle of a value and the bytes of its storages by key."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(value)
    return stream.getvalue(), {storage.key: storage.data for storage in pickler.storages}


def archive(pickle_bytes: bytes, storages: Mapping[str, bytes], *, extra: Mapping[str, bytes] | None = None, root: str = "model") -> bytes:
    """Return the zip archive of a pickle and its storages."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as made:
        records = {"data.pkl": pickle_bytes, "byteorder": b"little"}
        records |= {f"data/{key}": data for key, data in storages.items()}
        for name, data in {**records, "version": b"3\n", **(extra or {})}.items():
            made.writestr(zipfile.ZipInfo(f"{root}/{name}", (1980, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()


def save(path: Path, value: Any, **settings: Any) -> Path:
    """Write a file as torch.save would write the value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(*pickled(value), **settings))
    return path
