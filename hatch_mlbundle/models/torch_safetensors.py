"""Write a PyTorch state dict as safetensors: the same bytes under the same names, of tied tensors one.

What is stored of tied tensors is chosen as safetensors.torch.save_model chooses (safetensors/torch.py, `_remove_duplicate_names`): the
first name in order, and `metadata` says under `removed: kept` what stands for the others. But output layers are left out before
embeddings, and the two halves' embeddings before the shared one: transformers ties the former to the latter when it loads a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import KeptError, ModelError, UnsoundResultError

from .safetensors import Header, layout, read_header
from .torch_checkpoint import Checkpoint
from .torch_values import Tensor
from .torch_views import Chunk, is_contiguous, row_major_chunks, why_not_row_major

DTYPES: Mapping[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "complex64": "C64",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
"""safetensors' names of dtypes, by torch's (safetensors/torch.py, `_TYPES`)."""

_FORMAT = {"format": "pt"}
_OUTPUT_LAYER = re.compile(r"(^|\.)(lm_head|embed_out|output_projection|predictions\.decoder)\.")
_SHARED_EMBEDDING = re.compile(r"(^|\.)(encoder|decoder)\.embed_tokens\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsPlan:
    """What the file will hold: tensors by name in the order of their bytes; `tied` are the names left out, with those that stay."""

    tensors: Mapping[str, Tensor]
    tied: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.header()[1].size

    def header(self) -> tuple[bytes, Header]:
        """Return the first bytes of the file and what they say."""
        entries = [(name, DTYPES[tensor.dtype], tensor.shape) for name, tensor in self.tensors.items()]
        return layout(entries, {**self.tied, **_FORMAT})


def plan_safetensors(tensors: Mapping[str, Tensor]) -> SafetensorsPlan:
    """Return how a state dict is written; raises KeptError where safetensors cannot hold it."""
    by_place: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        problem = _why_not(tensor)
        if problem:
            raise KeptError(f"tensor {name[:60]!r} cannot be in a safetensors file: {problem}")
        by_place.setdefault(tensor.place if tensor.count else name, []).append(name)
    kept = {min(names, key=_rank): names for names in by_place.values()}
    order = sorted(kept, key=lambda name: (-tensors[name].item_size, tensors[name].dtype, name))
    tied = {name: keeper for keeper, names in kept.items() for name in sorted(names) if name != keeper}
    return SafetensorsPlan(tensors={name: tensors[name] for name in order}, tied=dict(sorted(tied.items())))


def write_safetensors(source: Checkpoint, plan: SafetensorsPlan, target: Path) -> None:
    """Write the file as planned; raises ModelError where a storage does not have its CRC-32, OSError where it cannot be written."""
    checked: set[str] = set()
    with target.open("wb") as stream:
        stream.write(plan.header()[0])
        for tensor in plan.tensors.values():
            for chunk in _checked_chunks(source, tensor, checked):
                stream.write(chunk)


def check_same_safetensors(source: Checkpoint, plan: SafetensorsPlan, target: Path) -> None:
    """Raise UnsoundResultError unless `target` is a sound file that holds each planned tensor byte by byte."""
    try:
        header = read_header(target)
    except ModelError as error:
        raise UnsoundResultError(str(error).removeprefix(f"{target}: ")) from error
    written = {tensor.name: (tensor.dtype, tensor.shape) for tensor in header.tensors}
    if written != {name: (DTYPES[tensor.dtype], tensor.shape) for name, tensor in plan.tensors.items()}:
        raise UnsoundResultError("its header does not name the tensors that there were")
    with target.open("rb") as stream:
        stream.seek(header.data_start)
        for tensor in header.tensors:
            for chunk in row_major(source, plan.tensors[tensor.name]):
                if stream.read(len(chunk)) != chunk:
                    raise UnsoundResultError(f"tensor {tensor.name[:60]!r} does not have the bytes that it had")


def row_major(source: Checkpoint, tensor: Tensor) -> Iterator[Chunk]:
    """Yield a tensor's bytes as safetensors has them."""
    return row_major_chunks(tensor, lambda offset, size: source.read(tensor, offset, size))


def _checked_chunks(source: Checkpoint, tensor: Tensor, checked: set[str]) -> Iterator[Chunk]:
    """Yield a tensor's bytes, and check the CRC-32 of its storage: on the way where the tensor is all of it, else before."""
    key = tensor.storage.key
    if tensor.nbytes == tensor.storage.nbytes and is_contiguous(tensor):
        yield from source.archive.chunks(key)
        return
    if key not in checked:
        for _ in source.archive.chunks(key):
            pass
        checked.add(key)
    yield from row_major(source, tensor)


def _why_not(tensor: Tensor) -> str | None:
    if tensor.dtype not in DTYPES:
        return f"it has no dtype {tensor.dtype}"
    if tensor.metadata and any(tensor.metadata.values()):
        return "it is stored negated or conjugated"
    return why_not_row_major(tensor)


def _rank(name: str) -> tuple[bool, bool, str]:
    """Sort names by how well they stand for those that are tied to them, the best first."""
    return bool(_OUTPUT_LAYER.search(name)), bool(_SHARED_EMBEDDING.search(name)), name
