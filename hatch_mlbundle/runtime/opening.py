"""What `safetensors.safe_open` gives for packed weights: the same methods, for torch and numpy."""

from __future__ import annotations

import importlib
import sys

from .weights import PackedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TORCH = ("pt", "torch", "pytorch")
_NUMPY = ("np", "numpy")
ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
"""Types that numpy lacks, by what ml_dtypes and torch call them."""


class PackedOpen:
    """A packed file as `safe_open` shows one. Tensors are decoded when they are asked for, and come in their own type.

    Raises ValueError where the file cannot be right or the framework is another, OSError.
    """

    def __init__(self, filename: str, framework: str, device: Any = "cpu", **_: Any) -> None:
        if framework not in (*_TORCH, *_NUMPY):
            raise ValueError(f"{filename}: packed weights cannot be loaded for the framework {framework!r}, but for 'pt' and 'np'")
        self._convert = _Torch(device) if framework in _TORCH else _Numpy()
        self._file: PackedFile | None = PackedFile(filename)

    def __enter__(self) -> PackedOpen:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self._file = None  # slices go on, as the original's do; without any, this closes the file

    def keys(self) -> list[str]:
        """Return the names of the tensors, sorted."""
        return sorted(self._opened().entries)

    def offset_keys(self) -> list[str]:
        """Return the names in the order of the file that was packed."""
        return self._opened().keys()

    def metadata(self) -> dict[str, str] | None:
        """Return the metadata, None where there is none."""
        return self._opened().metadata() or None

    def get_tensor(self, name: str) -> Any:
        """Return a tensor."""
        return self.get_slice(name)[...]

    def get_tensors(self) -> dict[str, Any]:
        """Return all tensors."""
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name: str) -> PackedSlice:
        """Return what gives parts of a tensor."""
        file = self._opened()
        if name not in file.entries:
            raise _error(f"File does not contain tensor {name}")
        return PackedSlice(file, name, self._convert)

    def _opened(self) -> PackedFile:
        if self._file is None:
            raise _error("File is closed")
        return self._file


class PackedSlice:
    """A tensor of which only the rows asked for are decoded."""

    def __init__(self, file: PackedFile, name: str, convert: _Torch | _Numpy) -> None:
        self._file = file
        self._name = name
        self._convert = convert

    def get_shape(self) -> list[int]:
        """Return the tensor's shape."""
        return list(self._file.shape(self._name))

    def get_dtype(self) -> str:
        """Return the tensor's type, as safetensors calls it."""
        return self._file.dtype(self._name)

    def __getitem__(self, index: Any) -> Any:
        rows, rest = _narrowed(index, self._file.shape(self._name))
        array = self._file.read(self._name, rows)
        return self._convert(array, self._file.dtype(self._name), rest)


class _Torch:
    """Makes torch's tensors of arrays, on a device."""

    def __init__(self, device: Any) -> None:
        self._torch = importlib.import_module("torch")  # not by a statement, which PyInstaller would follow
        self._device = device

    def __call__(self, array: Any, dtype: str, index: tuple[Any, ...]) -> Any:
        if dtype == "BF16":
            array = array.view("<i2")
        tensor = self._torch.from_numpy(array)
        if dtype in ML_DTYPES:
            tensor = tensor.view(getattr(self._torch, ML_DTYPES[dtype]))
        if index:
            tensor = tensor[index].contiguous()
        return tensor if self._device in ("cpu", None) else tensor.to(self._device)


class _Numpy:
    """Gives numpy's arrays their types."""

    def __call__(self, array: Any, dtype: str, index: tuple[Any, ...]) -> Any:
        if dtype in ML_DTYPES:
            array = array.view(getattr(importlib.import_module("ml_dtypes"), ML_DTYPES[dtype]))
        if not index:
            return array
        import numpy as np

        return np.array(array[index])


def _error(message: str) -> Exception:
    """Return an error of safetensors' own sort."""
    error: type[Exception] = getattr(sys.modules.get("safetensors"), "SafetensorError", ValueError)
    return error(message)


def _narrowed(index: Any, shape: tuple[int, ...]) -> tuple[slice | None, tuple[Any, ...]]:
    """Return the rows that an index needs, None for all of them, and the index that is left to do in those."""
    parts = index if isinstance(index, tuple) else (index,)
    if not parts or parts == (...,):
        return None, ()
    first, rest = parts[0], parts[1:]
    if isinstance(first, slice) and first.step in (None, 1) and shape:
        return first, (slice(None), *rest) if rest else ()
    if type(first) is int and shape and -shape[0] <= first < shape[0]:
        row = first % shape[0]
        return slice(row, row + 1), (0, *rest)
    return None, parts
